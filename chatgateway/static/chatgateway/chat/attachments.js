/* Files that go with the next message: picked, pasted or dropped, and uploaded at once. */

import { button, icon, make } from "./make.js";
import { sizeOf } from "./view.js";

const IMAGES = ["image/jpeg", "image/png", "image/gif", "image/webp"];
const DOCUMENTS = /\.(pdf|txt|md|csv|docx|xlsx|pptx)$/i;
const [WRONG_KIND, TOO_LARGE] = [400, 413]; // as the gateway says it
const MOST = 10; // of a message

export class Attachments {
  #items = new Set(); // { file, component, failed, aborting, node }

  /* `largest` is what the gateway takes, in bytes; `changed` hears that something is to be looked at again. */
  constructor(root, { strings, largest, upload, tell, changed }) {
    Object.assign(this, { root, strings, largest, upload, tell, changed });
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

  add(files) {
    const room = MOST - this.#items.size;
    for (const file of [...files].slice(0, room)) {
      this.#add(file);
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

  #add(file) {
    const { strings } = this;
    const item = { file, component: null, aborting: new AbortController() };
    item.status = make("small", { role: "status" });
    item.progress = make("progress", { max: 1, attributes: { "aria-label": strings.uploading } });
    item.again = button({
      className: "again",
      textContent: strings.again,
      attributes: { "aria-label": `${strings.again}: ${file.name}` },
      onclick: () => this.#again(item),
    });
    item.node = make("li", {}, this.#picture(file), make("span", { className: "name", textContent: file.name }), item.status, item.again,
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

  #again(item) {
    this.#upload(item);
    this.root.querySelector("textarea").focus();
  }

  async #upload(item) {
    const isImage = IMAGES.includes(item.file.type);
    item.node.classList.remove("failed");
    item.status.textContent = sizeOf(item.file.size);
    item.progress.value = 0;
    item.node.append(item.progress);
    item.again.hidden = true;
    try {
      const fault = faultOf(item.file, isImage, this.largest);
      if (fault) {
        throw Object.assign(new Error(), { status: fault });
      }
      item.component = await this.upload(item.file, {
        isImage,
        onProgress: (share) => (item.progress.value = share),
        signal: item.aborting.signal,
      });
    } catch ({ status }) {
      const { wrong_kind, too_large, not_uploaded } = this.strings;
      const words = { [WRONG_KIND]: wrong_kind, [TOO_LARGE]: too_large }[status] ?? not_uploaded;
      item.node.classList.add("failed");
      item.status.textContent = words.replace("{name}", item.file.name).replace("{size}", sizeOf(this.largest));
      item.again.hidden = status === WRONG_KIND || status === TOO_LARGE; // those stay so
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

/* Return the status with which the gateway would refuse a file, 0 where it may take it. */
function faultOf({ name, size }, isImage, largest) {
  if (!isImage && !DOCUMENTS.test(name)) {
    return WRONG_KIND;
  }
  return size > largest ? TOO_LARGE : 0;
}
