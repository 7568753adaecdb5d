/* The card of the document's conversation: its steps, how far they are, and how it ended. */

import { Conversation, Deviation, NotSetUp } from "./conversation.js";
import { element } from "./log.js";
import { filled } from "./matching.js";

const PLAIN = new Set(["*", "?"]); // what is waited for in whatever form

export class Running {
  /* `context()` gives what a run works with: see Conversation. */
  constructor(root, panel, context, strings) {
    this.panel = panel;
    this.context = context;
    this.strings = strings;
    this.button = root.querySelector("[data-run]");
    this.result = root.querySelector("[data-result]");
    this.list = root.querySelector("[data-steps]");
    this.stopping = null;
    this.button.onclick = () => (this.stopping ? this.stopping.abort() : this.run());
    this.show();
  }

  /* Shows the steps, none of which has been taken. */
  show() {
    this.steps = this.panel.steps.map((step) => this.draw(step));
    this.list.replaceChildren(...this.steps);
    this.result.hidden = true;
  }

  async run() {
    const { strings, steps } = this;
    const began = performance.now();
    this.stopping = new AbortController();
    this.button.textContent = strings.stop;
    this.tell("", strings.running);
    steps.forEach((step) => this.mark(step, "waiting"));
    let at = 0;
    try {
      await new Conversation(this.panel, this.context(), this.stopping.signal).play((index) => {
        this.mark(steps[at], "done");
        at = index;
        this.mark(steps[at], "running");
      });
      this.mark(steps[at], "done");
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      this.tell("good", strings.as_shown.replace("{steps}", steps.length).replace("{seconds}", seconds));
    } catch (error) {
      this.end(error, at);
    } finally {
      this.stopping = null;
      this.button.textContent = strings.run;
    }
  }

  /* Tells why a run went no further than a step. */
  end(error, at) {
    const { strings, steps } = this;
    if (error instanceof NotSetUp) {
      steps.slice(at).forEach((step) => this.mark(step, "left"));
      this.tell("warn", error.message);
      return;
    }
    this.mark(steps[at], "failed");
    const words = error instanceof Deviation ? error.message : `${strings.broke} ${error.message}`;
    this.tell("bad", `${strings.not_as_shown.replace("{step}", at + 1)} ${words}`);
  }

  tell(mood, words) {
    this.result.hidden = false;
    this.result.className = `note ${mood && `note-${mood}`}`;
    this.result.dataset.mood = mood;
    this.result.textContent = words;
  }

  mark(step, state) {
    step.dataset.state = state;
    step.querySelector("[data-state-words]").textContent = this.strings[`state_${state}`];
    if (state === "running") {
      const { offsetTop, offsetHeight } = step;
      this.list.scrollTop = offsetTop + offsetHeight - this.list.clientHeight + 24;
    }
  }

  draw(step) {
    const item = element("li", "step");
    item.dataset.state = "waiting";
    const [verb, what] = this.words(step);
    const words = element("span", "step-words");
    words.append(element("b", "", verb), " ", element("code", "", what));
    const state = element("span", "visually-hidden", this.strings.state_waiting, { "data-state-words": "" });
    item.append(element("span", "step-mark", "", { "aria-hidden": "true" }), words, state);
    return item;
  }

  /* Returns what a step does in words of ours, and in the wire's. */
  words(template) {
    const { strings, panel } = this;
    const { pipeline, tab } = this.context().known;
    const step = filled(template, { pipeline, tab });
    const way = panel.ways.find(({ name }) => name === step.way);
    const who = step.on ? `${step.on}: ` : "";
    switch (step.do) {
      case "connect":
        return [strings.do_connect, who + way.path];
      case "send":
        return [strings.do_send, who + JSON.stringify(step.frame)];
      case "expect":
        return [strings.do_expect, who + outline(step.shape)];
      case "closed":
        return [strings.do_closed, `${who}${step.code}`];
      default:
        return [strings.do_call, `${way.method} ${way.path}`];
    }
  }
}

function outline(shape) {
  const told = Object.entries(shape).filter(([, wanted]) => !PLAIN.has(wanted));
  return told.map(([path, wanted]) => `${path}=${wanted}`).join(", ");
}
