/* A frame or body to send: examples to begin with, and whether it is JSON. What is not can be sent all the same. */

import { filled } from "./matching.js";

export class Editor {
  constructor(root, strings) {
    this.strings = strings;
    this.root = root;
    this.examples = [];
    this.known = () => ({});
    this.area = root.querySelector("textarea");
    this.choice = root.querySelector("[data-examples]");
    this.verdict = root.querySelector("[data-verdict]");
    this.tidy = root.querySelector("[data-tidy]");
    this.onChange = () => {};
    this.area.oninput = () => this.changed();
    this.choice.onchange = () => this.take(this.examples[this.choice.value]);
    this.tidy.onclick = () => this.write(JSON.stringify(JSON.parse(this.area.value), null, 2));
  }

  get text() {
    return this.area.value;
  }

  /* Offers other examples, `{name, text}` each, and begins with the first; hides where there is nothing to send. */
  offer(examples, known, needed) {
    this.examples = examples;
    this.known = known;
    this.root.hidden = !needed;
    this.choice.replaceChildren(...examples.map(({ name }, index) => new Option(name, String(index))));
    this.choice.parentElement.hidden = examples.length < 2;
    this.take(examples[0]);
  }

  take(example) {
    this.write(example ? String(filled(example.text, this.known())) : "");
  }

  write(text) {
    this.area.value = text;
    this.changed();
  }

  changed() {
    const { strings, area, verdict } = this;
    let wrong = "";
    try {
      JSON.parse(area.value);
    } catch (error) {
      wrong = error.message;
    }
    area.setAttribute("aria-invalid", String(Boolean(wrong && area.value)));
    verdict.className = `badge badge-${wrong ? "warn" : "good"}`;
    verdict.hidden = !area.value; // a call may do without a body
    verdict.textContent = wrong ? strings.no_json : strings.json;
    verdict.title = wrong;
    this.tidy.disabled = Boolean(wrong);
    this.onChange();
  }
}
