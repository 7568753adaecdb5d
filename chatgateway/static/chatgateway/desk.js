/* The desk: shows answers as they grow, keeps what is being written, and sends what the operator does.

   live.js fetches the queue and the open conversation anew; nothing is fetched from here but what an operator asks for. */

import { follow, refresh } from "./live.js";

const NEAR_THE_END = 120; // pixels; a reader this close to the end is taken along
const PATIENCE = 15000; // milliseconds that the gateway may take to do something
const UNREACHABLE = "The gateway cannot be reached. Please try again in a moment: what you write is said once.";
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
  const canned = composer.querySelector(".desk-canned");
  const button = composer.querySelector("button[type=submit]");
  const error = composer.querySelector(".desk-error");
  const { text } = composer.elements;
  const grown = new Map(); // turn → its answer so far, newer than what the database has
  let atTheEnd = true;
  let reading = null; // the first line that is seen, and where it stands
  let sending = false;
  let toldAt = 0;
  let tried = null; // what was sent last, and under which name: sent again, it is the same

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

  function onDelta({ turn, text: words }) {
    grown.set(turn, words);
    const bubble = bubbleOf(turn);
    if (!bubble && !head().newest) {
      refresh(view.id);
    } else if (bubble) {
      bubble.textContent = words;
      follows();
    }
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
    for (const [turn, words] of grown) {
      const bubble = bubbleOf(turn);
      if (!bubble) {
        grown.delete(turn);
      } else if (words.length > bubble.textContent.length) {
        bubble.textContent = words;
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

  // --- Writing ---

  function hint() {
    const { held, holder, carries, openRequests } = head();
    if (mode() === "note") {
      return "Only operators read this.";
    }
    if (held === "other") {
      return `${holder} has this conversation.`;
    }
    if (REACH[carries]) {
      return REACH[carries];
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
    const body = new FormData();
    Object.entries(fields).forEach(([name, value]) => body.append(name, value));
    body.append("csrfmiddlewaretoken", composer.elements.csrfmiddlewaretoken.value);
    tell("");
    let fault = "";
    try {
      const answer = await fetch(`${deeds}${deed}/`, { method: "POST", body, signal: AbortSignal.timeout(PATIENCE) });
      if (answer.status === 409) {
        fault = (await answer.json()).error;
      } else if (!answer.ok || answer.redirected) {
        fault = "It was not done: please load the page again. What you wrote is kept.";
      }
    } catch {
      fault = UNREACHABLE;
    }
    tell(fault);
    refresh(view.id, { now: true });
    return !fault;
  }

  async function send() {
    const words = text.value;
    if (button.disabled || !words.trim()) {
      return;
    }
    if (tried?.words !== words) {
      tried = { words, uuid: newName() };
    }
    keep();
    sending = true;
    text.readOnly = true; // what is typed meanwhile would be lost with what is sent
    adjust();
    if (await act(mode(), { text: words, uuid: tried.uuid })) {
      text.value = "";
      tried = null;
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

  /* A UUID; crypto.randomUUID is there on HTTPS pages only. */
  function newName() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  // --- Keeping what is being written: the tab may leave this page, and the operator be logged out ---

  const place = `desk.draft.${operator}.${session}`;

  function keep() {
    if (text.value) {
      sessionStorage.setItem(place, JSON.stringify({ words: text.value, mode: mode(), tried }));
    } else {
      sessionStorage.removeItem(place);
    }
  }

  function takeUp() {
    const draft = JSON.parse(sessionStorage.getItem(place) ?? "null");
    if (draft) {
      text.value = draft.words;
      composer.elements.mode.value = draft.mode;
      tried = draft.tried;
    }
  }

  // --- What the operator does ---

  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  composer.addEventListener("input", () => {
    if (tried?.words !== text.value) {
      tried = null; // what is written now is something else
    }
    keep();
  });
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
  canned.addEventListener("toggle", async () => {
    if (canned.open) {
      const answer = await fetch(canned.dataset.url, { signal: AbortSignal.timeout(PATIENCE) }).catch(() => null);
      if (answer?.ok && !answer.redirected) {
        canned.querySelector("ul").innerHTML = await answer.text();
      }
    }
  });
  canned.addEventListener("click", ({ target }) => {
    const reply = target.closest("[data-canned]");
    if (reply && !sending) {
      text.setRangeText(reply.dataset.canned, text.selectionStart, text.selectionEnd, "end");
      canned.open = false;
      keep();
      text.focus();
    }
  });
  document.addEventListener("click", ({ target }) => {
    if (!canned.contains(target)) {
      canned.open = false;
    }
  });
  canned.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") {
      canned.open = false;
      canned.querySelector("summary").focus();
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
