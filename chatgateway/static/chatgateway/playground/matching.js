/* What a step waits for, and what it fills in. Pure. The words are those of `integrations/playground.py`. */

const SOMETHING = "*";
const ANYTHING = "?";
const PLACE = /\$\{(\w+)\}/g;

/* Returns the member of a value at a path such as `data.messages.0.role`, undefined where there is none. */
export function member(value, path) {
  return path.split(".").reduce((inner, name) => {
    const has = typeof inner === "object" && inner !== null && Object.hasOwn(inner, name);
    return has ? inner[name] : undefined;
  }, value);
}

/* Returns what of `shape` a value has not, as words to show; an empty list where it fits. */
export function misfits(shape, value, known) {
  return Object.entries(shape).flatMap(([path, wanted]) => {
    const found = member(value, path);
    return isAsWanted(filled(wanted, known), found) ? [] : [`${path}: ${shown(found)} ≠ ${shown(wanted)}`];
  });
}

export function fits(shape, value, known) {
  return misfits(shape, value, known).length === 0;
}

/* Returns `template` with every `${name}` replaced; a text that is nothing else takes the kind of what it stands for. */
export function filled(template, known) {
  if (typeof template === "string") {
    const whole = /^\$\{(\w+)\}$/.exec(template);
    return whole ? valueOf(whole[1], known) : template.replace(PLACE, (_, name) => String(valueOf(name, known)));
  }
  if (Array.isArray(template)) {
    return template.map((inner) => filled(inner, known));
  }
  if (typeof template === "object" && template !== null) {
    return Object.fromEntries(Object.entries(template).map(([name, inner]) => [name, filled(inner, known)]));
  }
  return template;
}

/* Returns the members of `value` that `keep` gives names to. */
export function kept(keep, value) {
  return Object.fromEntries(Object.entries(keep ?? {}).map(([name, path]) => [name, member(value, path)]));
}

/* Returns what the page itself knows; `id` is new each time, `tab` stays while the browser's tab does. */
export function general(pipeline) {
  const now = new Date();
  return { pipeline, tab: tab(), id: random(), now: now.toISOString(), seconds: Math.floor(now / 1000) };
}

function isAsWanted(wanted, found) {
  if (wanted === SOMETHING) {
    return found !== undefined && found !== null && found !== "" && found.length !== 0;
  }
  return wanted === ANYTHING ? found !== undefined : found === wanted;
}

function valueOf(name, known) {
  return known[name] ?? `\${${name}}`; // what nobody knows stays to be seen
}

function shown(value) {
  return value === undefined ? "–" : JSON.stringify(value).slice(0, 80);
}

function tab() {
  try {
    sessionStorage.playground ??= random();
    return sessionStorage.playground;
  } catch {
    return random(); // a browser that refuses storage
  }
}

function random() {
  return Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
