/* What went over the wire: a row a frame, the newest in view, the oldest given up. */

const ROWS = 500;
const LONGEST = 20_000; // characters of a row; the size tells of the rest
const NEAR = 40; // pixels from the end that still count as reading the newest
const ARROWS = { sent: "↑", received: "↓", note: "•", failed: "!" };
const encoder = new TextEncoder();

export class Log {
  constructor(root, strings) {
    this.strings = strings;
    this.list = root.querySelector("[data-rows]");
    this.empty = root.querySelector("[data-empty]");
    this.count = root.querySelector("[data-count]");
    this.rows = [];
    this.dropped = 0;
    this.formatted = false;
    root.querySelector("[data-clear]").onclick = () => this.clear();
    root.querySelector("[data-copy]").onclick = ({ currentTarget }) => copy(currentTarget, this.text(), strings);
    root.querySelector("[data-formatted]").onchange = ({ target }) => this.format(target.checked);
  }

  /* Adds a row. `kind` is sent, received, note or failed; `tag` says which socket or call it belongs to. */
  add(kind, text, tag = "") {
    const row = { kind, tag, at: new Date(), size: encoder.encode(text).length, text: text.slice(0, LONGEST) };
    row.cut = text.length > LONGEST;
    this.rows.push(row);
    const isFollowing = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < NEAR;
    this.list.append(this.draw(row));
    if (this.rows.length > ROWS) {
      this.rows.shift();
      this.list.firstElementChild.remove();
      this.dropped += 1;
    }
    this.tell();
    if (isFollowing) {
      this.list.scrollTop = this.list.scrollHeight;
    }
    return row;
  }

  clear() {
    this.rows = [];
    this.dropped = 0;
    this.list.replaceChildren();
    this.tell();
  }

  format(formatted) {
    this.formatted = formatted;
    this.list.replaceChildren(...this.rows.map((row) => this.draw(row)));
    this.list.scrollTop = this.list.scrollHeight;
  }

  /* Returns the whole log as text, a row a line. */
  text() {
    return this.rows.map((row) => `${time(row.at)} ${ARROWS[row.kind]} ${row.tag && `[${row.tag}] `}${row.text}`).join("\n");
  }

  tell() {
    const { rows, dropped, strings } = this;
    this.empty.hidden = rows.length > 0;
    this.list.hidden = rows.length === 0;
    this.count.textContent = rows.length ? strings.rows.replace("{count}", rows.length) : "";
    if (dropped) {
      this.count.textContent += ` · ${strings.dropped.replace("{count}", dropped)}`;
    }
  }

  draw(row) {
    const item = element("li", `row row-${row.kind}`);
    const head = element("span", "row-head");
    head.append(
      element("span", "row-arrow", ARROWS[row.kind], { "aria-hidden": "true" }),
      element("span", "visually-hidden", this.strings[row.kind]),
      element("time", "row-time", time(row.at), { datetime: row.at.toISOString() }),
    );
    if (row.tag) {
      head.append(element("span", "row-tag", row.tag));
    }
    if (row.kind === "sent" || row.kind === "received") {
      head.append(element("span", "row-size", `${row.size.toLocaleString()} B`));
    }
    const words = this.formatted ? indented(row.text) : row.text;
    item.append(head, element("code", "row-text", row.cut ? `${words} …` : words));
    return item;
  }
}

/* Puts a text into the clipboard, and says so on the button for a moment. */
export async function copy(button, text, strings) {
  const before = button.dataset.words ?? button.textContent;
  button.dataset.words = before;
  button.textContent = (await isCopied(text)) ? strings.copied : strings.not_copied;
  setTimeout(() => {
    button.textContent = before;
  }, 1500);
}

/* Only pages from here or by https have the clipboard; the others have the old way, which needs an element. */
async function isCopied(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(() => true, () => false);
  }
  const area = element("textarea", "visually-hidden");
  area.value = text;
  document.body.append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  return isDone;
}

export function element(name, className, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  return made;
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function time(at) {
  const padded = (number, digits) => String(number).padStart(digits, "0");
  const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => padded(part, 2)).join(":");
  return `${clock}.${padded(at.getMilliseconds(), 3)}`;
}
