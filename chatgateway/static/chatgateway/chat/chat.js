/* The web chat's page. */

import { Talk } from "./talk.js";

const [config, strings] = ["config", "strings"].map((id) => JSON.parse(document.getElementById(id).textContent));
const { title } = document;
let unread = 0;

function show() {
  document.title = unread ? `(${unread}) ${title}` : title;
}

const talk = new Talk(document.querySelector(".chat"), { ...config, base: location.origin, strings }, () => {
  unread += document.hidden ? 1 : 0;
  show();
});
document.addEventListener("visibilitychange", () => {
  unread = document.hidden ? unread : 0;
  show();
});
talk.open();
if (matchMedia("(pointer: fine)").matches) {
  talk.composer.text.focus(); // on a phone the keyboard would cover half of the page
}
