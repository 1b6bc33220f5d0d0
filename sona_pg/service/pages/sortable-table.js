// A table that people order by its columns: buttons in its head, and a choice where a narrow window hides the head.

import { h, table } from "./elements.js";
import { help } from "./terms.js";

// -1, 0 or 1 of two figures or texts; a row without one comes last, either way.
function compared(one, other, isDown) {
  if (one === null || other === null) return (one === null) - (other === null);
  const order = typeof one === "string" ? one.localeCompare(other) : one - other;
  return isDown ? -order : order;
}

const ways = (column) => (column.isText ? ["A to Z", "Z to A"] : ["highest first", "lowest first"]);

// Columns with a `key(row)` can be ordered by, texts (`isText`) from A on and figures from the highest on. `given` names
// the order in which the rows come, `captionOf(order)` tells it. `kept` holds what people chose, the `name` and `isDown` of
// an order, for the next table in this place; `onChoice()` fetches other rows where these are not all.
export function sortableTable(captionOf, columns, rows, given, { kept = {}, onChoice } = {}) {
  const place = h("div", {});
  const orders = columns.flatMap((column, at) => (column.key ? ways(column).map((words, way) => ({ at, name: column.order, words: `${column.name}, ${words}`, isDown: Boolean(column.isText) === (way === 1) })) : []));
  let chosen = orders.find((one) => one.name && one.name === kept.name && one.isDown === kept.isDown) ?? null; // null: as given

  function draw() {
    const sorted = chosen ? rows.toSorted((one, other) => compared(columns[chosen.at].key(one), columns[chosen.at].key(other), chosen.isDown)) : rows;
    select.value = orders.indexOf(chosen);
    place.replaceChildren(table(captionOf(chosen?.words ?? given), columns.map(headed), sorted));
  }
  function choose(order, focused) {
    chosen = order;
    [kept.name, kept.isDown] = [order?.name, order?.isDown];
    if (onChoice) onChoice(focused);
    else draw();
  }
  function headed(column, at) {
    if (!column.key) return column;
    const isChosen = chosen?.at === at;
    const arrow = isChosen && h("span", { "aria-hidden": "true" }, chosen.isDown ? " ▼" : " ▲");
    const press = () => {
      const own = orders.filter((one) => one.at === at);
      choose(own[own.indexOf(chosen) + 1] ?? null, `[data-column="${at}"]`); // the third press: as given
      place.querySelector(`[data-column="${at}"]`).focus(); // the button that was pressed is gone
    };
    return {
      ...column, sorted: isChosen && (chosen.isDown ? "descending" : "ascending"),
      title: () => h("span", { class: column.word && "term" }, h("button", { type: "button", class: "link sort", "data-column": at, onclick: press }, column.name, arrow), column.word && " ", column.word && help(column.word)),
    };
  }
  const select = h("select", { onchange: () => choose(orders[select.value] ?? null, ".narrow select") }, h("option", { value: -1 }, given), orders.map((one, at) => h("option", { value: at }, one.words)));
  draw();
  return h("div", { class: "flow" }, h("label", { class: "inline narrow" }, "Order", select), place);
}
