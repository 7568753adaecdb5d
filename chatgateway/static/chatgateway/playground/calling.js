/* Sockets and calls as they are on the wire, with nothing added: what comes is handed on as text. */

import { headersOf, protocolsOf } from "./address.js";

const LARGEST_ANSWER = 2 * 1024 * 1024; // characters of an answer that are read

/* Opens a socket. `on` has `open`, `text` and `close`, which also tells of one that never opened. */
export function openSocket(url, token, on) {
  const socket = new WebSocket(url, protocolsOf(token));
  const decoder = new TextDecoder();
  socket.binaryType = "arraybuffer";
  socket.onopen = () => on.open?.();
  socket.onmessage = ({ data }) => on.text?.(typeof data === "string" ? data : decoder.decode(data));
  socket.onclose = ({ code, reason }) => on.close?.(code, reason);
  return socket;
}

/* Makes a call without anybody's cookies, and hands the answer to `onPart` as it comes; returns the whole of it. */
export async function call({ method, url, token, body, signal }, onPart) {
  const response = await fetch(url, {
    method,
    headers: headersOf(token, body),
    body: method === "GET" ? undefined : body,
    credentials: "omit",
    cache: "no-store",
    signal,
  });
  const type = response.headers.get("content-type") ?? "";
  const head = { status: response.status, type };
  onPart?.(head, "");
  let text = "";
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  while (reader && text.length < LARGEST_ANSWER) {
    const { value, done } = await reader.read();
    if (done) {
      return { ...head, text };
    }
    text += value;
    onPart?.(head, value);
  }
  await reader?.cancel();
  return { ...head, text };
}

/* Splits what has come of an event stream into whole events; `rest` is what has not. */
export function splitEvents(text) {
  const parts = text.split(/\r?\n\r?\n/);
  const rest = parts.pop();
  return { events: parts.filter(Boolean), rest };
}

/* Returns the value in an event's data, undefined where it is no JSON. */
export function dataOf(event) {
  const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return parsed(lines.map((line) => line.slice(5).trimStart()).join("\n"));
}

export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
