/* Elements made in one expression; text is set as text, never as HTML. */

export function make(tag, properties = {}, ...children) {
  const { attributes = {}, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export function button(properties, ...children) {
  return make("button", { type: "button", ...properties }, ...children);
}

/* Return a copy of one of the pictures that came with the panel. */
export function icon(root, name) {
  return root.querySelector(`template[data-icon="${name}"]`).content.cloneNode(true);
}
