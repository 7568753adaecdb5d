/* The desk: shows answers as they grow, keeps what is being written, and sends what the operator does.

   live.js fetches the queue and the open conversation anew; nothing is fetched from here but what an operator asks for. */

import { call, newName, UNREACHABLE } from "./desk/calling.js";
import { openCanned } from "./desk/canned.js";
import { openFiles } from "./desk/files.js";
import { follow, refresh } from "./live.js";

const NEAR_THE_END = 120; // pixels; a reader this close to the end is taken along
const TOLD_FOR = 10000; // milliseconds that this stays at least
const REACH = {
  "when resumed": "He reads it when he resumes the conversation.",
  never: "This wire cannot carry it to the visitor.",
};

const pane = document.querySelector(".desk-conversation[data-session]");
if (pane) {
  open(pane);
}

function open(pane) {
  const { session, operator, deeds } = pane.dataset;
  const view = pane.querySelector("#desk-view");
  const composer = pane.querySelector(".desk-composer");
  const button = composer.querySelector("button[type=submit]");
  const attach = composer.querySelector(".attach");
  const error = composer.querySelector(".desk-error");
  const { text } = composer.elements;
  const { files, strings } = openFiles(pane, { tell, changed: onChosen });
  const grown = new Map(); // turn → its answer so far as HTML, mostly newer than what the database has
  let atTheEnd = true;
  let reading = null; // the first line that is seen, and where it stands
  let sending = false;
  let toldAt = 0;
  let tried = null; // { words, chosen, uuid }: what was sent last, and under which name: sent again, it is the same

  const lines = () => view.querySelector("#desk-lines");
  const head = () => view.querySelector(".desk-head").dataset;
  const mode = () => composer.elements.mode.value;

  // --- Looking ---

  function toTheEnd() {
    lines().scrollTop = lines().scrollHeight;
  }

  function bubbleOf(turn) {
    return view.querySelector(`[data-turn="${turn}"] .bubble`);
  }

  function onDelta({ turn, html }) {
    grown.set(turn, html);
    const bubble = bubbleOf(turn);
    if (!bubble && !head().newest) {
      refresh(view.id);
    } else if (bubble) {
      put(bubble, contentOf(html));
      follows();
    }
  }

  /* The gateway made its HTML safe. */
  function contentOf(html) {
    const came = document.createElement("template");
    came.innerHTML = html;
    return came.content;
  }

  function put(bubble, content) {
    bubble.classList.add("markdown");
    bubble.replaceChildren(content);
  }

  function follows() {
    if (atTheEnd) {
      toTheEnd();
    } else if (reading) {
      const line = view.querySelector(`[data-seq="${reading.seq}"]`);
      lines().scrollTop += line ? line.getBoundingClientRect().top - reading.top : 0;
    }
  }

  /* Note where the reader is: what is said above or below moves the line that he reads, not its place. */
  function notePlace(box) {
    atTheEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_THE_END;
    const { top } = box.getBoundingClientRect();
    const line = [...box.querySelectorAll("[data-seq]")].find((seen) => seen.getBoundingClientRect().bottom > top);
    reading = line ? { seq: line.dataset.seq, top: line.getBoundingClientRect().top } : null;
  }

  view.addEventListener("live:refreshed", () => {
    for (const [turn, html] of grown) {
      const bubble = bubbleOf(turn);
      const content = contentOf(html);
      if (!bubble) {
        grown.delete(turn);
      } else if (content.textContent.length > bubble.textContent.length) {
        put(bubble, content);
      }
    }
    if (error.textContent === UNREACHABLE && performance.now() - toldAt > TOLD_FOR) {
      tell("");
    }
    follows();
    adjust();
  });
  view.addEventListener(
    "scroll",
    ({ target }) => {
      if (target === lines()) {
        notePlace(target);
      }
    },
    true,
  );

  // The transcript gives way to the files that are chosen.
  new ResizeObserver(follows).observe(view);

  // --- Writing ---

  function hint() {
    const { held, holder, carries, openRequests } = head();
    const hasFiles = files.components.length > 0;
    if (mode() === "note") {
      return hasFiles ? strings.files_not_noted : "Only operators read this.";
    }
    if (held === "other") {
      return `${holder} has this conversation.`;
    }
    if (REACH[carries]) {
      return REACH[carries];
    }
    if (hasFiles && strings[`files_as_${head().files}`]) {
      return strings[`files_as_${head().files}`];
    }
    if (Number(openRequests)) {
      return openRequests === "1" ? "Answers the contact request." : "Answers the contact requests.";
    }
    return held ? "" : "The bot goes on answering; take over to silence it.";
  }

  function adjust() {
    const noting = mode() === "note";
    composer.classList.toggle("desk-noting", noting);
    button.disabled = sending || (!noting && head().held === "other");
    attach.disabled = sending || noting;
    text.placeholder = noting
      ? "For your colleagues only — the visitor never sees it"
      : "Write to the visitor — Ctrl+Enter sends";
    composer.querySelector("[data-hint]").textContent = hint();
  }

  function tell(fault) {
    error.textContent = fault;
    error.hidden = !fault;
    toldAt = performance.now();
  }

  async function act(deed, fields) {
    tell("");
    const fault = await call(`${deeds}${deed}/`, composer.elements.csrfmiddlewaretoken.value, fields);
    tell(fault);
    refresh(view.id, { now: true });
    return !fault;
  }

  /* The keys of the files that go with what is written: a note has none. */
  function chosen() {
    return mode() === "note" ? [] : files.components.map(({ path }) => path);
  }

  function wasTried() {
    return tried?.words === text.value && tried.chosen === chosen().join();
  }

  async function send() {
    const [words, noting] = [text.value, mode() === "note"];
    if (!noting && !files.ready) {
      tell(strings.files_pending);
      return;
    }
    const upload = chosen();
    if (button.disabled || !(words.trim() || upload.length)) {
      return;
    }
    if (!wasTried()) {
      tried = { words, chosen: upload.join(), uuid: newName() };
    }
    keep();
    sending = true;
    text.readOnly = true; // what is typed meanwhile would be lost with what is sent
    adjust();
    if (await act(mode(), { text: words, uuid: tried.uuid, upload })) {
      text.value = "";
      tried = null;
      if (!noting) {
        files.clear();
      }
      keep();
      atTheEnd = true;
      if (head().newest) {
        location.assign(head().newest); // an older page would not show it
      }
    }
    sending = text.readOnly = false;
    adjust();
    text.focus();
  }

  // --- Keeping what is being written: the tab may leave this page, and the operator be logged out ---

  const place = `desk.draft.${operator}.${session}`;

  function keep() {
    const { kept } = files;
    if (text.value || kept.length) {
      sessionStorage.setItem(place, JSON.stringify({ words: text.value, mode: mode(), tried, kept }));
    } else {
      sessionStorage.removeItem(place);
    }
  }

  function takeUp() {
    const draft = JSON.parse(sessionStorage.getItem(place) ?? "null");
    if (draft) {
      text.value = draft.words;
      composer.elements.mode.value = draft.mode;
      files.restore(draft.kept ?? []);
      tried = draft.tried;
      keep();
    }
  }

  function onChosen() {
    if (error.textContent === strings.files_pending) {
      tell("");
    }
    if (!sending) {
      changed();
      adjust();
    }
  }

  function changed() {
    if (!wasTried()) {
      tried = null; // what is written now is something else
    }
    keep();
  }

  // --- What the operator does ---

  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  composer.addEventListener("input", changed);
  // What is chosen while a reply is sent would be cleared with it.
  ["paste", "drop"].forEach((name) => pane.addEventListener(name, (event) => {
    if (sending) {
      event.preventDefault();
      event.stopPropagation();
    }
  }, true));
  composer.addEventListener("change", () => {
    keep();
    adjust();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  openCanned(composer.querySelector(".desk-canned"), (words) => {
    if (!sending) {
      text.setRangeText(words, text.selectionStart, text.selectionEnd, "end");
      keep();
      text.focus();
    }
  });
  view.addEventListener("click", ({ target }) => {
    const about = target.closest("[data-about]");
    if (about) {
      about.setAttribute("aria-expanded", String(pane.classList.toggle("desk-told")));
      return;
    }
    const asked = target.closest("[data-deed]");
    if (asked && (!asked.dataset.confirm || confirm(asked.dataset.confirm))) {
      const { deed, delivery, contact, over } = asked.dataset;
      asked.disabled = true;
      act(deed, { ...(delivery && { delivery }), ...(contact && { contact }), ...(over && { over }) }).then(() => {
        asked.disabled = false; // what changed is drawn anew
      });
    }
  });

  takeUp();
  adjust();
  toTheEnd();
  follow(session, { onDelta, onStored: () => refresh(view.id) });
}
