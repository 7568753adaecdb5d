/* What an operator does, as calls. */

export const UNREACHABLE = "The gateway cannot be reached. Please try again in a moment: what you write is said once.";

export const PATIENCE = 15000; // milliseconds that the gateway may take

/* Do something, and return what is wrong, "" where nothing is. A field may have several values. */
export async function call(url, token, fields) {
  const body = new FormData();
  Object.entries(fields).forEach(([name, values]) => [values].flat().forEach((value) => body.append(name, value)));
  body.append("csrfmiddlewaretoken", token);
  try {
    const answer = await fetch(url, { method: "POST", body, signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 409) {
      return (await answer.json()).error;
    }
    return answer.ok && !answer.redirected ? "" : "It was not done: please load the page again. What you wrote is kept.";
  } catch {
    return UNREACHABLE;
  }
}

/* A UUID; crypto.randomUUID is there on HTTPS pages only. */
export function newName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
