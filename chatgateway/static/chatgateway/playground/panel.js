/* One wire: its addresses, the connection that is open by hand, what is sent, and the log of it all. */

import { addressOf } from "./address.js";
import { openSocket, parsed } from "./calling.js";
import { Editor } from "./editor.js";
import { exchange } from "./exchange.js";
import { Log, copy, element } from "./log.js";
import { filled, fits, general, kept } from "./matching.js";
import { Running } from "./running.js";
import { SNIPPETS } from "./snippets.js";

const LONG = 20; // characters of a value that gets a line of its own

export class Panel {
  /* `page` has what all panels share: base, token() and pipeline(). */
  constructor(root, panel, page, strings) {
    Object.assign(this, { root, panel, page, strings });
    this.tab = document.getElementById(root.getAttribute("aria-labelledby"));
    this.find = (name) => root.querySelector(`[data-${name}]`);
    this.edited = {}; // of each way's fields, the values that were edited
    this.greeted = null; // what the socket that was last opened by hand was greeted with
    this.socket = null;
    this.pending = null;
    this.log = new Log(this.find("log"), strings);
    this.editor = new Editor(this.find("editor"), strings);
    this.editor.onChange = () => this.show();
    this.running = new Running(this.find("conversation"), panel, () => this.context(), strings);
    this.find("way").onchange = () => this.choose();
    this.find("go").onclick = () => this.go();
    this.find("send").onclick = () => this.send();
    this.find("snippet").onchange = () => this.show();
    this.find("copy-snippet").onclick = ({ currentTarget }) => copy(currentTarget, this.find("code").textContent, strings);
    this.editor.area.onkeydown = (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.send();
      }
    };
    this.choose();
  }

  get way() {
    return this.panel.ways.find(({ name }) => name === this.find("way").value);
  }

  get isSocket() {
    return this.way.method === "WS";
  }

  known() {
    return general(this.page.pipeline());
  }

  context() {
    return { base: this.page.base, token: this.page.token(), known: this.known(), log: this.log, strings: this.strings };
  }

  /* Shows another pipeline everywhere. */
  aim() {
    this.choose();
    this.running.show();
  }

  /* --- What is asked ------------------------------------------------------------------------- */

  choose() {
    const { way } = this;
    this.fill();
    const kinds = Object.keys(SNIPPETS[this.isSocket ? "WS" : "HTTP"]);
    this.find("snippet").replaceChildren(...kinds.map((kind) => new Option(kind, kind)));
    this.editor.offer(way.bodies, () => this.known(), way.method !== "GET");
    this.state();
  }

  /* Shows the fields of the address with what they hold now. */
  fill() {
    const { way } = this;
    const values = this.values();
    const edited = (this.edited[way.name] ??= {});
    this.find("fields").replaceChildren(...way.fields.map((field) => this.field(field, values, edited)));
  }

  /* Returns what the fields of the way hold: what was edited, else what is the own session's, else what they begin with. */
  values() {
    const { way } = this;
    const own = this.own();
    const edited = this.edited[way.name] ?? {};
    return Object.fromEntries(way.fields.map((field) => [field.name, edited[field.name] ?? own[field.own] ?? field.value]));
  }

  /* Returns what the greeting kept, as long as its pipeline is the chosen one. */
  own() {
    const greeting = this.greeting();
    const isOurs = greeting && this.greeted && fits(greeting.shape, this.greeted, this.known());
    return isOurs ? kept(greeting.keep, this.greeted) : {};
  }

  greeting() {
    return this.panel.ways.find(({ greeting }) => greeting)?.greeting;
  }

  field({ name, place, choices }, values, edited) {
    const id = `${this.panel.wire}-${this.way.name}-${name}`.replaceAll(" ", "-");
    const box = element("div", "field");
    const label = element("label", "label", name, { for: id });
    if (place === "path") {
      label.append(" ", element("span", "hint", this.strings.in_path));
    }
    const input = element("input", "input mono", "", { id, autocomplete: "off", spellcheck: "false" });
    // A name that is the same as long as the tab is: shown as it will be sent.
    input.value = String(filled(values[name], this.known()));
    box.classList.toggle("field-wide", input.value.length > LONG);
    input.oninput = () => {
      edited[name] = input.value;
      this.show();
    };
    box.append(label, input);
    if (choices.length) {
      const list = element("datalist", "", "", { id: `${id}-choices` });
      list.append(...choices.map((choice) => new Option(choice)));
      input.setAttribute("list", list.id);
      box.append(list);
    }
    return box;
  }

  request() {
    const { way, page } = this;
    const { url, path } = addressOf(way, this.values(), this.known(), page.base);
    const body = this.editor.root.hidden ? "" : this.editor.text;
    return { method: way.method, url, path, body, isToken: Boolean(page.token()), streams: way.streams };
  }

  /* Shows the address and the snippet as they are now. */
  show() {
    const request = this.request();
    this.find("url").textContent = request.url;
    this.warn();
    const write = SNIPPETS[this.isSocket ? "WS" : "HTTP"][this.find("snippet").value];
    this.find("code").textContent = write?.(request) ?? "";
  }

  /* Warns of what the call concerns because a field is empty. */
  warn() {
    const values = this.values();
    const words = this.way.fields.filter(({ name }) => !values[name]).map(({ without }) => without);
    const warning = this.find("warning");
    const text = words.filter(Boolean).join(" ");
    warning.hidden = !text;
    if (warning.textContent !== text) { // else it would be read out again
      warning.textContent = text;
    }
  }

  /* --- What is done -------------------------------------------------------------------------- */

  async go() {
    if (!this.isSocket) {
      await (this.pending ? this.pending.abort() : this.call());
    } else if (this.socket) {
      this.socket.close(1000);
    } else {
      this.connect();
    }
  }

  connect() {
    const { log, strings } = this;
    const { url } = this.request();
    log.add("note", `${strings.connecting} ${url}`);
    let isOpen = false;
    const on = {
      open: () => {
        isOpen = true;
        log.add("note", strings.connected);
        this.state();
      },
      text: (text) => {
        log.add("received", text);
        this.greet(text);
      },
      close: (code, reason) => {
        log.add(isOpen ? "note" : "failed", isOpen ? `${strings.closed} ${code} ${reason}`.trim() : strings.refused);
        this.socket = null;
        this.state();
      },
    };
    try {
      this.socket = openSocket(url, this.page.token(), on);
    } catch (error) { // an address or a token that no socket can have
      log.add("failed", `${strings.broke} ${error.message}`);
    }
    this.state();
  }

  /* Remembers a frame where it is the greeting, whose session is then that of calls. */
  greet(text) {
    const frame = parsed(text);
    const greeting = this.greeting();
    if (greeting && fits(greeting.shape, frame, this.known())) {
      this.greeted = frame;
      if (!this.isSocket) { // a call was chosen meanwhile
        this.fill();
        this.show();
      }
    }
  }

  send() {
    if (!this.isSocket) {
      this.go();
    } else if (this.socket?.readyState === WebSocket.OPEN) {
      this.log.add("sent", this.editor.text);
      this.socket.send(this.editor.text);
    }
  }

  async call() {
    const { log, strings } = this;
    this.pending = new AbortController();
    this.state();
    try {
      await exchange({ ...this.request(), token: this.page.token(), signal: this.pending.signal }, log);
    } catch (error) {
      log.add("failed", error.name === "AbortError" ? strings.stopped : `${strings.broke} ${error.message}`);
    } finally {
      this.pending = null;
      this.state();
    }
  }

  /* Shows what can be done now: connect or not, send or not. */
  state() {
    const { strings, socket, isSocket } = this;
    const isOpen = socket?.readyState === WebSocket.OPEN;
    const go = this.find("go");
    const send = this.find("send");
    const calling = this.pending ? strings.stop : strings.call;
    go.textContent = isSocket ? (socket ? strings.disconnect : strings.connect) : calling;
    go.classList.toggle("button-primary", !socket || !isSocket);
    go.hidden = !isSocket && !this.editor.root.hidden; // a call with a body is sent from where that is written
    send.textContent = isSocket ? strings.send : calling;
    send.disabled = isSocket && !isOpen;
    this.find("what").textContent = isSocket ? strings.frame : strings.body;
    const state = this.find("connection");
    state.hidden = !socket;
    state.className = `badge badge-${isOpen ? "good" : "warn"}`;
    state.textContent = isOpen ? strings.connected : strings.connecting;
    this.tab.toggleAttribute("data-live", Boolean(isOpen));
    this.show();
  }
}
