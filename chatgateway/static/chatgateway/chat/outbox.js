/* What is said here goes out: one message after another, each again under the same id until the gateway has it. */

const QUEUE = 50; // messages waiting to be sent
const ACKNOWLEDGED = 15000; // milliseconds; then it is sent again
const FRESH = 20 * 3600 * 1000; // milliseconds; the gateway knows an id for a day, so an older one might be said twice
const LONGEST_WAIT = 20; // seconds until a message that was too much is sent again by itself

export class Outbox {
  #timers = {}; // acknowledged, later

  /* `socket` carries the frames, `tell(words)` shows what is wrong, `changed` hears that lines are to be drawn again. */
  constructor({ conversation, storage, strings, socket, tell, changed }) {
    Object.assign(this, { conversation, storage, strings, socket, tell, changed });
    storage.unsent().forEach((item) => conversation.add(item, Date.now() - item.at < FRESH ? "waiting" : "not_sent"));
  }

  /* Take a message, and tell whether it was taken. */
  take(chain, more) {
    if (this.conversation.unsent.size >= QUEUE) {
      this.tell(this.strings.queue_full);
      return false;
    }
    const item = { id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, chain, at: Date.now(), ...more };
    this.storage.keep(item);
    this.conversation.add(item);
    this.flush();
    return true;
  }

  /* Send what is next, where nothing else is on its way. */
  flush() {
    clearTimeout(this.#timers.acknowledged);
    const item = this.socket.state === "live" ? this.conversation.next() : null;
    if (item) {
      const { id, chain, contact } = item;
      this.socket.send({ type: "message", message: chain, client_msg_id: id, ...(contact && { contact }) });
    }
    if (this.conversation.sending()) {
      this.#timers.acknowledged = setTimeout(() => this.#again(), ACKNOWLEDGED);
    }
    this.changed();
  }

  /* The gateway has a message: another tab's, too. */
  taken(id) {
    this.storage.drop(id);
  }

  refused({ message, retry_after }) {
    const item = this.conversation.sending();
    if (item && !(retry_after <= LONGEST_WAIT)) {
      this.conversation.refused(message); // it would hold up what is said after it
      return;
    }
    this.tell(message);
    if (item) {
      // The message is left as it is, so that nothing overtakes it.
      clearTimeout(this.#timers.later);
      this.#timers.later = setTimeout(() => this.#again(), retry_after * 1000);
    }
  }

  retry(id) {
    this.conversation.retry(id);
    this.flush();
  }

  clear() {
    this.conversation.unsent.forEach(({ id }) => this.storage.drop(id));
  }

  #again() {
    this.conversation.refused("");
    this.flush();
  }
}
