/* What outlives a reload: the session, what of it was read and what was not sent yet; in a tab also what is being written. Where the browser
   refuses, memory does until then. */

export class Storage {
  #memory = new Map();

  constructor(name) {
    this.name = `chatgateway:${name}:`;
  }

  /* { id, token } of the session, or null. */
  get session() {
    return this.#get("session");
  }

  set session(value) {
    this.#set("session", value);
  }

  /* The `seq` up to which everything was seen, or null. */
  get read() {
    return this.#get("read");
  }

  set read(seq) {
    this.#set("read", seq);
  }

  /* Whether the widget's panel is open on this tab's pages. */
  get isOpen() {
    return this.#get("open", "sessionStorage") === true;
  }

  set isOpen(value) {
    this.#set("open", value || null, "sessionStorage");
  }

  /* Each has a key of its own, so that two tabs do not overwrite one another's. */
  keep(unsent) {
    this.#set(`unsent:${unsent.id}`, unsent);
  }

  drop(id) {
    this.#set(`unsent:${id}`, null);
  }

  /* { text, files: [{ name, size, component }] }: what is being written. */
  get draft() {
    const { text, files } = this.#get("draft", "sessionStorage") ?? {};
    return { text: text ?? "", files: files ?? [] };
  }

  set draft({ text, files }) {
    this.#set("draft", text || files.length ? { text, files } : null, "sessionStorage");
  }

  unsent() {
    const prefix = `${this.name}unsent:`;
    const names = new Set(this.#memory.keys());
    try {
      Object.keys(localStorage).forEach((name) => names.add(name));
    } catch {
      // refused: what is in memory is all there is
    }
    return [...names]
      .filter((name) => name.startsWith(prefix))
      .map((name) => this.#get(name.slice(this.name.length)))
      .filter((value) => value?.id && Array.isArray(value.chain))
      .sort((a, b) => a.at - b.at);
  }

  #get(key, place = "localStorage") {
    try {
      return JSON.parse(this.#memory.get(this.name + key) ?? globalThis[place].getItem(this.name + key));
    } catch {
      return null;
    }
  }

  #set(key, value, place = "localStorage") {
    const name = this.name + key;
    this.#memory.delete(name);
    try {
      if (value === null) {
        globalThis[place].removeItem(name);
      } else {
        globalThis[place].setItem(name, JSON.stringify(value));
      }
    } catch {
      if (value !== null) {
        this.#memory.set(name, JSON.stringify(value));
      }
    }
  }
}
