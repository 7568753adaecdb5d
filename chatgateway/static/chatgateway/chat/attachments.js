/* Files that go with the next message: picked, pasted or dropped, and uploaded at once. */

import { button, icon, make } from "./make.js";
import { sizeOf } from "./view.js";

const IMAGES = ["image/jpeg", "image/png", "image/gif", "image/webp"];
const DOCUMENTS = /\.(pdf|txt|md|csv|docx|xlsx|pptx)$/i;
const MOST = 10; // of a message
const LARGEST = 10 * 1024 * 1024; // bytes

export class Attachments {
  #items = new Set(); // { file, component, failed, aborting, node }

  /* `changed` hears that something is to be looked at again. */
  constructor(root, { strings, upload, changed }) {
    Object.assign(this, { root, strings, upload, changed });
    this.list = root.querySelector(".chosen");
    const input = root.querySelector("input[type=file]");
    root.querySelector(".attach").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add(input.files);
      input.value = "";
    });
    root.addEventListener("paste", (event) => this.#take(event, event.clipboardData));
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

  add(files) {
    for (const file of [...files].slice(0, MOST - this.#items.size)) {
      this.#add(file);
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

  #add(file) {
    const { strings } = this;
    const item = { file, component: null, aborting: new AbortController() };
    item.status = make("small", { textContent: sizeOf(file.size), role: "status" });
    item.progress = make("progress", { max: 1, value: 0, attributes: { "aria-label": strings.uploading } });
    item.node = make("li", {}, this.#picture(file), make("span", { className: "name", textContent: file.name }), item.status, item.progress,
      button({
        className: "remove",
        title: strings.remove,
        attributes: { "aria-label": `${strings.remove}: ${file.name}` },
        onclick: () => this.#remove(item),
      }, icon(this.root, "close")));
    this.#items.add(item);
    this.list.append(item.node);
    this.#upload(item);
  }

  #picture(file) {
    if (!IMAGES.includes(file.type)) {
      return icon(this.root, "file");
    }
    const picture = make("img", { alt: "", src: URL.createObjectURL(file) });
    picture.onload = picture.onerror = () => URL.revokeObjectURL(picture.src);
    return picture;
  }

  async #upload(item) {
    const { strings } = this;
    const isImage = IMAGES.includes(item.file.type);
    try {
      if (!isImage && !DOCUMENTS.test(item.file.name)) {
        throw new Error(strings.wrong_kind.replace("{name}", item.file.name));
      }
      if (item.file.size > LARGEST) {
        throw new Error(strings.too_large.replace("{name}", item.file.name).replace("{size}", sizeOf(LARGEST)));
      }
      item.component = await this.upload(item.file, {
        isImage,
        onProgress: (share) => (item.progress.value = share),
        signal: item.aborting.signal,
      });
    } catch (error) {
      item.node.classList.add("failed");
      item.status.textContent = error.message || strings.not_uploaded.replace("{name}", item.file.name);
    }
    item.progress.remove();
    this.changed();
  }

  #remove(item) {
    item.aborting.abort();
    item.node.remove();
    this.#items.delete(item);
    this.root.querySelector("textarea").focus();
    this.changed();
  }
}
