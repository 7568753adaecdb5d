/* Tells of visitors who wait: how many in the title, and of a new one in a notification while the tab is hidden. */

let before = null;

function tell() {
  const { waitingCount = 0, waiting = "" } = document.querySelector("[data-waiting-count]")?.dataset ?? {};
  const now = { count: Number(waitingCount), ids: waiting.split(/\s+/).filter(Boolean) };
  document.title = (now.count ? `(${now.count}) ` : "") + document.title.replace(/^\s*\(\d+\)\s*/, "");
  if (before && document.hidden && isNews(now)) {
    notify();
  }
  before = now;
}

/* One may come while another leaves, and where there are many, not all of them are named. */
function isNews(now) {
  return now.count > before.count || now.ids.some((id) => !before.ids.includes(id));
}

function notify() {
  if (permission() !== "granted") {
    return;
  }
  const notification = new Notification("A visitor is waiting", { tag: "waiting", renotify: true });
  notification.onclick = () => {
    window.focus();
    notification.close();
    const url = document.querySelector("[data-notify-url]")?.dataset.notifyUrl;
    if (url) {
      location.assign(url);
    }
  };
}

function permission() {
  return "Notification" in window ? Notification.permission : "denied";
}

function showNotify() {
  document.querySelectorAll("[data-notify]").forEach((button) => {
    button.hidden = permission() !== "default";
  });
}

document.addEventListener("live:refreshed", () => {
  tell();
  showNotify();
});
document.addEventListener("click", async ({ target }) => {
  if (target.closest("[data-notify]")) {
    await Notification.requestPermission();
    showNotify();
  }
});
tell();
showNotify();
