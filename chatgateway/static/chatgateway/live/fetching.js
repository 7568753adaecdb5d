/* Fetches again what is out of date: in rounds, and the longer a round took, the longer the pause after it. */

import { replace } from "./replacing.js";

const APART = { least: 500, most: 5000 }; // milliseconds between two rounds; the most in a hidden tab
const PAUSES = 10; // times what a round took: a loaded gateway is asked less
const PATIENCE = 10000;

const stale = new Set(); // ids of elements that are out of date
const shown = new Map(); // id → the HTML that was put in last
let coming = null; // the round that has not begun
let last = Promise.resolve();
let took = 0;
let endedAt = -APART.most;
let hurried = false;
let endPause = () => {};

/* Fetch the element of that id anew, at once where the reader waits for it; the promise ends when it is up to date. */
export function refresh(id, { now = false } = {}) {
  stale.add(id);
  if (now) {
    hurried = true;
    endPause();
  }
  coming ??= last = round(last);
  return coming;
}

async function round(before) {
  await before;
  await pause();
  coming = null;
  hurried = false;
  const began = performance.now();
  for (const [url, ids] of byUrl(whatIsDue())) {
    ids.forEach((id) => stale.delete(id));
    await fetchInto(url, ids).catch(() => {}); // the gateway is away: whoever looks again tries again
  }
  endedAt = performance.now();
  took = endedAt - began;
}

function pause() {
  if (hurried) {
    return null;
  }
  const apart = document.hidden ? APART.most : Math.min(APART.most, Math.max(APART.least, PAUSES * took));
  return new Promise((resolve) => {
    endPause = resolve;
    setTimeout(resolve, endedAt + apart - performance.now());
  });
}

/* Return the ids that can be seen: in a hidden tab only those that tell who waits. */
function whatIsDue() {
  return [...stale].filter((id) => {
    const element = document.getElementById(id);
    return element && (!document.hidden || element.querySelector("[data-waiting-count]"));
  });
}

function byUrl(ids) {
  const found = new Map();
  for (const id of ids) {
    const url = document.getElementById(id).dataset.liveUrl ?? location.href;
    found.set(url, [...(found.get(url) ?? []), id]);
  }
  return found;
}

async function fetchInto(url, ids) {
  const page = await fetchPage(url);
  for (const id of page ? ids : []) {
    const element = document.getElementById(id);
    const html = (page.getElementById(id) ?? (element?.dataset.liveUrl && page.body))?.innerHTML;
    if (element && html !== undefined && html !== shown.get(id)) {
      shown.set(id, html);
      await replace(element, html);
    }
  }
}

/* Return a page as the gateway has it now, null where it has none to give. */
export async function fetchPage(url) {
  const answer = await fetch(url, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(PATIENCE) });
  if (answer.redirected || answer.status === 403) {
    loggedOut();
    return null;
  }
  return answer.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
}

/* Load the page again, which leads to the login or says what is not allowed any more, unless somebody prevents it. */
function loggedOut() {
  if (document.dispatchEvent(new Event("live:logged-out", { cancelable: true }))) {
    location.reload();
  }
}
