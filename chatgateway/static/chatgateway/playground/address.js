/* From a way and the values of its fields to an address, with the credential beside it. Pure. */

import { filled } from "./matching.js";

/* Returns the address: `url`, and `path` as it stands in it. */
export function addressOf(way, values, known, base) {
  const texts = Object.fromEntries(way.fields.map(({ name }) => [name, String(filled(values[name] ?? "", known))]));
  const path = way.path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(texts[name] ?? ""));
  const query = way.fields
    .filter(({ name, place }) => place === "query" && texts[name])
    .map(({ name }) => `${name}=${encoded(texts[name])}`)
    .join("&");
  const origin = way.method === "WS" ? base.replace(/^http/, "ws") : base;
  return { url: origin + path + (query ? `?${query}` : ""), path };
}

/* A browser's socket takes no headers: its credential travels as a subprotocol, which no log of addresses sees. */
export function protocolsOf(token) {
  return token ? [`bearer.${travelling(token)}`] : [];
}

export function headersOf(token, body) {
  return {
    ...(body ? { "Content-Type": "application/json" } : {}),
    ...(token ? { Authorization: `Bearer ${travelling(token)}` } : {}),
  };
}

/* A token of ours travels as it is; of anything else the browser would complain before the gateway can refuse it. */
function travelling(token) {
  return encodeURIComponent(token);
}

/* A slash means nothing in a query, and names of clients are full of them. */
function encoded(text) {
  return encodeURIComponent(text).replaceAll("%2F", "/");
}
