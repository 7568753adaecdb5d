/* The desk: shows answers as they grow, keeps what is being written, and sends what the operator does.

   live.js fetches the queue and the open conversation anew; nothing is fetched from here but what an operator asks for. */

import { call } from "./desk/calling.js";
import { Composer } from "./desk/composer.js";
import { Transcript } from "./desk/transcript.js";
import { follow } from "./live.js";

const pane = document.querySelector(".desk-conversation[data-session]");
if (pane) {
  open(pane);
}

function open(pane) {
  const { session, deeds } = pane.dataset;
  const token = pane.querySelector("[name=csrfmiddlewaretoken]").value;
  const transcript = new Transcript(pane.querySelector("#desk-view"));

  async function act(deed, fields) {
    const fault = await call(`${deeds}${deed}/`, token, fields);
    transcript.refresh({ now: true });
    return fault;
  }

  const composer = new Composer(pane, transcript, act);

  async function press(button) {
    const { deed, delivery, contact, over } = button.dataset;
    button.disabled = true;
    composer.tell("");
    composer.tell(await act(deed, { ...(delivery && { delivery }), ...(contact && { contact }), ...(over && { over }) }));
    button.disabled = false; // what changed is drawn anew
  }

  transcript.view.addEventListener("click", ({ target }) => {
    const about = target.closest("[data-about]");
    const asked = target.closest("[data-deed]");
    if (about) {
      about.setAttribute("aria-expanded", String(pane.classList.toggle("desk-told")));
    } else if (asked && (!asked.dataset.confirm || confirm(asked.dataset.confirm))) {
      press(asked);
    }
  });
  transcript.toTheEnd();
  follow(session, { onGrowing: (answer) => transcript.grow(answer), onStored: () => transcript.refresh() });
}
