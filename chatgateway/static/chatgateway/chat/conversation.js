/* What was said, and what is on its way, as plain state: no page, no network. */

const KEPT = 500; // messages, and what earlier ones are asked for; the history has those before
const AWAITED = 90000; // milliseconds; the gateway ends every answer long before

export class Conversation {
  messages = new Map(); // id → message as `messageOf` makes it
  unsent = new Map(); // client message id → { id, chain, contact, at, state: "waiting" | "sending" | "not_sent", error }
  lastSeq = 0;
  hasEarlier = false; // in the history
  #kept = KEPT;
  #floor = 0; // ids up to here were before the reset

  /* Go back to where the gateway is: what it does not have any more was erased, or is lost to a restored back-up. */
  rewind(seq) {
    if (seq < this.lastSeq) {
      for (const [id, { final }] of this.messages) {
        if (final) {
          this.messages.delete(id);
        }
      }
      this.lastSeq = seq;
      this.#floor = 0; // ids may be given anew
    }
  }

  /* Take the history in the place of everything up to `seq`; what came after it, and answers that grow, stay. */
  load(rows, seq, hasEarlier) {
    this.hasEarlier = hasEarlier && this.#isSince(rows);
    for (const [id, message] of this.messages) {
      if (message.final && message.seq <= seq) {
        this.messages.delete(id);
      }
    }
    rows.forEach((row) => this.hear(row, Date.parse(row.timestamp)));
    this.lastSeq = Math.max(this.lastSeq, seq);
  }

  /* Take what the history has before what is here. */
  loadEarlier(rows, hasEarlier) {
    this.#kept = Math.max(this.#kept, this.messages.size + rows.length + KEPT);
    rows.forEach((row) => this.hear(row, Date.parse(row.timestamp)));
    this.hasEarlier = hasEarlier && this.#isSince(rows);
  }

  /* Tell whether rows are of this conversation, which may have begun anew while they were read. */
  #isSince(rows) {
    return rows.some(({ id }) => id > this.#floor);
  }

  get firstSeq() {
    return Math.min(...[...this.messages.values()].map(({ seq }) => seq || Infinity));
  }

  /* Count what others said after `seq`. */
  countSince(seq) {
    return [...this.messages.values()].filter((message) => message.who !== "user" && message.final && message.seq > seq).length;
  }

  /* Take the `data` of a frame; return the message where it is new. The same may come twice, and late states of an answer too. */
  hear(data, heardAt = Date.now()) {
    const known = this.messages.get(data.id);
    this.lastSeq = Math.max(this.lastSeq, data.seq ?? 0);
    this.unsent.delete(data.client_msg_id);
    if (data.id <= this.#floor || known?.final) {
      return null;
    }
    const message = { ...messageOf(data), heardAt };
    this.#keep(message);
    return message;
  }

  /* Take words to everybody, which nobody stores. */
  announce(words, at) {
    if (typeof words === "string") {
      const id = this.lastId + 0.001; // where it is heard
      this.#keep({ key: `to all ${id}`, id, who: "everybody", text: words, at, seq: 0, final: true });
    }
  }

  /* Its session is not there any more; what was not sent goes into the next one. */
  leave() {
    this.messages.clear();
    this.lastSeq = 0;
    this.hasEarlier = false;
    this.#floor = 0;
  }

  /* The conversation begins anew: what has an id below `first` is over, also an answer that still grows. */
  reset(first) {
    this.#floor = Math.max(this.#floor, first - 1);
    for (const id of this.messages.keys()) {
      if (id < first) {
        this.messages.delete(id);
      }
    }
    this.hasEarlier = false;
  }

  get lastId() {
    return Math.max(0, ...this.messages.keys());
  }

  /* Change a message; one that is gone meanwhile stays so. */
  change(id, changes) {
    const message = this.messages.get(id);
    if (message) {
      this.messages.set(id, { ...message, ...changes });
    }
  }

  #keep(message) {
    this.messages.set(message.id, message);
    if (this.messages.size > this.#kept) {
      this.messages.delete(Math.min(...this.messages.keys()));
      this.hasEarlier = true;
    }
  }

  // --- What is on its way ---

  add(item, state = "waiting") {
    this.unsent.set(item.id, { ...item, state });
  }

  /* Return what is to be sent now: one after another, so that an error is known to be about it. */
  next() {
    const items = [...this.unsent.values()];
    const item = this.sending() ? null : items.find(({ state }) => state === "waiting");
    return item ? this.#mark(item.id, "sending") : null;
  }

  sending() {
    return [...this.unsent.values()].find(({ state }) => state === "sending");
  }

  /* The one that is being sent was refused, with the gateway's words, or is to be sent again. */
  refused(error) {
    return this.#mark(this.sending()?.id, error ? "not_sent" : "waiting", error);
  }

  retry(id) {
    this.#mark(id, "waiting");
  }

  #mark(id, state, error = "") {
    const item = this.unsent.get(id);
    if (!item) {
      return null;
    }
    const changed = { ...item, state, error };
    this.unsent.set(id, changed);
    return changed;
  }

  // --- What is to be seen ---

  /* All lines in order. By id, a question's answer stands below it from its first word on, so nothing moves at its end. */
  lines() {
    const stored = [...this.messages.values()].sort((a, b) => a.id - b.id);
    return [...stored, ...[...this.unsent.values()].map(lineOf)];
  }

  /* Tell "growing" while an answer grows, "awaited" while one is to come, else "". */
  answering(now = Date.now()) {
    let asked = null;
    let isHeld = false; // by a person, who takes his time
    for (const message of this.lines().filter(({ id }) => id)) {
      if (!message.final) {
        return "growing";
      }
      if (message.who === "user") {
        asked = message;
      } else if (message.who !== "everybody") {
        isHeld = message.who !== "bot";
        asked = null;
      }
    }
    return asked && !isHeld && now - asked.heardAt < AWAITED ? "awaited" : "";
  }

  /* Return the components of the question that an answer belongs to. */
  questionOf(answer) {
    const asked = this.lines().filter(({ id, who }) => who === "user" && id < answer);
    return asked.at(-1)?.chain ?? [];
  }
}

function messageOf(data) {
  const { kind = data.role === "user" ? "user" : "bot", name = "" } = data.sender ?? {};
  return {
    key: data.client_msg_id ?? String(data.id),
    id: data.id,
    who: kind,
    name,
    ...partsOf(data.message_chain, data.content),
    html: data.html,
    at: Date.parse(data.timestamp),
    seq: data.seq ?? 0,
    final: data.is_final,
    outcome: data.outcome,
    feedback: data.feedback ?? null,
    called: data.called,
    sources: data.citations ?? [],
    state: "",
  };
}

function lineOf({ id, chain, at, state, error }) {
  return { key: id, who: "user", ...partsOf(chain), at, final: true, sources: [], state, error };
}

function partsOf(chain, content = "") {
  const files = chain.filter(({ type, path }) => path && (type === "Image" || type === "File"));
  const words = chain.filter(({ type }) => type === "Plain").map(({ text }) => text);
  return { chain, files, text: files.length || !content ? words.join("") : content };
}
