// Building blocks of the page. Texts become text nodes, whatever they hold: nothing from the server is read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; `attributes` may hold `class`, any attribute, and listeners as `onclick` and the like. */
function h(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/** Make an SVG element. */
function s(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else setAttribute(element, name, value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** Set an attribute; null and false take it away, true sets it empty. */
function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else {
    const text = value === true ? "" : String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

function byId(id) {
  return document.getElementById(id);
}

/** Show `text` in `element`. What stands there already is left alone: selections and screen readers stay calm. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Let `parent` have exactly `nodes`, in this order, moving as few as it takes: whoever has the focus keeps it. */
function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, index) => {
    if (parent.childNodes[index] !== node) parent.insertBefore(node, parent.childNodes[index] ?? null);
  });
}

/** Elements for items, one for each key, made once and updated from then on. */
class Keyed {
  #known = new Map();

  /**
   * @param make returns `{element, update(item)}` for the first sight of a key.
   * @param fixed elements that stay before those of the items.
   */
  constructor(parent, make, fixed = []) {
    this.parent = parent;
    this.make = make;
    this.fixed = fixed;
  }

  show(items, keyOf) {
    const next = new Map();
    for (const item of items) {
      // Keys of two workers may be the same by chance; both are to be seen.
      let key = keyOf(item);
      while (next.has(key)) key += "\u0000";
      const entry = this.#known.get(key) ?? this.make(item);
      entry.update(item);
      next.set(key, entry);
    }
    this.#known = next;
    arrange(this.parent, [...this.fixed, ...[...next.values()].map((entry) => entry.element)]);
  }
}

/** The parts of a panel: what stands beside its title, and its body. */
function panel(id) {
  const section = byId(id);
  const [aside, body] = [section.querySelector("header p"), section.querySelector(".body")];
  return { section, body, aside: (text) => put(aside, text) };
}

/** What a panel says while it has nothing to show. */
function emptiness(...children) {
  return h("p", { class: "empty" }, ...children);
}

/** A word with a sign of its own form, so that colour is not the only difference. */
function badge(tone, word, title = null) {
  return h("span", { class: `badge ${tone}`, title }, h("i", { "aria-hidden": "true" }), word);
}
