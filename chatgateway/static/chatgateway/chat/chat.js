/* The web chat's page. */

import { Talk } from "./talk.js";

const [config, strings] = ["config", "strings"].map((id) => JSON.parse(document.getElementById(id).textContent));
const { title } = document;

function show() {
  if (!document.hidden) {
    talk.see();
  }
  document.title = talk.unread ? `(${talk.unread}) ${title}` : title;
}

const talk = new Talk(document.querySelector(".chat"), { ...config, base: location.origin, strings }, show);
document.addEventListener("visibilitychange", show);
talk.open();
if (matchMedia("(pointer: fine)").matches) {
  talk.composer.text.focus(); // on a phone the keyboard would cover half of the page
}
