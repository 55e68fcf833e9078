// Elements, made by code: every text becomes a text node, so nothing that a producer wrote is ever markup.

const SVG = "http://www.w3.org/2000/svg";

/** `el("p", {class: "quiet"}, "some ", el("b", {}, "text"))`. Members that begin with `on` listen; null and false leave a member out. */
export function el(tag, members = {}, ...children) {
  return filled(document.createElement(tag), members, children);
}

export function svg(tag, members = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), members, children);
}

function filled(node, members, children) {
  for (const [name, value] of Object.entries(members)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else if (name === "href" && !/^(#|\/(?!\/))/.test(value)) throw new Error("only links within the page");
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  put(node, children);
  return node;
}

/** Appends texts, nodes and lists of them. */
export function put(node, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

/** In place of all that is in `node`. */
export function fill(node, ...children) {
  node.replaceChildren();
  put(node, children);
  return node;
}

/** As `fill`, unless it says the same already: whoever stands in it with the keyboard stays there. */
export function settle(node, ...children) {
  const made = el("div", {}, ...children);
  if (made.textContent !== node.textContent) node.replaceChildren(...made.childNodes);
}

export function button(text, press, members = {}) {
  return el("button", { type: "button", onclick: press, ...members }, text);
}

export function link(to, ...children) {
  return el("a", { href: to }, ...children);
}
