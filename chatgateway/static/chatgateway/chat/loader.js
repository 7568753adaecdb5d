/* <script src="…/api/v1/embed/<pipeline>/widget.js" data-title="…" data-position="left" data-color="#0a7" data-lang="en">
   draws a chat bubble on any page that the gateway allows. Nothing of it touches the page but one element. */

(() => {
  const { src, dataset } = document.currentScript;
  const [base, rest] = src.split("/api/v1/embed/");
  const pipeline = rest.split("/")[0];

  async function start() {
    const lang = dataset.lang || document.documentElement.lang;
    const answer = await fetch(`${base}/api/v1/embed/${pipeline}/config?lang=${encodeURIComponent(lang)}`, { credentials: "omit" });
    const { data, msg } = await answer.json();
    if (!data) {
      throw Object.assign(new Error(msg), { status: answer.status });
    }
    const files = `${base}/static/${data.assets ? `${data.assets}/` : ""}chatgateway/chat`; // none from a release before
    const { Widget } = await import(`${files}/widget.js`);
    const widget = new Widget({ ...data, base, pipeline }, dataset);
    await widget.show();
  }

  const coming = Symbol.for("chat-gateway-widget");
  if (window[coming] || document.querySelector("chat-gateway-widget")) {
    console.warn("Chat gateway: a page has one chat; this one is left out.");
    return;
  }
  window[coming] = true; // the element is there only once everything was fetched
  start()
    .catch((error) => {
      const hint = error.status === 404
        ? "Is the pipeline's UUID right, and the pipeline Public?"
        : `Is ${location.origin} one of the gateway's ALLOWED_ORIGINS?`;
      console.warn(`Chat gateway: no chat here. ${hint} (${error.message})`);
    })
    .finally(() => delete window[coming]);
})();
