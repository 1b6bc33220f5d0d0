// A map of things with a place on a plane: bubbles that the keyboard walks by the arrow keys.

import { chart } from "./charts.js";
import { s } from "./elements.js";
import { placeLabels, shortened } from "./labels.js";
import { linear } from "./scales.js";

export function spread(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const pad = 0.08 * (high - low) || 1;
  return [low - pad, high + pad];
}

// A line between two bubbles: a wider one lies on it unseen, to be pointed at, and a sign in its middle tells what it is.
function drawnLine(line, number, [x1, y1], [x2, y2]) {
  const ends = { x1, y1, x2, y2 };
  const turn = (180 / Math.PI) * Math.atan2(y2 - y1, x2 - x1);
  return s("g", { class: "joint", "data-line": number, "data-from": line.from, "data-to": line.to },
    s("line", { class: `edge ${line.kind}`, "stroke-width": line.width, ...ends }),
    line.sign && s("path", { class: `sign ${line.kind}`, d: line.sign, transform: `translate(${(x1 + x2) / 2} ${(y1 + y2) / 2}) rotate(${turn})` }),
    line.title && s("line", { class: "reach", ...ends }, s("title", {}, line.title)));
}

// Items: {id, x, y, r, kind, title, label}. Lines: {from, to, kind, width, sign, title} between ids. The chosen one is told
// to onChoose, a line that is pressed to onLine; `light(number)` of what is returned shows one line alone, -1 all again.
// The axes of a projection mean nothing by themselves, so none are drawn. `mark(id)` of what is returned chooses from outside.
export function bubbleMap(label, items, { domains, lines = [], onChoose, onLine, chosen, height }) {
  const byId = new Map(items.map((item) => [item.id, item]));
  const place = chart(label, height, (width, tall) => {
    const sx = linear(domains[0], [14, width - 14]);
    const sy = linear(domains[1], [tall - 14, 14]);
    const scale = Math.min(1, width / 640);
    const at = (id) => [sx(byId.get(id).x), sy(byId.get(id).y)];
    const edges = lines.map((line, number) => drawnLine(line, number, at(line.from), at(line.to)));
    const bubbles = items.map((item, number) => s("circle", {
      class: `bubble moves ${item.kind}${item.id === chosen() ? " chosen" : ""}`,
      cx: sx(item.x), cy: sy(item.y), r: Math.max(4, item.r * scale), role: "button", "aria-label": item.title,
      tabindex: item.id === chosen() || (chosen() === null && number === 0) ? 0 : -1, "data-id": item.id,
    }, s("title", {}, item.title)));
    const most = width < 500 ? 18 : 28;
    const named = items.toSorted((one, other) => other.r - one.r).map((item) => ({
      x: sx(item.x), y: sy(item.y), r: Math.max(4, item.r * scale), core: Math.max(2, item.r * scale / 2), text: item.label && shortened(item.label, most),
    }));
    return [edges, bubbles, placeLabels(named, { left: 0, right: width, top: 0, bottom: tall })];
  });
  const svg = place.firstChild;
  svg.setAttribute("role", "group");
  const mark = (node) => {
    for (const one of svg.querySelectorAll(".bubble")) {
      one.classList.toggle("chosen", one === node);
      one.setAttribute("tabindex", one === node ? 0 : -1);
    }
    for (const line of svg.querySelectorAll(".joint")) {
      line.classList.toggle("near", [line.dataset.from, line.dataset.to].includes(node.dataset.id));
    }
  };
  const choose = (node) => {
    mark(node);
    onChoose(byId.get(node.dataset.id));
  };
  place.mark = (id) => {
    const node = svg.querySelector(`[data-id="${CSS.escape(id)}"]`);
    if (node) mark(node);
  };
  place.light = (number) => {
    svg.classList.toggle("lit", number >= 0);
    for (const line of svg.querySelectorAll(".joint")) line.classList.toggle("this", Number(line.dataset.line) === number);
  };
  svg.addEventListener("click", (event) => {
    const node = event.target.closest(".bubble");
    const line = event.target.closest(".joint");
    if (node) choose(node);
    else if (line) onLine?.(lines[Number(line.dataset.line)]);
  });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const all = [...svg.querySelectorAll(".bubble")];
    const here = all.indexOf(event.target);
    if (here < 0) return;
    if (step) {
      event.preventDefault();
      const next = all[(here + step + all.length) % all.length];
      choose(next);
      next.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(event.target);
    }
  });
  return place;
}
