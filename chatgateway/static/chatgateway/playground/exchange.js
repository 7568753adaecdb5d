/* A call and its answer in the log: an event stream event by event as it comes, anything else as a whole. */

import { call, splitEvents } from "./calling.js";

/* Makes a call; returns its answer, with the `events` of a stream. `streams` tells whether one is expected. */
export async function exchange({ path, streams, ...request }, log) {
  const tag = `${request.method} ${path}`;
  log.add("sent", request.body || `${request.method} ${request.url}`, tag);
  const events = [];
  let rest = "";
  const answer = await call(request, ({ status, type }, part) => {
    if (!part) {
      log.add("note", `${status} ${type}`, tag);
    } else if (streams && status === 200) {
      const split = splitEvents(rest + part);
      split.events.forEach((event) => log.add("received", event, tag));
      events.push(...split.events);
      rest = split.rest;
    } else {
      rest += part;
    }
  });
  if (rest.trim()) {
    log.add("received", rest, tag);
  }
  return { ...answer, events };
}
