/* What outlives a reload: the session, and what was not sent yet. Where the browser refuses, memory does until then. */

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

  /* Each has a key of its own, so that two tabs do not overwrite one another's. */
  keep(unsent) {
    this.#set(`unsent:${unsent.id}`, unsent);
  }

  drop(id) {
    this.#set(`unsent:${id}`, null);
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

  #get(key) {
    try {
      return JSON.parse(this.#memory.get(this.name + key) ?? localStorage.getItem(this.name + key));
    } catch {
      return null;
    }
  }

  #set(key, value) {
    const name = this.name + key;
    this.#memory.delete(name);
    try {
      if (value === null) {
        localStorage.removeItem(name);
      } else {
        localStorage.setItem(name, JSON.stringify(value));
      }
    } catch {
      if (value !== null) {
        this.#memory.set(name, JSON.stringify(value));
      }
    }
  }
}
