/* A connection of the pipeline wire that comes back by itself.

   Its state is "connecting" until the first greeting, then "live", "reconnecting", "offline" where the browser knows of no
   network, or "closed" where coming again would not help. */

const PING_EVERY = 25000; // milliseconds without a word
const PATIENCE = 10000; // for a greeting or a pong
const HURRIED = 5000; // the same when there is reason to doubt: the machine slept, the network changed
const LOOK_EVERY = 5000;
const RETRY = { first: 500, longest: 20000, backingOff: 5000 };
const AT_ONCE = ["online", "offline", "focus", "pageshow"];

export class Socket {
  state = "connecting";
  #socket = null;
  #greeted = false;
  #attempts = 0;
  #path = 0;
  #heardAt = 0;
  #lookedAt = 0;
  #timers = {}; // look, patience, retry

  /* `urls` are tried in turn; `query` gives a connection's arguments, `secret` its resume token, which no log is to see;
     `hear` gets frames, `told` (state, close code). */
  constructor({ urls, query, secret, hear, told }) {
    Object.assign(this, { urls, query, secret, hear, told });
  }

  open() {
    this.#lookedAt = Date.now();
    this.#timers.look ??= setInterval(() => this.#look(), LOOK_EVERY);
    AT_ONCE.forEach((name) => addEventListener(name, this.#doubt));
    document.addEventListener("visibilitychange", this.#doubt);
    this.#connect();
  }

  close() {
    this.#hangUp();
    clearInterval(this.#timers.look);
    clearTimeout(this.#timers.retry);
    this.#timers = {};
    AT_ONCE.forEach((name) => removeEventListener(name, this.#doubt));
    document.removeEventListener("visibilitychange", this.#doubt);
  }

  /* Send a frame where there is a connection; what is lost on the way is the caller's to send again. */
  send(frame) {
    if (this.state === "live") {
      this.#socket.send(JSON.stringify(frame));
    }
  }

  #connect() {
    clearTimeout(this.#timers.retry);
    this.#hangUp();
    this.#greeted = false;
    const url = new URL(this.urls[this.#path % this.urls.length]);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams(this.query());
    const secret = this.secret();
    const socket = (this.#socket = new WebSocket(url, secret ? [`resume.${secret}`] : []));
    this.#expect(PATIENCE);
    socket.onmessage = ({ data }) => this.#heard(JSON.parse(data));
    socket.onclose = ({ code }) => this.#lost(code);
  }

  #heard(frame) {
    this.#expectNothing();
    this.#heardAt = Date.now();
    if (frame.type === "connected") {
      this.#greeted = true;
      this.#attempts = 0;
      this.#become("live");
    }
    this.hear(frame);
  }

  #lost(code) {
    this.#hangUp();
    if (code >= 4000 && code < 4100) {
      this.close();
      this.#become("closed", code);
      return;
    }
    this.#path += this.#greeted ? 0 : 1; // a proxy may forward one of the paths only
    const longest = Math.min(RETRY.longest, RETRY.first * 2 ** this.#attempts);
    this.#attempts += 1;
    const least = code === 1013 || code >= 4100 ? RETRY.backingOff : 0;
    const wait = Math.max(least, longest * (0.5 + Math.random() / 2)); // not all pages at the same moment
    this.#timers.retry = setTimeout(() => this.#connect(), wait);
    this.#become(this.state === "connecting" && navigator.onLine ? "connecting" : "reconnecting");
  }

  /* Forget the connection at once: where the network is gone, its end may never be heard of. */
  #hangUp() {
    this.#expectNothing();
    if (this.#socket) {
      this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket.close();
      this.#socket = null;
    }
  }

  #become(state, code) {
    this.state = state === "reconnecting" && !navigator.onLine ? "offline" : state;
    this.told(this.state, code);
  }

  #expect(patience) {
    this.#expectNothing();
    this.#timers.patience = setTimeout(() => this.#lost(), patience);
  }

  #expectNothing() {
    clearTimeout(this.#timers.patience);
    this.#timers.patience = null;
  }

  #ping(patience) {
    this.send({ type: "ping" });
    this.#expect(patience);
  }

  #look() {
    const slept = Date.now() - this.#lookedAt > 3 * LOOK_EVERY;
    this.#lookedAt = Date.now();
    // A hidden page looks as rarely as one that slept, and has nobody who waits: it pings in its turn.
    if (slept && !document.hidden) {
      this.#doubt();
    } else if (this.state === "live" && !this.#timers.patience && Date.now() - this.#heardAt > PING_EVERY) {
      this.#ping(PATIENCE);
    }
  }

  #doubt = () => {
    if (this.state === "live" && !navigator.onLine) {
      this.#lost(); // where the gateway is reached without a network, it is reached again at once
      return;
    }
    if (document.hidden) {
      return;
    }
    if (this.state === "live") {
      this.#ping(HURRIED);
    } else if (!this.#socket || this.#socket.readyState > WebSocket.OPEN) {
      this.#attempts = 0;
      this.#connect();
    } else {
      this.#become(this.state);
    }
  };
}
