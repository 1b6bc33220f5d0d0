// Elements of HTML and SVG, made without markup in strings: texts of users are never read as markup.

import { downloadButton } from "./download.js";

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const h = (name, attributes, ...children) => filled(document.createElement(name), attributes, children);

export const s = (name, attributes, ...children) => filled(document.createElementNS(SVG, name), attributes, children);

// A rounded figure, and the exact one for pointers and for screen readers.
export const rounded = (shown, exact) => (shown === exact ? shown
  : h("span", { title: exact }, h("span", { "aria-hidden": "true" }, shown), h("span", { class: "sr" }, exact)));

const isMissing = (content) => content === null || content === undefined || content === "–";

// A table; on a narrow window each row is a card, in which every cell says its column. The roles keep it a table then.
// A column without a value in any row is left out.
export function plainTable(caption, allColumns, rows, rowClass) {
  const columns = allColumns.filter((column) => column.heads || !rows.length || rows.some((row) => !isMissing(column.of(row))));
  const cell = (column, row) => {
    const content = column.of(row);
    const attributes = { class: column.kind, "data-name": column.name };
    return column.heads
      ? h("th", { scope: "row", role: "rowheader", ...attributes }, content)
      : h("td", { role: "cell", ...attributes }, content ?? h("span", { class: "quiet" }, "–"));
  };
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { role: "table", class: "cards" },
      h("caption", { role: "caption" }, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
        columns.map((column) => h("th", { scope: "col", role: "columnheader", class: column.kind, "aria-sort": column.sorted }, column.title?.() ?? column.name)))),
      h("tbody", { role: "rowgroup" }, rows.map((row) => h("tr", { role: "row", class: rowClass?.(row) },
        columns.map((column) => cell(column, row)))))));
}

// A table of figures, which people take along.
export const table = (caption, columns, rows, rowClass) => h("div", {},
  plainTable(caption, columns, rows, rowClass), rows.length > 0 && downloadButton(caption, columns, rows));

export const panel = (title, ...children) => h("section", { class: "panel" }, h("h2", {}, title), ...children);

export const problem = (error) => h("p", { class: "problem", role: "alert" }, error.message);

export function asTable(caption, columns, rows) {
  return h("details", {}, h("summary", {}, "Show as a table"), table(caption, columns, rows));
}
