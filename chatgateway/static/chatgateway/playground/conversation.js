/* Plays the conversation that a wire's document shows, on sockets of its own, and tells how far it went. */

import { addressOf } from "./address.js";
import { dataOf, openSocket, parsed } from "./calling.js";
import { exchange } from "./exchange.js";
import { filled, fits, kept, misfits } from "./matching.js";

const OPENING = 10_000; // milliseconds for a handshake
const PATIENCE = 70_000; // for a frame or an answer: the gateway itself gives up after 55 s

/* Something that did not go as the document says. */
export class Deviation extends Error {}

/* What the conversation needs is not set up here, which the gateway says in the document's own words. */
export class NotSetUp extends Error {}

/* One run. `context` has base, token, known (what can be filled in), log, strings; `signal` ends it. */
export class Conversation {
  constructor(panel, context, signal) {
    this.ways = Object.fromEntries(panel.ways.map((way) => [way.name, way]));
    this.steps = panel.steps;
    this.context = context;
    this.known = { ...context.known };
    this.signal = signal;
    this.lines = new Map();
  }

  /* Takes one step after another; `onStep` is told of each as it begins. Raises Deviation, or NotSetUp. */
  async play(onStep) {
    try {
      for (const [index, step] of this.steps.entries()) {
        onStep(index);
        await this[step.do](step);
      }
    } finally {
      this.lines.forEach((line) => line.close());
    }
  }

  async connect({ way, values, on }) {
    const { token, log, strings } = this.context;
    const { url } = this.address(this.ways[way], values);
    log.add("note", url, on);
    const line = new Line(url, token, (kind, text) => log.add(kind, text, on), strings);
    this.lines.set(on, line);
    await this.within(OPENING, line.opened);
  }

  send({ frame, on }) {
    const text = JSON.stringify(filled(frame, this.known));
    this.context.log.add("sent", text, on);
    this.lines.get(on).socket.send(text);
  }

  async expect({ shape, between, keep, unless, on }) {
    const { strings } = this.context;
    for (;;) {
      const { text, closed } = await this.within(PATIENCE, this.lines.get(on).next());
      if (closed) {
        throw new Deviation(strings.was_closed.replace("{code}", `${closed.code} ${closed.reason}`.trim()));
      }
      const frame = parsed(text);
      const wrong = misfits(shape, frame, this.known);
      if (wrong.length === 0) {
        Object.assign(this.known, kept(keep, frame));
        return;
      }
      if (unless && fits(unless.shape, frame, this.known)) {
        throw new NotSetUp(unless.words);
      }
      if (!between.some((other) => fits(other, frame, this.known))) {
        throw new Deviation(`${strings.other_frame} ${wrong.join("; ")}`);
      }
    }
  }

  async closed({ code, on }) {
    const { strings } = this.context;
    const { text, closed } = await this.within(PATIENCE, this.lines.get(on).next());
    if (!closed) {
      throw new Deviation(`${strings.other_frame} ${text.slice(0, 200)}`);
    }
    if (closed.code !== code) {
      throw new Deviation(strings.was_closed.replace("{code}", closed.code));
    }
  }

  async call({ way: name, values, body, status, shape, last, keep }) {
    const { token, log, strings } = this.context;
    const way = this.ways[name];
    const { url, path } = this.address(way, values);
    const text = body ? JSON.stringify(filled(body, this.known)) : "";
    const { method, streams } = way;
    const signal = AbortSignal.any([this.signal, AbortSignal.timeout(PATIENCE)]);
    const asked = { method, url, path, token, body: text, streams, signal };
    const answer = await this.within(PATIENCE, exchange(asked, log));
    const { events } = answer;
    if (answer.status !== status) {
      throw new Deviation(strings.other_status.replace("{status}", answer.status));
    }
    const bodies = events.length ? events.map(dataOf) : [parsed(answer.text)];
    const wrong = bodies.flatMap((one) => misfits(shape, one, this.known));
    wrong.push(...misfits(last, bodies.at(-1), this.known));
    if (wrong.length) {
      throw new Deviation(`${strings.other_answer} ${wrong.join("; ")}`);
    }
    Object.assign(this.known, kept(keep, bodies.at(-1)));
  }

  /* Returns a way's address: a step's values, else those that the way itself has. */
  address(way, values) {
    const own = Object.fromEntries(way.fields.map(({ name, value }) => [name, value]));
    return addressOf(way, { ...own, ...values }, this.known, this.context.base);
  }

  /* Waits for a promise no longer than so many milliseconds, and only while the run goes on. */
  async within(milliseconds, promise) {
    const { strings } = this.context;
    let timer;
    const given = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Deviation(strings.too_long)), milliseconds);
      this.signal.addEventListener("abort", () => reject(new Deviation(strings.stopped)), { once: true });
    });
    try {
      return await Promise.race([promise, given]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/* A socket whose frames wait until a step asks for them. */
class Line {
  constructor(url, token, log, strings) {
    this.waiting = [];
    this.asked = null;
    this.opened = new Promise((resolve, reject) => {
      this.socket = openSocket(url, token, {
        open: resolve,
        text: (text) => {
          log("received", text);
          this.put({ text });
        },
        close: (code, reason) => {
          log("note", `${strings.closed} ${code} ${reason}`.trim());
          reject(new Deviation(strings.refused));
          this.put({ closed: { code, reason } });
        },
      });
    });
    this.opened.catch(() => {}); // whoever waits hears of it
  }

  next() {
    if (this.waiting.length) {
      return Promise.resolve(this.waiting.shift());
    }
    return new Promise((resolve) => {
      this.asked = resolve;
    });
  }

  put(what) {
    const asked = this.asked;
    this.asked = null;
    if (asked) {
      asked(what);
    } else {
      this.waiting.push(what);
    }
  }

  close() {
    this.socket.close(1000);
  }
}
