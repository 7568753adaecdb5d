/* Canned replies: fetched when they are looked for. */

import { PATIENCE } from "./calling.js";

/* `put` hears the words of the one that is picked. */
export function openCanned(canned, put) {
  canned.addEventListener("toggle", async () => {
    if (canned.open) {
      const answer = await fetch(canned.dataset.url, { signal: AbortSignal.timeout(PATIENCE) }).catch(() => null);
      if (answer?.ok && !answer.redirected) {
        canned.querySelector("ul").innerHTML = await answer.text();
      }
    }
  });
  canned.addEventListener("click", ({ target }) => {
    const reply = target.closest("[data-canned]");
    if (reply) {
      canned.open = false;
      put(reply.dataset.canned);
    }
  });
  document.addEventListener("click", ({ target }) => {
    if (!canned.contains(target)) {
      canned.open = false;
    }
  });
  canned.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") {
      canned.open = false;
      canned.querySelector("summary").focus();
    }
  });
}
