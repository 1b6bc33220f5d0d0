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

// Items: {id, x, y, r, kind, title, label}. Lines: {from, to, kind, width} between ids. The chosen one is told to onChoose.
// The axes of a projection mean nothing by themselves, so none are drawn. `mark(id)` of what is returned chooses from outside.
export function bubbleMap(label, items, { domains, lines = [], onChoose, chosen, height }) {
  const byId = new Map(items.map((item) => [item.id, item]));
  const place = chart(label, height, (width, tall) => {
    const sx = linear(domains[0], [14, width - 14]);
    const sy = linear(domains[1], [tall - 14, 14]);
    const scale = Math.min(1, width / 640);
    const edges = lines.map((line) => s("line", {
      class: `edge ${line.kind}`, "stroke-width": line.width, "data-from": line.from, "data-to": line.to,
      x1: sx(byId.get(line.from).x), y1: sy(byId.get(line.from).y), x2: sx(byId.get(line.to).x), y2: sy(byId.get(line.to).y),
    }));
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
    for (const line of svg.querySelectorAll(".edge")) {
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
  svg.addEventListener("click", (event) => {
    const node = event.target.closest(".bubble");
    if (node) choose(node);
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
