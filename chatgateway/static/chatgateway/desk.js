/* The desk: follows the open conversation, shows answers as they grow, and sends what the operator does. */

import { follow } from "./live.js";

const REFRESH_EVERY = 5000; // milliseconds; heals what a lost wake-up left out
const NEAR_THE_END = 120; // pixels; a reader this close to the end is taken along

const pane = document.querySelector(".desk-conversation[data-session]");
if (pane) {
  open(pane);
}

function open(pane) {
  const view = pane.querySelector("#desk-view");
  const composer = pane.querySelector(".desk-composer");
  const text = composer.elements.text;
  const error = composer.querySelector(".desk-error");
  const canned = composer.querySelector(".desk-canned");
  let refreshing = false;
  let again = false;

  const lines = () => view.querySelector("#desk-lines");
  const head = () => view.querySelector(".desk-head");
  const mode = () => composer.elements.mode.value;

  // --- Looking ---

  function toTheEnd() {
    lines().scrollTop = lines().scrollHeight;
  }

  function isAtTheEnd() {
    const box = lines();
    return box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_THE_END;
  }

  async function refresh() {
    if (refreshing) {
      again = true;
      return;
    }
    refreshing = true;
    try {
      do {
        again = false;
        const answer = await fetch(view.dataset.url, { headers: { Accept: "text/html" } });
        if (answer.redirected || answer.status === 403) {
          location.reload(); // logged out, or not an operator any more
          return;
        }
        if (answer.ok) {
          show(await answer.text());
        }
      } while (again);
    } catch {
      // The gateway is away: the next round tries again.
    } finally {
      refreshing = false;
    }
  }

  function show(html) {
    const atTheEnd = isAtTheEnd();
    const { scrollTop } = lines();
    const side = view.querySelector(".desk-side").scrollTop;
    const told = deltas();
    view.innerHTML = html;
    for (const [turn, words] of told) {
      const bubble = bubbleOf(turn);
      if (bubble && words.length > bubble.textContent.length) {
        bubble.textContent = words;
      }
    }
    lines().scrollTop = scrollTop;
    view.querySelector(".desk-side").scrollTop = side;
    if (atTheEnd) {
      toTheEnd();
    }
    adjust();
  }

  /* What was told of answers that have not ended: newer than what the database has of them. */
  function deltas() {
    return [...view.querySelectorAll("[data-turn]")].map((line) => [
      line.dataset.turn,
      line.querySelector(".bubble").textContent,
    ]);
  }

  function bubbleOf(turn) {
    return view.querySelector(`[data-turn="${turn}"] .bubble`);
  }

  function onDelta({ turn, text: words }) {
    const bubble = bubbleOf(turn);
    if (!bubble) {
      refresh();
      return;
    }
    const atTheEnd = isAtTheEnd();
    bubble.textContent = words;
    if (atTheEnd) {
      toTheEnd();
    }
  }

  // --- Writing ---

  function adjust() {
    const { held, holder } = head().dataset;
    const noting = mode() === "note";
    const contact = view.querySelector("[data-contact].desk-replies");
    composer.classList.toggle("desk-noting", noting);
    composer.querySelector("button[type=submit]").disabled = !noting && held === "other";
    text.placeholder = noting
      ? "For your colleagues only — the visitor never sees it"
      : "Write to the visitor — Ctrl+Enter sends";
    let hint = "";
    if (noting) {
      hint = "Only operators read this.";
    } else if (held === "other") {
      hint = `${holder} has this conversation.`;
    } else if (contact) {
      hint = "Answers the contact request.";
    } else if (!held) {
      hint = "The bot goes on answering; take over to silence it.";
    }
    composer.querySelector("[data-hint]").textContent = hint;
  }

  async function act(deed, fields) {
    const body = new FormData();
    for (const [name, value] of Object.entries(fields)) {
      body.append(name, value);
    }
    body.append("csrfmiddlewaretoken", composer.elements.csrfmiddlewaretoken.value);
    tell("");
    let fault = "";
    try {
      const answer = await fetch(`${pane.dataset.deeds}${deed}/`, { method: "POST", body });
      if (answer.status === 409) {
        fault = (await answer.json()).error;
      } else if (!answer.ok || answer.redirected) {
        fault = "It was not done: please load the page again.";
      }
    } catch {
      fault = "The gateway cannot be reached. Please try again in a moment.";
    }
    tell(fault);
    await refresh();
    return !fault;
  }

  function tell(fault) {
    error.textContent = fault;
    error.hidden = !fault;
  }

  async function send() {
    const button = composer.querySelector("button[type=submit]");
    if (button.disabled) {
      return;
    }
    button.disabled = true;
    const fields = { text: text.value };
    const contact = view.querySelector("[data-contact].desk-replies");
    if (mode() === "reply" && contact) {
      fields.contact = contact.dataset.contact;
    }
    if (await act(mode(), fields)) {
      text.value = "";
      toTheEnd();
    }
    button.disabled = false;
    adjust();
    text.focus();
  }

  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  composer.addEventListener("change", adjust);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  canned.addEventListener("toggle", async () => {
    if (canned.open) {
      const answer = await fetch(canned.dataset.url).catch(() => null);
      if (answer?.ok && !answer.redirected) {
        canned.querySelector("ul").innerHTML = await answer.text();
      }
    }
  });
  composer.addEventListener("click", (event) => {
    const reply = event.target.closest("[data-canned]");
    if (reply) {
      text.setRangeText(reply.dataset.canned, text.selectionStart, text.selectionEnd, "end");
      canned.open = false;
      text.focus();
    }
  });
  view.addEventListener("click", async (event) => {
    if (event.target.closest("[data-about]")) {
      pane.classList.toggle("desk-told");
      return;
    }
    const button = event.target.closest("[data-deed]");
    if (button) {
      button.disabled = true;
      const { deed, delivery, contact } = button.dataset;
      await act(deed, { ...(delivery && { delivery }), ...(contact && { contact }) });
    }
  });

  adjust();
  toTheEnd();
  follow(pane.dataset.session, { onDelta, onStored: refresh });
  setInterval(() => {
    if (!document.hidden) {
      refresh();
    }
  }, REFRESH_EVERY);
}
