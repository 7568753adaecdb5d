/* Files that go with the next message: picked, pasted or dropped, and uploaded at once. */

import { button, icon, make } from "./make.js";
import { sizeOf } from "./view.js";

const IMAGES = ["image/jpeg", "image/png", "image/gif", "image/webp"];
const DOCUMENTS = /\.(pdf|txt|md|csv|docx|xlsx|pptx)$/i;
const TOO_LARGE = 413; // as the gateway says it, or a proxy before it
const MOST = 10; // of a message

export class Attachments {
  #items = new Set(); // { name, size, file, component, aborting, node }

  /* `largest` is what the gateway takes, in bytes; `thumbnail(key)` gives an address; `changed` hears that something is to
     be looked at again. */
  constructor(root, { strings, largest, upload, thumbnail, tell, changed }) {
    Object.assign(this, { root, strings, largest, upload, thumbnail, tell, changed });
    this.list = root.querySelector(".chosen");
    const input = root.querySelector("input[type=file]");
    root.querySelector(".attach").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add(input.files);
      input.value = "";
    });
    root.addEventListener("paste", (event) => {
      // A table's cells come as words and as a picture of them: the words are meant.
      if (!event.clipboardData?.types.includes("text/plain")) {
        this.#take(event, event.clipboardData);
      }
    });
    root.addEventListener("drop", (event) => this.#take(event, event.dataTransfer));
    root.addEventListener("dragover", (event) => {
      if (event.dataTransfer?.types.includes("Files")) {
        event.preventDefault();
        root.classList.add("dropping");
      }
    });
    ["drop", "dragleave"].forEach((name) => root.addEventListener(name, () => root.classList.remove("dropping")));
  }

  /* Whether each that was chosen is there. */
  get ready() {
    return [...this.#items].every(({ component }) => component);
  }

  get components() {
    return [...this.#items].map(({ component }) => component);
  }

  /* What outlives a reload: those that are there. */
  get kept() {
    return [...this.#items].filter(({ component }) => component).map(({ name, size, component }) => ({ name, size, component }));
  }

  restore(kept) {
    for (const item of kept) {
      this.#show(item);
      item.status.textContent = sizeOf(item.size);
      item.again.hidden = true;
    }
    this.changed();
  }

  add(files) {
    this.list.querySelectorAll(".refused").forEach((node) => node.remove());
    const room = MOST - this.#items.size;
    for (const file of [...files].slice(0, room)) {
      const item = { name: file.name, size: file.size, file, component: null, aborting: new AbortController() };
      this.#show(item);
      this.#upload(item);
    }
    if (files.length > room) {
      this.tell(this.strings.too_many_files.replace("{count}", MOST));
    }
    this.changed();
  }

  clear() {
    this.#items.clear();
    this.list.replaceChildren();
    this.changed();
  }

  #take(event, transfer) {
    if (transfer?.files.length) {
      event.preventDefault();
      this.add(transfer.files);
    }
  }

  #show(item) {
    const { strings } = this;
    const { name } = item;
    item.status = make("small", { role: "status" });
    item.progress = make("progress", { max: 1, attributes: { "aria-label": strings.uploading } });
    item.again = button({
      className: "again",
      textContent: strings.again,
      attributes: { "aria-label": `${strings.again}: ${name}` },
      onclick: () => this.#again(item),
    });
    item.node = make("li", {}, this.#picture(item), make("span", { className: "name", textContent: name }), item.status, item.again,
      button({
        className: "remove",
        title: strings.remove,
        attributes: { "aria-label": `${strings.remove}: ${name}` },
        onclick: () => this.#remove(item),
      }, icon(this.root, "close")));
    this.#items.add(item);
    this.list.append(item.node);
  }

  #picture({ file, component }) {
    if (!(file ? isImage(file) : component.type === "Image")) {
      return icon(this.root, "file");
    }
    const picture = make("img", { alt: "", src: file ? URL.createObjectURL(file) : this.thumbnail(component.path) });
    picture.onload = () => URL.revokeObjectURL(picture.src);
    picture.onerror = () => {
      picture.onload();
      picture.replaceWith(icon(this.root, "file"));
    };
    return picture;
  }

  #again(item) {
    this.#upload(item);
    this.root.querySelector("textarea").focus();
  }

  async #upload(item) {
    const { file } = item;
    item.node.classList.remove("failed");
    item.status.textContent = sizeOf(file.size);
    item.progress.value = 0;
    item.node.append(item.progress);
    item.again.hidden = true;
    try {
      const reason = faultOf(file, this.largest);
      if (reason) {
        throw Object.assign(new Error(), { reason });
      }
      item.component = await this.upload(file, {
        isImage: isImage(file),
        onProgress: (share) => (item.progress.value = share),
        signal: item.aborting.signal,
      });
    } catch ({ status, reason }) {
      this.#failed(item, reason ?? (status === TOO_LARGE ? "large" : ""));
    }
    item.progress.remove();
    this.changed();
  }

  /* What is refused for good is told of, and no part of the message; anything else may be tried again, or removed. */
  #failed(item, reason) {
    const refused = this.strings[`refused_${reason}`];
    item.status.textContent = (refused ?? this.strings.not_uploaded).replace("{name}", item.name).replace("{size}", sizeOf(this.largest));
    item.node.classList.add("failed");
    item.again.hidden = Boolean(refused);
    if (refused) {
      item.node.classList.add("refused");
      this.#items.delete(item);
    }
  }

  #remove(item) {
    item.aborting?.abort();
    item.node.remove();
    this.#items.delete(item);
    this.root.querySelector("textarea").focus();
    this.changed();
  }
}

function isImage({ type }) {
  return IMAGES.includes(type);
}

/* Return the gateway's word for why it would refuse a file, "" where it may take it. */
function faultOf(file, largest) {
  if (!isImage(file) && !DOCUMENTS.test(file.name)) {
    return "kind";
  }
  return file.size ? (file.size > largest ? "large" : "") : "empty";
}
