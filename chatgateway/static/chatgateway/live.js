/* Keeps staff's pages true while they are open.

   <div id="list" data-live="connections conversations" data-live-every="5">   fetched anew when one of these changed,
                                                                               and every 5 seconds
     data-live-url="…"                                                         from there, else from the page's address
   <span data-live-state>                                                      says "live" or "reconnecting"
   <b data-waiting-count="3">    inside of such an element: the number in the title, and what notifications go by
   <button data-notify>          asks whether the browser may notify; data-notify-url="…" is what a click opens

   The socket only tells that something changed; what it is comes with the page, fetched as it was the first time. Without
   the socket the fetching every so many seconds goes on. What is open or scrolled in an element stays so where it has
   an id. An element that was fetched anew hears the event "live:refreshed". */

const PATHS = ["/admin/live", "/websocket/admin/live"]; // a proxy may forward one of them only
const APART = 500; // milliseconds between two fetches at least
const FETCH_PATIENCE = 10000;
const PING_EVERY = 20000;
const RETRY = { first: 500, longest: 30000 };
const REFUSED = [4001, 4003]; // logged out, or not allowed any more: not tried again soon

// --- Fetching ------------------------------------------------------------------------------------

const stale = new Set(); // ids of elements that are out of date
const shown = new Map(); // id → the HTML that was put in last
let running = null;
let fetchedAt = -APART;

/* Fetch the element of that id anew, now or soon; the promise ends when it is up to date. */
export function refresh(id) {
  stale.add(id);
  running ??= run();
  return running;
}

async function run() {
  await null; // so that `running` is set before this ends
  while (whatIsDue().length) {
    await pause(fetchedAt + APART - performance.now());
    fetchedAt = performance.now();
    for (const [url, ids] of byUrl(whatIsDue())) {
      ids.forEach((id) => stale.delete(id));
      await fetchInto(url, ids).catch(() => {}); // the gateway is away: the next round tries again
    }
  }
  running = null;
}

/* Return the ids that can be seen: in a hidden tab only those that tell how many visitors wait. */
function whatIsDue() {
  return [...stale].filter((id) => {
    const element = document.getElementById(id);
    return element && (!document.hidden || element.querySelector("[data-waiting-count]"));
  });
}

function byUrl(ids) {
  const found = new Map();
  for (const id of ids) {
    const url = document.getElementById(id)?.dataset.liveUrl ?? location.href;
    found.set(url, [...(found.get(url) ?? []), id]);
  }
  return found;
}

async function fetchInto(url, ids) {
  const answer = await fetch(url, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(FETCH_PATIENCE) });
  if (answer.redirected) {
    location.reload(); // to the login page
    return;
  }
  if (!answer.ok) {
    return;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const token = tokenIn(fresh);
  if (token) {
    tokenIn(document).content = token.content; // as good as the session, which may be another one now
  }
  for (const id of ids) {
    const element = document.getElementById(id);
    const html = (fresh.getElementById(id) ?? (element?.dataset.liveUrl && fresh.body))?.innerHTML;
    if (element && html !== undefined && html !== shown.get(id)) {
      shown.set(id, html);
      await replace(element, html);
    }
  }
  tellHowManyWait();
  showState();
  showNotify();
}

// --- Replacing what is shown, but not what the reader did to it ------------------------------------

async function replace(element, html) {
  const restore = [ticked, opened, focused, scrolled].map((keep) => keep(element));
  element.innerHTML = html;
  await null; // what builds itself up, as scrolling areas do, has done so then
  restore.forEach((put) => put());
  element.dispatchEvent(new CustomEvent("live:refreshed", { bubbles: true }));
}

function ticked(element) {
  const selector = ({ name, value }) => `input[type=checkbox][name="${CSS.escape(name)}"][value="${CSS.escape(value)}"]`;
  const boxes = [...element.querySelectorAll("input[type=checkbox]:checked")].map(selector);
  return () => boxes.forEach((box) => element.querySelectorAll(box).forEach((found) => (found.checked = true)));
}

function opened(element) {
  const ids = [...element.querySelectorAll("details[id][open]")].map(({ id }) => id);
  return () => ids.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
}

function focused(element) {
  const active = document.activeElement;
  if (!element.contains(active) || active === element) {
    return () => {};
  }
  const { value, selectionStart, selectionEnd } = active;
  const selector = selectorOf(active);
  return () => {
    const found = selector && element.querySelector(selector);
    found?.focus({ preventScroll: true });
    if (found && typeof selectionStart === "number") {
      found.value = value;
      found.setSelectionRange(selectionStart, selectionEnd);
    }
  };
}

function selectorOf(node) {
  if (node.id) {
    return `#${CSS.escape(node.id)}`;
  }
  if (node.name) {
    const value = node.hasAttribute("value") ? `[value="${CSS.escape(node.getAttribute("value"))}"]` : "";
    return `[name="${CSS.escape(node.name)}"]${value}`;
  }
  return node.hasAttribute("href") ? `[href="${CSS.escape(node.getAttribute("href"))}"]` : null;
}

function scrolled(element) {
  const places = [...element.querySelectorAll("*")]
    .filter(({ scrollTop, scrollLeft }) => scrollTop || scrollLeft)
    .map((node) => [pathTo(node, element), node.scrollTop, node.scrollLeft]);
  return () => {
    for (const [path, top, left] of places) {
      path.reduce((node, index) => node?.children[index], element)?.scrollTo({ top, left, behavior: "instant" });
    }
  };
}

function pathTo(node, root) {
  const path = [];
  for (let at = node; at !== root; at = at.parentElement) {
    path.unshift([...at.parentElement.children].indexOf(at));
  }
  return path;
}

// --- The socket ----------------------------------------------------------------------------------

let socket = null;
let ready = false;
let unanswered = false; // a ping was sent, and nothing came since
let attempts = 0;
let path = 0;
let followed = null;

/* Tell `onDelta({turn, text})` and `onStored({session, seq})` of one conversation; of none where it is null. */
export function follow(session, { onDelta = () => {}, onStored = () => {} } = {}) {
  followed = { session, onDelta, onStored };
  if (ready) {
    send({ type: "follow", session });
  } else {
    connect();
  }
}

function connect() {
  if (socket) {
    return;
  }
  const url = new URL(PATHS[path], location);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  socket.onopen = () => send({ type: "open", token: tokenIn(document).content });
  socket.onmessage = ({ data }) => hear(JSON.parse(data));
  socket.onclose = ({ code }) => lost(code);
}

function tokenIn(page) {
  return page.querySelector('meta[name="live-token"]');
}

function send(frame) {
  socket.send(JSON.stringify(frame));
}

function hear(frame) {
  unanswered = false;
  switch (frame.type) {
    case "ready":
      ready = true;
      attempts = 0;
      showState();
      send({ type: "watch", what: [...new Set(elements().flatMap(kindsOf))] });
      if (followed) {
        send({ type: "follow", session: followed.session });
      }
      break;
    case "changed":
      elements()
        .filter((element) => kindsOf(element).includes(frame.what))
        .forEach(({ id }) => refresh(id));
      break;
    case "delta":
      followed?.onDelta(frame);
      break;
    case "stored":
      followed?.onStored(frame);
      break;
    case "error":
      console.info(`live: ${frame.message}`);
      break;
  }
}

function lost(code) {
  if (!ready) {
    path = 1 - path;
  }
  socket = null;
  ready = unanswered = false;
  showState();
  const longest = REFUSED.includes(code) ? RETRY.longest : Math.min(RETRY.longest, RETRY.first * 2 ** attempts);
  attempts += 1;
  setTimeout(connect, longest * (0.5 + Math.random() / 2)); // not all pages at the same moment
}

function ping() {
  if (ready && unanswered) {
    socket.close(); // nobody is there any more, though nothing said so
  } else if (ready) {
    unanswered = true;
    send({ type: "ping" });
  }
}

function showState() {
  document.querySelectorAll("[data-live-state]").forEach((element) => {
    element.dataset.liveState = element.textContent = ready ? "live" : "reconnecting";
  });
}

// --- Visitors that wait --------------------------------------------------------------------------

let waiting = null;

function tellHowManyWait() {
  const element = document.querySelector("[data-waiting-count]");
  const count = Number(element?.dataset.waitingCount ?? 0);
  document.title = (count ? `(${count}) ` : "") + document.title.replace(/^\s*\(\d+\)\s*/, "");
  if (waiting !== null && count > waiting && document.hidden && mayNotify() === "granted") {
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
  waiting = count;
}

function mayNotify() {
  return "Notification" in window ? Notification.permission : "denied";
}

function showNotify() {
  document.querySelectorAll("[data-notify]").forEach((button) => {
    button.hidden = mayNotify() !== "default";
  });
}

// --- Beginning -----------------------------------------------------------------------------------

function elements() {
  return [...document.querySelectorAll("[data-live]")];
}

function kindsOf(element) {
  return element.dataset.live.split(/\s+/).filter(Boolean);
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

for (const { id, dataset } of elements()) {
  if (dataset.liveEvery) {
    setInterval(() => refresh(id), Number(dataset.liveEvery) * 1000);
  }
}
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    elements().forEach(({ id }) => refresh(id));
  }
});
document.addEventListener("click", async ({ target }) => {
  if (target.closest("[data-notify]")) {
    await Notification.requestPermission();
    showNotify();
  }
});
setInterval(ping, PING_EVERY);
tellHowManyWait();
showNotify();
showState();
if (elements().length) {
  connect();
}
