/* Ticked rows of an admin list that live.js fetches anew.

   Django's own script counts the rows that were there when the page was loaded; this one looks at those there are. */

window.Actions = () => {}; // called when the page is there: the list is ours

const list = document.querySelector(".result-list-wrapper");
const boxes = () => [...list.querySelectorAll("input.action-select")];
const toggle = () => list.querySelector(".action-toggle");
const setHidden = (selector, hidden) =>
  list.querySelectorAll(`.actions ${selector}`).forEach((element) => element.classList.toggle("hidden", hidden));
let last = null; // the box ticked before, by value

function count() {
  const all = boxes();
  const ticked = all.filter((box) => box.checked);
  all.forEach((box) => box.closest("tr").classList.toggle("selected", box.checked));
  const counter = list.querySelector(".actions .action-counter");
  if (counter) {
    counter.textContent = `${ticked.length} of ${all.length} selected`;
  }
  if (toggle()) {
    toggle().checked = all.length > 0 && ticked.length === all.length;
  }
  setAcross(false, ticked.length > 0 && ticked.length === all.length);
}

/* Choose all rows on all pages, or offer to. */
function setAcross(across, offered) {
  setHidden("span.question", across || !offered);
  setHidden("span.clear", !across);
  setHidden("span.all", !across);
  setHidden("span.action-counter", across);
  list.querySelectorAll(".actions input.select-across").forEach((input) => {
    input.value = across ? 1 : 0;
    input.dispatchEvent(new Event("input"));
  });
}

function tickUpTo(target) {
  const all = boxes();
  const from = all.findIndex((box) => box.value === last);
  const to = all.indexOf(target);
  if (from >= 0) {
    all.slice(Math.min(from, to), Math.max(from, to) + 1).forEach((box) => (box.checked = target.checked));
  }
}

list?.addEventListener("click", (event) => {
  const { target, shiftKey } = event;
  if (target.matches(".action-toggle")) {
    boxes().forEach((box) => (box.checked = target.checked));
    count();
  } else if (target.matches("input.action-select")) {
    if (shiftKey) {
      tickUpTo(target);
    }
    last = target.value;
    count();
  } else if (target.closest(".actions span.question a")) {
    event.preventDefault();
    setAcross(true, true);
  } else if (target.closest(".actions span.clear a")) {
    event.preventDefault();
    boxes().forEach((box) => (box.checked = false));
    count();
  }
});
list?.addEventListener("live:refreshed", () => {
  if (list.querySelector(".actions input.select-across")?.value === "1") {
    boxes().forEach((box) => (box.checked = true));
  } else {
    count();
  }
});
window.addEventListener("pageshow", () => list && count());
