/* The chat bubble on somebody else's page: a shadow root, into which no style of the page reaches, nor out of it. */

import { button, make } from "./make.js";
import { Storage } from "./storage.js";
import { Talk } from "./talk.js";

const PHONE = matchMedia("(max-width: 30rem)");
const FOCUSABLE = "button:not(:disabled), a[href], textarea, [tabindex='0']";

export class Widget {
  #talk = null;

  constructor(config, { title, position, color }) {
    Object.assign(this, { config, color });
    this.storage = new Storage(`${config.base}:${config.pipeline}`);
    this.host = make("chat-gateway-widget", { lang: config.language, dir: "ltr" }); // as both languages are read
    this.root = this.host.attachShadow({ mode: "open" });
    this.badge = make("span", { className: "badge", hidden: true });
    this.launcher = button({ className: "launcher", attributes: { "aria-expanded": "false" } });
    // The panel's markup is the gateway's own template.
    this.panel = make("div", { className: "chat panel", hidden: true, innerHTML: config.panel, attributes: { role: "dialog" } });
    this.launcher.append(this.panel.querySelector('template[data-icon="chat"]').content.cloneNode(true), this.badge);
    this.frame = make("div", { className: `frame ${position?.toLowerCase() === "left" ? "left" : "right"}` }, this.panel, this.launcher);
    if (title) {
      this.panel.querySelector(".name").textContent = title;
    }
    this.panel.setAttribute("aria-label", title || config.name);
    this.launcher.addEventListener("click", () => this.#toggle(this.panel.hidden));
    this.panel.querySelector(".close").addEventListener("click", () => this.#toggle(false));
    this.frame.addEventListener("keydown", (event) => this.#pressed(event));
    // The page's own keys are not meant.
    ["keydown", "keypress", "keyup"].forEach((name) => this.frame.addEventListener(name, (event) => event.stopPropagation()));
    PHONE.addEventListener("change", () => this.#fit());
  }

  /* Draw the bubble. Who talked here before hears of answers at once, whoever did not costs the gateway nothing. */
  async show() {
    const styles = await Promise.all(["panel.css", "widget.css"].map((name) => this.#sheet(name)));
    this.root.adoptedStyleSheets = styles;
    this.root.append(this.frame);
    (document.body ?? document.documentElement).append(this.host);
    this.#paint();
    this.#label();
    if (this.storage.isOpen && !PHONE.matches) {
      this.#open(true); // as it was on the page before
    } else if (this.storage.session || this.storage.unsent().length) {
      this.#connect();
    }
  }

  async #sheet(name) {
    const answer = await fetch(new URL(name, import.meta.url), { credentials: "omit" });
    return new CSSStyleSheet().replace(await answer.text());
  }

  #connect() {
    if (!this.#talk) {
      this.#talk = new Talk(this.panel, this.config, () => this.#label());
      this.#talk.open();
    }
  }

  #toggle(opens) {
    this.#open(opens);
    (opens ? this.panel.querySelector("textarea") : this.launcher).focus();
  }

  #open(opens) {
    this.panel.hidden = !opens;
    this.storage.isOpen = opens;
    this.#fit();
    if (opens) {
      this.#connect();
      this.#talk.composer.fit();
      this.#talk.view.toTheEnd();
    }
    this.#label();
  }

  /* On a phone the panel covers the page, and focus stays in it while it is open. */
  #fit() {
    const covers = PHONE.matches && !this.panel.hidden;
    this.frame.classList.toggle("covers", covers);
    this.panel.setAttribute("aria-modal", covers);
  }

  #pressed(event) {
    if (this.panel.hidden || this.panel.querySelector("dialog").open) {
      return;
    }
    if (event.key === "Escape" && !event.isComposing) {
      this.#toggle(false);
    } else if (event.key === "Tab" && this.frame.classList.contains("covers")) {
      const all = [...this.panel.querySelectorAll(FOCUSABLE)].filter((element) => element.offsetParent);
      const from = all.indexOf(this.root.activeElement);
      const to = from + (event.shiftKey ? -1 : 1);
      if (from < 0 || to < 0 || to === all.length) {
        event.preventDefault();
        all.at(event.shiftKey ? -1 : 0).focus();
      }
    }
  }

  #label() {
    const { strings } = this.config;
    const isOpen = !this.panel.hidden;
    if (isOpen) {
      this.#talk.see();
    }
    const count = this.#talk?.unread ?? 0;
    const unread = count ? `, ${strings.unread.replace("{count}", count)}` : "";
    this.badge.textContent = Math.min(99, count);
    this.badge.hidden = !count;
    this.launcher.setAttribute("aria-expanded", isOpen);
    this.launcher.setAttribute("aria-label", isOpen ? strings.close_chat : strings.open_chat + unread);
  }

  /* The site's colour, with the words on it black or white, whichever is read more easily. */
  #paint() {
    if (this.color && CSS.supports("color", this.color)) {
      this.frame.style.color = this.color;
      const [red, green, blue] = (getComputedStyle(this.frame).color.match(/[\d.]+/g) ?? []).map((part) =>
        (part / 255) ** 2.2);
      this.frame.style.color = "";
      const isLight = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18;
      for (const element of [this.panel, this.launcher]) {
        element.style.setProperty("--accent", this.color);
        element.style.setProperty("--on-accent", isLight ? "#000" : "#fff");
      }
    }
  }
}
