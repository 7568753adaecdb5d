/* Keeps staff's pages true while they are open.

   <div id="list" data-live="connections conversations" data-live-every="5">   fetched anew when one of these changed,
                                                                               and every 5 seconds
     data-live-url="…"                                                         from there, else from the page's address
   <span data-live-state role="status">                                        says "live" or "reconnecting"
   <b data-waiting-count="3" data-waiting="id id id">    inside of such an element: the number in the title, and who they
                                                         are, which notifications go by
   <button data-notify>          asks whether the browser may notify; data-notify-url="…" is what a click opens

   The socket only tells that something changed; what it is comes with the page, fetched as it was the first time. Without
   the socket the fetching every so many seconds goes on. What is open or scrolled in an element stays so where it has
   an id. An element that was fetched anew hears the event "live:refreshed". Who is logged out, or may not see the page
   any more, is led to where he can go on by loading it again; the document hears "live:logged-out" first, and whoever
   prevents its default keeps the page. */

import { fetchPage, refresh } from "./live/fetching.js";
import "./live/waiting.js";

export { refresh };

const PATHS = ["/admin/live", "/websocket/admin/live"]; // a proxy may forward one of them only
const PING_EVERY = 20000; // milliseconds
const RETRY = { first: 500, longest: 30000 };
const NOT_AUTHENTICATED = 4001;

let socket = null;
let ready = false;
let unanswered = false; // a ping was sent, and nothing came since
let attempts = 0;
let path = 0;
let followed = null;

// --- The socket ----------------------------------------------------------------------------------

/* Tell `onGrowing({turn, html})` and `onStored({session, seq})` of one conversation. */
export function follow(session, { onGrowing = () => {}, onStored = () => {} } = {}) {
  followed = { session, onGrowing, onStored };
  if (ready) {
    send({ type: "follow", session });
  } else {
    connect();
  }
}

function connect() {
  if (socket) {
    return;
  }
  const url = new URL(PATHS[path], location);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  socket.onopen = () => send({ type: "open", token: tokenIn(document).content });
  socket.onmessage = ({ data }) => hear(JSON.parse(data));
  socket.onclose = ({ code }) => lost(code);
}

function tokenIn(page) {
  return page?.querySelector('meta[name="live-token"]');
}

function send(frame) {
  socket.send(JSON.stringify(frame));
}

function hear(frame) {
  unanswered = false;
  switch (frame.type) {
    case "ready":
      ready = true;
      attempts = 0;
      showState();
      send({ type: "watch", what: [...new Set(elements().flatMap(kindsOf))] });
      if (followed) {
        send({ type: "follow", session: followed.session });
      }
      break;
    case "changed":
      elements()
        .filter((element) => kindsOf(element).includes(frame.what))
        .forEach(({ id }) => refresh(id));
      break;
    case "growing":
      followed?.onGrowing(frame);
      break;
    case "stored":
      followed?.onStored(frame);
      break;
    case "error":
      console.info(`live: ${frame.message}`);
      break;
  }
}

function lost(code) {
  if (!ready) {
    path = 1 - path;
  }
  socket = null;
  ready = unanswered = false;
  showState();
  const longest = Math.min(RETRY.longest, RETRY.first * 2 ** attempts);
  attempts += 1;
  const wait = longest * (0.5 + Math.random() / 2); // not all pages at the same moment
  setTimeout(() => again(code), wait);
}

async function again(code) {
  if (code === NOT_AUTHENTICATED) {
    // A changed password began a new session, of which the token must be; only whole pages carry one.
    const token = tokenIn(await fetchPage(location.href).catch(() => null));
    if (token) {
      tokenIn(document).content = token.content;
    }
  }
  connect();
}

function ping() {
  if (ready && unanswered) {
    socket.close(); // nobody is there any more, though nothing said so
  } else if (ready) {
    unanswered = true;
    send({ type: "ping" });
  }
}

function showState() {
  const state = ready ? "live" : "reconnecting";
  document.querySelectorAll("[data-live-state]").forEach((element) => {
    if (element.textContent !== state) {
      element.dataset.liveState = element.textContent = state; // once: it is read out
    }
  });
}

// --- What is live --------------------------------------------------------------------------------

function elements() {
  return [...document.querySelectorAll("[data-live]")];
}

function kindsOf(element) {
  return element.dataset.live.split(/\s+/).filter(Boolean);
}

for (const { id, dataset } of elements()) {
  if (dataset.liveEvery) {
    setInterval(() => refresh(id), Number(dataset.liveEvery) * 1000);
  }
}
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    elements().forEach(({ id }) => refresh(id, { now: true }));
  }
});
document.addEventListener("live:refreshed", showState);
setInterval(ping, PING_EVERY);
showState();
if (elements().length) {
  connect();
}
