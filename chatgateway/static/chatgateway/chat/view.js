/* Lines of a conversation as elements. `html` is the gateway's own, which it made safe; everything else is text. */

import { button, icon, make } from "./make.js";

const NEAR_THE_END = 80; // pixels; a reader this close to the end is taken along

export class View {
  #drawn = new Map(); // key → { node, line }
  #atTheEnd = true;

  /* `file(key, suffix)` gives an upload's address; `deeds` are { retry, again, rate } of a line. */
  constructor(root, { strings, language, file, deeds }) {
    Object.assign(this, { root, strings, file, deeds });
    this.log = root.querySelector(".log");
    this.list = root.querySelector(".lines");
    this.newest = root.querySelector(".newest");
    this.time = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit" });
    this.date = new Intl.DateTimeFormat(language, { dateStyle: "long" });
    this.relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
    this.log.addEventListener("scroll", () => this.#notePlace(), { passive: true });
    this.newest.addEventListener("click", () => this.toTheEnd());
    new ResizeObserver(() => this.#follow()).observe(this.log);
  }

  draw(lines, answering) {
    let place = this.list.firstChild;
    for (const line of this.#withDays(lines, answering)) {
      const node = this.#nodeOf(line);
      if (node === place) {
        place = place.nextSibling;
      } else {
        this.list.insertBefore(node, place);
      }
    }
    while (place) {
      const next = place.nextSibling;
      this.#drawn.delete(place.dataset.key);
      place.remove();
      place = next;
    }
    this.#follow();
  }

  /* Draw what comes above what is read, which stays where it is. */
  keepPlace(draw) {
    const { scrollHeight, scrollTop } = this.log;
    draw();
    this.log.scrollTop = scrollTop + this.log.scrollHeight - scrollHeight;
  }

  toTheEnd() {
    this.#atTheEnd = true;
    this.#follow();
  }

  #follow() {
    if (this.#atTheEnd) {
      this.log.scrollTop = this.log.scrollHeight;
    }
    this.newest.hidden = this.#atTheEnd;
  }

  #notePlace() {
    this.#atTheEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < NEAR_THE_END;
    this.newest.hidden = this.#atTheEnd;
  }

  *#withDays(lines, answering) {
    let day = "";
    for (const line of lines) {
      const date = new Date(line.at);
      if (date.toDateString() !== day) {
        day = date.toDateString();
        yield { key: day, who: "day", text: this.#dayOf(date) };
      }
      yield line;
    }
    if (answering === "awaited") {
      yield { key: "typing", who: "typing" };
    }
  }

  #dayOf(date) {
    const ago = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(date).setHours(0, 0, 0, 0)) / 86400000);
    return ago >= 0 && ago < 2 ? this.relative.format(-ago, "day") : this.date.format(date);
  }

  #nodeOf(line) {
    const drawn = this.#drawn.get(line.key);
    if (drawn && (drawn.line === line || (line.who === "day" && drawn.line.text === line.text))) {
      return drawn.node;
    }
    const node = drawn?.node ?? make("li");
    node.dataset.key = line.key;
    this.#drawn.set(line.key, { node, line });
    this.#fill(node, line);
    return node;
  }

  #fill(node, line) {
    node.className = `line ${line.who} ${line.state ?? ""}${line.final === false ? " growing" : ""}`.trim();
    if (line.who === "typing") {
      node.replaceChildren(make("span", { className: "dots", attributes: { "aria-label": this.strings.typing, role: "img" } },
        make("i"), make("i"), make("i")));
    } else if (["day", "notice", "everybody"].includes(line.who)) {
      node.replaceChildren(make("span", { textContent: line.text }));
    } else {
      const bubble = node.querySelector(".bubble") ?? make("div", { className: "bubble", dir: "auto" });
      this.#say(bubble, line);
      const by = make("span", { className: line.who === "operator" ? "by" : "by sr", textContent: this.#nameOf(line) });
      const parts = [by, ...(bubble.hasChildNodes() ? [bubble] : []), this.#files(line), this.#sources(line), this.#meta(line)];
      // The bubble stays where it is: what is selected or focused in it stays so.
      node.querySelectorAll(":scope > :not(.bubble)").forEach((old) => old.remove());
      const after = parts.indexOf(bubble);
      if (bubble.parentNode === node && after > 0) {
        bubble.before(...parts.slice(0, after));
        bubble.after(...parts.slice(after + 1).filter(Boolean));
      } else {
        node.replaceChildren(...parts.filter(Boolean));
      }
    }
  }

  #nameOf({ who, name }) {
    return who === "operator" ? name : this.strings[who === "user" ? "you" : "assistant"];
  }

  #say(bubble, { html, text, final }) {
    if (html === undefined) {
      bubble.textContent = text;
      return;
    }
    const came = make("template");
    came.innerHTML = html;
    replaceTail(bubble, came.content);
    if (final) {
      bubble.querySelectorAll("pre > code").forEach((code) => this.#addCopy(code));
    }
  }

  #addCopy(code) {
    const { strings } = this;
    const copy = button({ className: "copy", textContent: strings.copy });
    copy.onclick = async () => {
      if (navigator.clipboard) {
        await navigator.clipboard.writeText(code.textContent);
      } else {
        getSelection().selectAllChildren(code); // without TLS there is only this way
        document.execCommand("copy");
      }
      copy.textContent = strings.copied;
      setTimeout(() => (copy.textContent = strings.copy), 2000);
    };
    code.tabIndex = 0; // it scrolls
    code.after(copy);
  }

  #files({ files }) {
    const items = (files ?? []).map((file) => make("li", {}, file.type === "Image" ? this.#image(file) : this.#document(file)));
    return items.length ? make("ul", { className: "files" }, ...items) : null;
  }

  #image({ path, name, width, height }) {
    const { strings } = this;
    const picture = make("img", { alt: name || strings.image, src: this.file(path, "/thumbnail"), loading: "lazy" });
    if (width && height) {
      Object.assign(picture, { width, height });
    }
    picture.onerror = () => picture.replaceWith(strings.image);
    return make("a", { href: this.file(path), target: "_blank", rel: "noopener" }, picture);
  }

  #document({ path, name, size }) {
    const about = size ? make("small", { textContent: sizeOf(size) }) : null;
    return make("a", { className: "document", href: this.file(path), target: "_blank", rel: "noopener" },
      icon(this.root, "file"), make("span", { textContent: name || this.strings.file }), about);
  }

  #sources({ sources = [], final }) {
    const seen = new Map(sources.map((source) => [`${source.title} ${source.url}`, source]));
    const items = final ? [...seen.values()].map((source) => make("li", {}, sourceCard(source))) : [];
    return items.length ? make("ul", { className: "sources", attributes: { "aria-label": this.strings.sources } }, ...items) : null;
  }

  #meta(line) {
    const { strings, deeds } = this;
    const time = make("time", { dateTime: new Date(line.at).toISOString(), textContent: this.time.format(line.at) });
    const status = make("span", { className: "status" }, strings[line.state] ?? "", line.error ? ` · ${line.error}` : "");
    const parts = [time, status];
    if (line.state === "not_sent") {
      parts.push(button({ className: "text", textContent: strings.retry, onclick: () => deeds.retry(line) }));
    }
    if (line.who === "bot" && line.final) {
      status.textContent = line.outcome === "stopped" ? strings.stopped : "";
      if (["failed", "cut"].includes(line.outcome)) {
        parts.push(button({ className: "text", textContent: strings.again, onclick: () => deeds.again(line) }));
      } else if (line.outcome !== "handed" && !line.called) { // of a person there is no opinion
        parts.push(...["up", "down"].map((value) => this.#thumb(line, value)));
      }
    }
    return line.final ? make("p", { className: "meta" }, ...parts) : null;
  }

  #thumb(line, value) {
    const isPressed = line.feedback === value;
    const label = this.strings[value === "up" ? "helpful" : "not_helpful"];
    return button({
      className: "thumb",
      title: label,
      attributes: { "aria-label": label, "aria-pressed": isPressed },
      onclick: () => this.#rate(line, isPressed ? null : value, value),
    }, icon(this.root, value));
  }

  async #rate(line, value, pressed) {
    await this.deeds.rate(line, value);
    const index = pressed === "up" ? 0 : 1; // its buttons were made anew
    this.#drawn.get(line.key)?.node.querySelectorAll(".thumb")[index]?.focus();
  }
}

/* Put `content` in the place of what the element has, but for the blocks at its beginning that are the same already. */
function replaceTail(element, content) {
  let old = element.firstChild;
  while (old && content.firstChild && old.isEqualNode(content.firstChild)) {
    content.firstChild.remove();
    old = old.nextSibling;
  }
  while (old) {
    const next = old.nextSibling;
    old.remove();
    old = next;
  }
  element.append(content);
}

function sourceCard({ title, url }) {
  const link = webAddress(url);
  const parts = [make("b", { textContent: title || link?.host }), link ? make("small", { textContent: link.host }) : null];
  return link
    ? make("a", { className: "source", href: link.href, target: "_blank", rel: "noopener noreferrer nofollow" }, ...parts)
    : make("span", { className: "source" }, ...parts);
}

function webAddress(text) {
  const url = URL.canParse(text) ? new URL(text) : null;
  return url && /^https?:$/.test(url.protocol) ? url : null;
}

export function sizeOf(bytes) {
  const kilobytes = bytes / 1024;
  return kilobytes < 1000 ? `${Math.max(1, Math.round(kilobytes))} KB` : `${(kilobytes / 1024).toFixed(1)} MB`;
}
