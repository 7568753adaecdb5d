/* Files that go with an operator's reply: chosen as in the chat, and uploaded as staff. */

import { post } from "../chat/api.js";
import { Attachments } from "../chat/attachments.js";
import { make } from "../chat/make.js";

const ACCEPTED = "image/jpeg,image/png,image/gif,image/webp,.pdf,.txt,.md,.csv,.docx,.xlsx,.pptx";
const NOT_DONE = "The file was not uploaded: please load the page again. What you wrote is kept.";

/* Return the chat's attachments for an open conversation: what is pasted into the pane or dropped on it is taken too. */
export function openFiles(pane, { changed, tell }) {
  const { strings, largest } = JSON.parse(pane.querySelector("#desk-files").textContent);
  // Made here: the theme would hold one of the page's own for a field of the admin's, and stumble over it.
  const input = make("input", { type: "file", multiple: true, hidden: true, accept: ACCEPTED, hasChangeListener: true });
  pane.querySelector(".attach").after(input);
  const token = pane.querySelector("[name=csrfmiddlewaretoken]").value;
  const files = new Attachments(pane, {
    strings,
    largest,
    upload: (file, options) => upload(`${pane.dataset.deeds}files/`, token, file, options).catch((refusal) => {
      if (!refusal.reason) {
        tell(refusal.message); // the chip knows no words for it
      }
      throw refusal;
    }),
    thumbnail: (key) => `/api/v1/files/${encodeURIComponent(key)}/thumbnail`,
    tell,
    changed,
  });
  return { files, strings };
}

async function upload(url, token, file, options) {
  const headers = {
    "X-CSRFToken": token,
    "X-File-Name": encodeURIComponent(file.name.toWellFormed?.() ?? file.name),
    "Content-Type": "application/octet-stream",
  };
  const { status, answer } = await post(url, file, { ...options, headers });
  const { key, kind, name, size, error, reason } = answer;
  if (!key) {
    throw Object.assign(new Error(error ?? NOT_DONE), { status, reason: reason || undefined });
  }
  return { type: kind === "image" ? "Image" : "File", path: key, name, size };
}
