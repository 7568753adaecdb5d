/* Replaces what an element shows, but not what the reader did to it: ticks, open details, focus, scrolling. */

export async function replace(element, html) {
  const restore = [ticked, opened, focused, scrolled].map((keep) => keep(element));
  element.innerHTML = html;
  await null; // what builds itself up, as scrolling areas do, has done so then
  restore.forEach((put) => put());
  element.dispatchEvent(new CustomEvent("live:refreshed", { bubbles: true }));
}

function ticked(element) {
  const selector = ({ name, value }) => `input[type=checkbox][name="${CSS.escape(name)}"][value="${CSS.escape(value)}"]`;
  const boxes = [...element.querySelectorAll("input[type=checkbox]:checked")].map(selector);
  return () => boxes.forEach((box) => element.querySelectorAll(box).forEach((found) => (found.checked = true)));
}

function opened(element) {
  const ids = [...element.querySelectorAll("details[id][open]")].map(({ id }) => id);
  return () => ids.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
}

function focused(element) {
  const active = document.activeElement;
  if (!element.contains(active) || active === element) {
    return () => {};
  }
  const { value, selectionStart, selectionEnd } = active;
  const selector = selectorOf(active);
  return () => {
    const found = selector && element.querySelector(selector);
    found?.focus({ preventScroll: true });
    if (found && typeof selectionStart === "number") {
      found.value = value;
      found.setSelectionRange(selectionStart, selectionEnd);
    }
  };
}

function selectorOf(node) {
  if (node.id) {
    return `#${CSS.escape(node.id)}`;
  }
  if (node.name) {
    const value = node.hasAttribute("value") ? `[value="${CSS.escape(node.getAttribute("value"))}"]` : "";
    return `[name="${CSS.escape(node.name)}"]${value}`;
  }
  return node.hasAttribute("href") ? `[href="${CSS.escape(node.getAttribute("href"))}"]` : null;
}

function scrolled(element) {
  const places = [...element.querySelectorAll("*")]
    .filter(({ scrollTop, scrollLeft }) => scrollTop || scrollLeft)
    .map((node) => [pathTo(node, element), node.scrollTop, node.scrollLeft]);
  return () => {
    for (const [path, top, left] of places) {
      path.reduce((node, index) => node?.children[index], element)?.scrollTo({ top, left, behavior: "instant" });
    }
  };
}

function pathTo(node, root) {
  const path = [];
  for (let at = node; at !== root; at = at.parentElement) {
    path.unshift([...at.parentElement.children].indexOf(at));
  }
  return path;
}
