/* Where a message is written. Its button sends, or stops the answer while one comes and nothing is written. */

import { Attachments } from "./attachments.js";

const TALLEST = 160; // pixels

export class Composer {
  #answering = false;

  /* `say(chain)` takes a message and tells whether it did, `stop()` ends the answer, `tell(words)` shows what is wrong,
     `storage` keeps what is not sent yet. */
  constructor(root, { strings, storage, say, stop, tell, ...files }) {
    Object.assign(this, { strings, storage, say, stop, tell });
    this.form = root.querySelector(".composer");
    this.text = root.querySelector("textarea");
    this.button = root.querySelector(".send");
    this.attachments = new Attachments(root, { ...files, strings, tell, changed: () => this.#changed() });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#act();
    });
    this.text.addEventListener("input", () => this.#changed());
    this.text.addEventListener("keydown", (event) => this.#pressed(event));
    const { text, files: kept } = storage.draft;
    this.text.value = text;
    this.attachments.restore(kept);
  }

  set answering(value) {
    this.#answering = value;
    this.#show();
  }

  set disabled(value) {
    this.form.querySelector("fieldset").disabled = value;
  }

  #pressed(event) {
    // Enter that ends a word in an input method is not meant for us; 229 is how Safari says so.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
      event.preventDefault();
      if (!this.#isEmpty()) {
        this.#act();
      }
    }
  }

  #act() {
    if (this.#stops()) {
      this.stop();
    } else if (!this.attachments.ready) {
      this.tell(this.strings.files_pending);
    } else if (!this.#isEmpty()) {
      const words = this.text.value.trim();
      if (this.say([...(words ? [{ type: "Plain", text: words }] : []), ...this.attachments.components])) {
        this.text.value = "";
        this.attachments.clear();
      }
    }
    this.text.focus();
  }

  #isEmpty() {
    return !this.text.value.trim() && !this.attachments.components.length;
  }

  #stops() {
    return this.#answering && this.#isEmpty();
  }

  #changed() {
    this.storage.draft = { text: this.text.value, files: this.attachments.kept };
    this.#show();
  }

  #show() {
    const stops = this.#stops();
    const label = this.strings[stops ? "stop" : "send"];
    this.button.classList.toggle("stops", stops);
    this.button.title = label;
    this.button.setAttribute("aria-label", label);
    this.button.disabled = !stops && this.#isEmpty();
    this.button.setAttribute("aria-disabled", !this.attachments.ready); // it says why
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(TALLEST, this.text.scrollHeight)}px`;
  }
}
