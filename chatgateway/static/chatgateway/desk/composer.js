/* What an operator writes: kept over a reload and a login, sent once, with the files that go with it. */

import { newName, UNREACHABLE } from "./calling.js";
import { openCanned } from "./canned.js";
import { openFiles } from "./files.js";

const TOLD_FOR = 10000; // milliseconds that this stays at least
const REACH = {
  "when resumed": "He reads it when he resumes the conversation.",
  never: "This wire cannot carry it to the visitor.",
};

export class Composer {
  /* `act` does a deed with fields, and returns what is wrong with it. */
  constructor(pane, transcript, act) {
    Object.assign(this, { transcript, act });
    this.form = pane.querySelector(".desk-composer");
    this.text = this.form.elements.text;
    this.button = this.form.querySelector("button[type=submit]");
    this.error = this.form.querySelector(".desk-error");
    const { session, operator } = pane.dataset;
    this.place = `desk.draft.${operator}.${session}`;
    this.sending = false;
    this.toldAt = 0;
    this.tried = null; // { words, chosen, uuid }: what was sent last, and under which name: sent again, it is the same
    Object.assign(this, openFiles(pane, { tell: (fault) => this.tell(fault), changed: () => this.#chosenAnew() }));
    this.#listen(pane);
    this.#takeUp();
    this.adjust();
  }

  get mode() {
    return this.form.elements.mode.value;
  }

  /* The keys of the files that go with what is written, so far as they are there: a note has none. */
  get chosen() {
    return this.mode === "note" ? [] : this.files.kept.map(({ component }) => component.path);
  }

  get wasTried() {
    return this.tried?.words === this.text.value && this.tried.chosen === this.chosen.join();
  }

  tell(fault) {
    this.error.textContent = fault;
    this.error.hidden = !fault;
    this.toldAt = performance.now();
  }

  /* Shows what may be done now, after the conversation was fetched anew too. */
  adjust() {
    const { form, mode, sending, text } = this;
    const noting = mode === "note";
    form.classList.toggle("desk-noting", noting);
    this.button.disabled = sending || (!noting && this.transcript.head.held === "other");
    form.querySelector(".attach").disabled = sending || noting;
    text.placeholder = noting
      ? "For your colleagues only — the visitor never sees it"
      : "Write to the visitor — Ctrl+Enter sends";
    form.querySelector("[data-hint]").textContent = this.#hint();
  }

  #hint() {
    const { files, mode, strings } = this;
    const { held, holder, carries, openRequests, files: shown } = this.transcript.head;
    const hasFiles = files.components.length > 0;
    if (mode === "note") {
      return hasFiles ? strings.files_not_noted : "Only operators read this.";
    }
    if (held === "other") {
      return `${holder} has this conversation.`;
    }
    if (REACH[carries]) {
      return REACH[carries];
    }
    if (hasFiles && strings[`files_as_${shown}`]) {
      return strings[`files_as_${shown}`];
    }
    if (Number(openRequests)) {
      return openRequests === "1" ? "Answers the contact request." : "Answers the contact requests.";
    }
    return held ? "" : "The bot goes on answering; take over to silence it.";
  }

  // --- Sending ---

  async send() {
    const { chosen, files, mode, text } = this;
    const noting = mode === "note";
    if (!noting && !files.ready) {
      this.tell(this.strings.files_pending);
      return;
    }
    if (this.button.disabled || !(text.value.trim() || chosen.length)) {
      return;
    }
    if (!this.wasTried) {
      this.tried = { words: text.value, chosen: chosen.join(), uuid: newName() };
    }
    this.keep();
    this.sending = true;
    text.readOnly = true; // what is typed meanwhile would be lost with what is sent
    this.adjust();
    this.tell("");
    const fault = await this.act(mode, { text: text.value, uuid: this.tried.uuid, upload: chosen });
    this.tell(fault);
    if (!fault) {
      this.#sent(noting);
    }
    this.sending = text.readOnly = false;
    this.adjust();
    text.focus();
  }

  #sent(noting) {
    const { transcript } = this;
    this.text.value = "";
    this.tried = null;
    if (!noting) {
      this.files.clear();
    }
    this.keep();
    transcript.atTheEnd = true;
    if (transcript.head.newest) {
      location.assign(transcript.head.newest); // an older page would not show it
    }
  }

  // --- Keeping what is being written: the tab may leave this page, and the operator be logged out ---

  keep() {
    const { kept } = this.files;
    if (this.text.value || kept.length) {
      const draft = { words: this.text.value, mode: this.mode, tried: this.tried, kept };
      sessionStorage.setItem(this.place, JSON.stringify(draft));
    } else {
      sessionStorage.removeItem(this.place);
    }
  }

  #takeUp() {
    const draft = JSON.parse(sessionStorage.getItem(this.place) ?? "null");
    if (draft) {
      this.text.value = draft.words;
      this.form.elements.mode.value = draft.mode;
      this.files.restore(draft.kept ?? []);
      this.tried = draft.tried;
      this.keep();
    }
  }

  #changed() {
    if (!this.wasTried) {
      this.tried = null; // what is written now is something else
    }
    this.keep();
  }

  #chosenAnew() {
    if (this.error.textContent === this.strings.files_pending) {
      this.tell("");
    }
    if (!this.sending) {
      this.#changed();
      this.adjust();
    }
  }

  // --- What the operator does ---

  #listen(pane) {
    const { form, text } = this;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    form.addEventListener("input", () => this.#changed());
    form.addEventListener("change", () => {
      this.keep();
      this.adjust();
    });
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
        event.preventDefault();
        this.send();
      }
    });
    // What is chosen while a reply is sent would be cleared with it.
    ["paste", "drop"].forEach((name) => pane.addEventListener(name, (event) => {
      if (this.sending) {
        event.preventDefault();
        event.stopPropagation();
      }
    }, true));
    openCanned(form.querySelector(".desk-canned"), (words) => {
      if (!this.sending) {
        text.setRangeText(words, text.selectionStart, text.selectionEnd, "end");
        this.keep();
        text.focus();
      }
    });
    this.transcript.view.addEventListener("live:refreshed", () => {
      if (this.error.textContent === UNREACHABLE && performance.now() - this.toldAt > TOLD_FOR) {
        this.tell("");
      }
      this.adjust();
    });
  }
}
