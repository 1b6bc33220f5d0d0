// Labels of points in a chart, placed so that they cover neither one another nor a point.

import { s } from "./elements.js";

const WIDE = 6.9; // px of a letter, about
const TALL = 14;

const overlaps = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

// Points: {x, y, r, text, core}, the most important first: labels begin beside r, and those of others may not cover the
// core, which is r unless it is given. A point for which there is no room has no label.
export function placeLabels(points, box) {
  const taken = points.map(({ x, y, r, core = r }) => ({ left: x - core, right: x + core, top: y - core, bottom: y + core }));
  const placed = [];
  for (const { x, y, r, text } of points) {
    if (!text) continue;
    const width = WIDE * text.length;
    const sides = [0, 1, 2, 3].flatMap((step) => [-1, 1].flatMap((sign) => [
      { left: x + r + 4, y: y + sign * step * TALL + 4, anchor: "start" }, { left: x - r - 4 - width, y: y + sign * step * TALL + 4, anchor: "end" },
      { left: x - width / 2, y: sign < 0 ? y - r - 5 - step * TALL : y + r + TALL + step * TALL, anchor: "middle" },
    ]));
    for (const { left, y: base, anchor } of sides) {
      const area = { left, right: left + width, top: base - 11, bottom: base + 3 };
      const inside = area.left >= box.left && area.right <= box.right && area.top >= box.top && area.bottom <= box.bottom;
      if (!inside || taken.some((one) => overlaps(area, one))) continue;
      taken.push(area);
      const at = anchor === "start" ? left : anchor === "end" ? left + width : left + width / 2;
      placed.push(s("text", { class: "strong label", x: at, y: base, "text-anchor": anchor }, text));
      break;
    }
  }
  return placed;
}

export const shortened = (text, most = 28) => (text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text);
