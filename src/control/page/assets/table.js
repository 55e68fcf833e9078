// Tables that are told again and again what they show: a cell that says the same stays the same node, so the keyboard's focus stays too.

import { el, fill } from "./element.js";

/**
 * `columns`: `{name, cell(item), sign(item)?, kind?}`. A cell is a text or a node; where it is a node, `sign` tells whether it changed.
 * `key(item)` tells rows apart. Answers `{node, update(items)}`.
 */
export function table({ label, columns, key, empty, sort }) {
  const body = el("tbody", { role: "rowgroup" });
  const head = columns.map(({ name, kind, hidden }) => el("th", { scope: "col", role: "columnheader", class: kind }, hidden ? el("span", { class: "unseen" }, name) : name));
  const grid = el("table", { role: "table", "aria-label": label }, el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head)), body);
  const none = el("p", { class: "empty" }, empty);
  const node = el("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, grid);
  const box = el("div", {}, node, none);
  const rows = new Map();

  function row(item) {
    const cells = columns.map(({ name, kind }) => el("td", { role: "cell", class: kind, "data-name": name }));
    return { line: el("tr", { role: "row" }, cells), cells, signs: [] };
  }

  function tell(known, item) {
    columns.forEach(({ cell, sign }, at) => {
      const made = sign ? null : cell(item);
      const now = sign ? sign(item) : made instanceof Node || Array.isArray(made) ? Symbol() : String(made ?? "–");
      if (known.signs[at] === now) return;
      known.signs[at] = now;
      fill(known.cells[at], (sign ? cell(item) : made) ?? "–");
      known.cells[at].classList.toggle("zero", known.cells[at].textContent === "0");
    });
  }

  function update(items) {
    const seen = new Set();
    (sort ? [...items].sort(sort) : items).forEach((item, at) => {
      const name = key(item);
      seen.add(name);
      if (!rows.has(name)) rows.set(name, row(item));
      const known = rows.get(name);
      tell(known, item);
      if (body.children[at] !== known.line) body.insertBefore(known.line, body.children[at] ?? null);
    });
    for (const [name, known] of rows) {
      if (!seen.has(name)) {
        known.line.remove();
        rows.delete(name);
      }
    }
    node.hidden = rows.size === 0;
    none.hidden = rows.size > 0;
  }

  update([]);
  none.hidden = true;
  return { node: box, update };
}
