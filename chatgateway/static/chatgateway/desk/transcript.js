/* What was said, as it grows: live.js fetches it anew, and whoever reads stays where he reads. */

import { refresh } from "../live.js";

const NEAR_THE_END = 120; // pixels; a reader this close to the end is taken along

export class Transcript {
  constructor(view) {
    this.view = view;
    this.grown = new Map(); // turn → its answer so far as HTML, mostly newer than what the database has
    this.atTheEnd = true;
    this.reading = null; // the first line that is seen, and where it stands
    view.addEventListener("live:refreshed", () => this.#refreshed());
    view.addEventListener("scroll", ({ target }) => target === this.lines && this.#note(), true);
    // It gives way to the files that are chosen.
    new ResizeObserver(() => this.follow()).observe(view);
  }

  get lines() {
    return this.view.querySelector("#desk-lines");
  }

  /* What the gateway says of the conversation, as it was fetched last. */
  get head() {
    return this.view.querySelector(".desk-head").dataset;
  }

  refresh(options) {
    refresh(this.view.id, options);
  }

  toTheEnd() {
    this.atTheEnd = true;
    this.lines.scrollTop = this.lines.scrollHeight;
  }

  /* Keeps the reader where he is: at the end, or at his line. */
  follow() {
    if (this.atTheEnd) {
      this.toTheEnd();
    } else if (this.reading) {
      const line = this.view.querySelector(`[data-seq="${this.reading.seq}"]`);
      this.lines.scrollTop += line ? line.getBoundingClientRect().top - this.reading.top : 0;
    }
  }

  /* Shows an answer so far. */
  grow({ turn, html }) {
    this.grown.set(turn, html);
    const bubble = this.#bubble(turn);
    if (bubble) {
      put(bubble, contentOf(html));
      this.follow();
    } else if (!this.head.newest) {
      this.refresh();
    }
  }

  #bubble(turn) {
    return this.view.querySelector(`[data-turn="${turn}"] .bubble`);
  }

  #refreshed() {
    for (const [turn, html] of this.grown) {
      const bubble = this.#bubble(turn);
      const content = contentOf(html);
      if (!bubble) {
        this.grown.delete(turn);
      } else if (content.textContent.length > bubble.textContent.length) {
        put(bubble, content);
      }
    }
    this.follow();
  }

  /* Notes where the reader is: what is said above or below moves the line that he reads, not its place. */
  #note() {
    const { lines } = this;
    this.atTheEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < NEAR_THE_END;
    const { top } = lines.getBoundingClientRect();
    const line = [...lines.querySelectorAll("[data-seq]")].find((seen) => seen.getBoundingClientRect().bottom > top);
    this.reading = line ? { seq: line.dataset.seq, top: line.getBoundingClientRect().top } : null;
  }
}

/* The gateway made its HTML safe. */
function contentOf(html) {
  const came = document.createElement("template");
  came.innerHTML = html;
  return came.content;
}

function put(bubble, content) {
  bubble.classList.add("markdown");
  bubble.replaceChildren(content);
}
