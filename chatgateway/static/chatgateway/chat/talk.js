/* A conversation on the screen: puts together what the page and the widget share. */

import { Api, PAGE } from "./api.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { Outbox } from "./outbox.js";
import { Socket } from "./socket.js";
import { Storage } from "./storage.js";
import { View } from "./view.js";

const NOT_ALLOWED = 4003;

export class Talk {
  #isWhole = false; // the history up to `lastSeq` is here
  #loading = null; // the reading of the history that counts
  #timers = {};
  #drawing = 0;

  /* `root` holds the panel; `news` hears that there may be something that was not seen yet. */
  constructor(root, config, news) {
    const { strings } = config;
    Object.assign(this, { root, config, strings, news });
    this.storage = new Storage(`${config.base}:${config.pipeline}`);
    this.session = this.storage.session; // another tab may have another one
    this.api = new Api(config, () => this.session);
    this.conversation = new Conversation();
    const path = `/api/v1/pipelines/${config.pipeline}/ws/connect`;
    this.socket = new Socket({
      urls: [config.base + path, `${config.base}/websocket${path}`],
      query: () => this.#query(),
      secret: () => this.session?.token,
      hear: (frame) => this.#hear(frame),
      told: (state, code) => this.#told(state, code),
    });
    this.outbox = new Outbox({
      conversation: this.conversation,
      storage: this.storage,
      socket: this.socket,
      strings,
      tell: (words) => this.#tell(words),
      changed: () => this.#draw(),
    });
    this.view = new View(root, {
      strings,
      language: config.language,
      file: (key, suffix) => this.api.file(key, suffix),
      deeds: {
        retry: ({ key }) => this.outbox.retry(key),
        again: ({ id }) => this.#say(this.conversation.questionOf(id)),
        rate: (line, value) => this.#rate(line, value),
      },
    });
    this.composer = new Composer(root, {
      strings,
      storage: this.storage,
      largest: config.max_upload_bytes,
      upload: (file, options) => this.api.upload(file, options),
      thumbnail: (key) => this.api.file(key, "/thumbnail"),
      tell: (words) => this.#tell(words),
      say: (chain) => this.#say(chain),
      stop: () => this.socket.send({ type: "stop" }),
    });
    this.earlier = root.querySelector(".earlier");
    this.earlier.addEventListener("click", () => this.#loadEarlier());
    root.querySelector(".human").addEventListener("click", () => this.#callSomebody());
    root.querySelector(".reset").addEventListener("click", () => this.#reset());
  }

  open() {
    this.#showState("connecting");
    this.#draw();
    this.socket.open();
  }

  /* How much of what others said nobody has seen here. */
  get unread() {
    return this.conversation.countSince(this.storage.read);
  }

  /* Everything is seen, once it is here. */
  see() {
    if (this.#isWhole) {
      this.storage.read = this.conversation.lastSeq;
    }
  }

  #say(chain, more) {
    const isTaken = this.outbox.take(chain, more);
    if (isTaken) {
      this.view.toTheEnd();
    }
    return isTaken;
  }

  // --- The wire ---

  #query() {
    const { session } = this;
    return {
      session_type: "person",
      rich: 1,
      lang: this.config.language,
      ...(session && { session_id: session.id }),
      ...(this.#isWhole && { last_seq: this.conversation.lastSeq }),
    };
  }

  #hear(frame) {
    switch (frame.type) {
      case "connected":
        this.session = this.storage.session = { id: frame.session_id, token: frame.resume_token };
        this.conversation.rewind(frame.last_seq);
        this.storage.read = Math.min(this.storage.read ?? frame.last_seq, frame.last_seq);
        if (!this.#isWhole) {
          this.#load(frame.last_seq);
        }
        break;
      case "resumed":
        if (!frame.resumed) {
          this.#load(frame.last_seq);
        }
        break;
      case "user_message":
      case "response":
        this.#heard(frame.data);
        break;
      case "broadcast":
        this.conversation.announce(frame.message?.text ?? frame.message, Date.parse(frame.timestamp));
        break;
      case "reset":
        this.conversation.reset(frame.first_id);
        break;
      case "error":
        this.outbox.refused(frame);
        break;
    }
    this.outbox.flush();
  }

  #heard(data) {
    const message = this.conversation.hear(data);
    if (data.client_msg_id) {
      this.outbox.taken(data.client_msg_id);
      this.#tell("");
    }
    if (message?.final && message.who !== "user") {
      this.#announce(message);
      this.news();
    }
  }

  /* Read the history; what comes meanwhile is kept, and asked for again where the connection breaks before it is here. */
  async #load(seq) {
    const loading = (this.#loading = {});
    this.#isWhole = false;
    const rows = seq ? await this.api.history().catch(() => null) : [];
    if (this.#loading !== loading) {
      return; // it is of a session that is lost, or was asked for again
    }
    this.#isWhole = rows !== null;
    this.#tell(rows ? "" : this.strings.not_loaded);
    if (rows) {
      this.conversation.load(rows, seq, rows.length === PAGE);
      rows.forEach((row) => this.outbox.taken(row.client_msg_id));
      this.news();
    } else {
      setTimeout(() => this.#loading === loading && this.#load(seq), 3000);
    }
    this.outbox.flush();
  }

  async #loadEarlier() {
    const { conversation, earlier, session } = this;
    if (earlier.ariaBusy !== "true") {
      earlier.ariaBusy = "true";
      await this.#attempt(async () => {
        const rows = await this.api.history(conversation.firstSeq);
        if (this.session?.id === session.id) {
          conversation.loadEarlier(rows, rows.length === PAGE);
          this.view.keepPlace(() => this.#drawNow());
        }
      });
      earlier.ariaBusy = "false";
    }
  }

  #told(state, code) {
    if (state !== "live") {
      this.conversation.refused("");
    }
    if (state === "closed" && code === NOT_ALLOWED && this.session) {
      // That session is not there any more: what was not sent goes into a new one.
      this.session = this.storage.session = null;
      this.#isWhole = false;
      this.#loading = null;
      this.conversation.leave();
      this.socket.open();
      return;
    }
    this.composer.disabled = state === "closed";
    this.#showState(state);
    this.#draw();
  }

  // --- Deeds ---

  async #callSomebody() {
    if (await this.#confirm(this.strings.human_question)) {
      this.#say([{ type: "Plain", text: this.strings.human_words }], { contact: true });
    }
  }

  async #reset() {
    if (await this.#confirm(this.strings.reset_question)) {
      await this.#attempt(async () => {
        const last = this.conversation.lastId; // the gateway's word for it may have come before the answer, or be lost
        await this.api.reset();
        this.outbox.clear();
        this.conversation.reset(last + 1);
        this.#draw();
      });
      this.composer.text.focus();
    }
  }

  #rate({ id, feedback }, value) {
    this.conversation.change(id, { feedback: value });
    this.#drawNow();
    return this.#attempt(
      () => this.api.feedback(id, value),
      () => this.conversation.change(id, { feedback }),
    );
  }

  async #attempt(deed, undo = () => {}) {
    try {
      await deed();
      this.#tell("");
    } catch {
      undo();
      this.#draw();
      this.#tell(this.strings.not_done);
    }
  }

  // --- What is seen and heard ---

  #confirm(question) {
    const dialog = this.root.querySelector("dialog");
    const { left, top, width, height } = this.root.getBoundingClientRect();
    Object.entries({ middle: left + width / 2, center: top + height / 2, width }).forEach(([name, pixels]) =>
      dialog.style.setProperty(`--${name}`, `${pixels}px`));
    dialog.querySelector("p").textContent = question;
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.onclose = () => resolve(dialog.returnValue === "yes");
    });
  }

  #showState(state) {
    this.root.dataset.state = state;
    const element = this.root.querySelector(".state");
    if (element.textContent !== this.strings[state]) {
      element.textContent = this.strings[state];
    }
  }

  #tell(words) {
    const element = this.root.querySelector(".told");
    element.textContent = typeof words === "string" ? words : "";
    element.hidden = !element.textContent;
  }

  /* The log itself is silent for screen readers, or they would read every state of an answer that grows. */
  #announce({ who, name, html, text }) {
    const came = document.createElement("template");
    came.innerHTML = html ?? "";
    const words = came.content.textContent || text;
    this.root.querySelector(".heard").textContent = who === "operator" ? `${name}: ${words}` : words;
  }

  #draw() {
    if (!this.#drawing) {
      const soon = document.hidden ? setTimeout : requestAnimationFrame;
      this.#drawing = soon(() => this.#drawNow());
    }
  }

  #drawNow() {
    this.#drawing = 0;
    const answering = this.conversation.answering();
    const lines = this.conversation.lines();
    this.root.querySelector(".welcome").hidden = lines.length > 0;
    this.earlier.hidden = !this.conversation.hasEarlier;
    this.composer.answering = answering !== "";
    this.view.draw(lines, answering);
    clearTimeout(this.#timers.draw);
    if (answering === "awaited") {
      this.#timers.draw = setTimeout(() => this.#draw(), 10000); // it may come to be awaited no more
    }
  }
}
