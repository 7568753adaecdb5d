/* The calls beside the socket. Each gives the envelope's data or throws an Error with the gateway's words. */

const PATIENCE = 15000; // milliseconds
export const PAGE = 200; // messages of the history that are read at once

export class Api {
  /* `session` gives { id, token } of the session as it is now. */
  constructor({ base, pipeline }, session) {
    this.base = base;
    this.pipeline = pipeline;
    this.session = session;
  }

  /* The newest messages, or the newest before one. */
  async history(before) {
    return (await this.#call("messages", { rich: 1, limit: PAGE, ...(before && { before_seq: before }) })).messages;
  }

  feedback(id, value) {
    return this.#call("feedback", {}, { message_id: id, value });
  }

  reset() {
    return this.#call("reset", {}, {});
  }

  /* Upload a file and return the component that attaches it; `onProgress` hears shares of one. */
  async upload(file, { isImage, onProgress, signal }) {
    const url = `${this.base}/api/v1/files/${isImage ? "images" : "documents"}?pipeline_uuid=${this.pipeline}`;
    const form = new FormData();
    form.append("file", file);
    const { status, answer } = await post(url, form, { onProgress, signal });
    const data = opened(status, answer);
    return isImage
      ? { type: "Image", path: data.file_key }
      : { type: "File", path: data.file_id, name: data.name, size: data.size };
  }

  file(key, suffix = "") {
    return `${this.base}/api/v1/files/${encodeURIComponent(key)}${suffix}`;
  }

  async #call(what, query, body) {
    const { id, token } = this.session();
    const search = new URLSearchParams({ ...query, session_id: id });
    const answer = await fetch(`${this.base}/api/v1/pipelines/${this.pipeline}/ws/${what}/person?${search}`, {
      method: body ? "POST" : "GET",
      headers: { "X-Resume-Token": token, ...(body && { "Content-Type": "application/json" }) },
      body: body && JSON.stringify(body),
      credentials: "omit",
      signal: AbortSignal.timeout(PATIENCE),
    });
    return opened(answer.status, await answer.json());
  }
}

function opened(status, { code, msg, reason, data }) {
  if (code !== 0) {
    throw Object.assign(new Error(msg), { status, reason });
  }
  return data;
}

/* Send a body and return { status, answer }. Only XMLHttpRequest tells how far an upload has got. */
export function post(url, body, { headers = {}, onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    Object.entries(headers).forEach(([name, value]) => request.setRequestHeader(name, value));
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded / total);
    request.onerror = () => reject(new Error(""));
    request.onload = () => resolve({ status: request.status, answer: request.response ?? {} });
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}
