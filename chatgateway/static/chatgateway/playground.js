/* The playground: a panel a wire, and what they share. */

import { Panel } from "./playground/panel.js";
import { makeTabs } from "./playground/tabs.js";

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const panels = read("playground-data");
const strings = read("playground-strings");
const pipeline = document.getElementById("pipeline");
const token = document.getElementById("token");

const page = { base: location.origin, pipeline: () => pipeline.value, token: () => token.value.trim() };
const made = panels.map((panel) => new Panel(document.getElementById(`panel-${panel.wire}`), panel, page, strings));
pipeline.addEventListener("change", () => made.forEach((panel) => panel.aim()));
token.addEventListener("input", () => made.forEach((panel) => panel.show()));
makeTabs(document.querySelector("[role=tablist]"), ({ wire }) => {
  const chosen = panels.find((panel) => panel.wire === wire);
  document.getElementById("pipeline-choice").hidden = !chosen.names_pipeline;
  document.getElementById("no-pipeline").hidden = chosen.names_pipeline;
});
