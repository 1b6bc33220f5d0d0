// Charts in SVG, drawn again when their place changes its width, so that text stays readable on a phone.

import { h, s } from "./elements.js";
import { number } from "./format.js";
import { linear, ticks, timeTicks, wholeTicks } from "./scales.js";

export function chart(label, height, draw) {
  const svg = s("svg", { role: "img", "aria-label": label, height });
  const place = h("div", {}, svg);
  let drawn = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width > 0 && width !== drawn) {
      drawn = width;
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.replaceChildren(...draw(width, height).flat(2).filter(Boolean));
    }
  }).observe(place);
  return place;
}

export function frame(width, height, { x, y, left = 46, bottom = 40, top = 28, right = 14 }) {
  const box = { left, right: width - right, top, bottom: height - bottom };
  const sx = linear(x.domain, [box.left, box.right]);
  const sy = linear(y.domain, [box.bottom, box.top]);
  const room = Math.min(8, Math.max(2, Math.floor((box.right - box.left) / (x.kind === "time" ? 90 : 56))));
  const along = x.kind === "time" ? timeTicks(...x.domain, room, x.isUtc)
    : { values: (x.kind === "whole" ? wholeTicks : ticks)(...x.domain, room), label: x.label ?? number };
  const up = ticks(...y.domain, 5);
  const parts = [
    s("g", { class: "grid" }, up.map((value) => s("line", { x1: box.left, x2: box.right, y1: sy(value), y2: sy(value) }))),
    s("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    up.map((value) => s("text", { x: box.left - 7, y: sy(value) + 4, "text-anchor": "end" }, (y.label ?? number)(value))),
    along.values.map((value) => s("text", { x: sx(value), y: box.bottom + 17, "text-anchor": "middle" }, along.label(value))),
    s("text", { x: 0, y: 11 }, y.name),
    s("text", { x: box.right, y: height - 5, "text-anchor": "end" }, x.name),
  ];
  return { box, sx, sy, parts };
}

const path = (points) => points.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

export const FEW = 10; // ratings below which a point is hollow, with their number, and no line leads to it

// Neighbours with enough ratings, in runs.
function runs(points) {
  const found = [[]];
  for (const point of points) {
    if (point.y === null || point.few !== undefined) found.push([]);
    else found.at(-1).push(point);
  }
  return found.filter((run) => run.length);
}

// A line with its interval. Points: {x, y, low, high, title, few}; a point without y interrupts the line, and so does one
// of few ratings: `few` is their number.
// Marks: {x, name, title}, lines that name what happened there.
export function curve(label, points, { x, y, height = 240, cursor, marks = [], dots = true }) {
  return chart(label, height, (width, tall) => {
    const { box, sx, sy, parts } = frame(width, tall, { x, y });
    const known = points.filter((point) => point.y !== null);
    const solid = runs(points);
    const band = solid.filter((run) => run.length > 1).map((run) => s("path", {
      class: "band",
      d: `${path(run.map((point) => [sx(point.x), sy(point.high)]))}${path(run.toReversed().map((point) => [sx(point.x), sy(point.low)])).replace("M", "L")}Z`,
    }));
    const line = s("path", { class: "line", d: solid.map((run) => path(run.map((point) => [sx(point.x), sy(point.y)]))).join("") });
    const spots = known.filter((point) => dots || point.few !== undefined || solid.some((run) => run.length === 1 && run[0] === point)).map((point) => [
      s("circle", { class: point.few === undefined ? "dot" : "dot few", cx: sx(point.x), cy: sy(point.y), r: 4 }, s("title", {}, point.title)),
      point.few !== undefined && s("text", { class: "label", x: sx(point.x), y: sy(point.y) + (point.y > 0.5 ? 17 : -8), "text-anchor": "middle" }, String(point.few)),
    ]);
    const happened = marks.map((mark, place) => {
      const end = sx(mark.x) > (box.left + box.right) / 2;
      return s("g", {}, s("title", {}, mark.title),
        s("line", { class: "mark-rollback", x1: sx(mark.x), x2: sx(mark.x), y1: box.top, y2: box.bottom }),
        s("text", { x: sx(mark.x) + (end ? -4 : 4), y: box.bottom - 5 - 13 * (place % 3), "text-anchor": end ? "end" : "start" }, mark.name));
    });
    const now = cursor !== undefined && s("line", { class: "cursor", x1: sx(cursor), x2: sx(cursor), y1: box.top, y2: box.bottom });
    return [parts, band, line, spots.flat(), happened, now];
  });
}

export const QUALITY = { domain: [0, 1], name: "quality", label: (value) => `${Math.round(100 * value)} %` };

export const tone = (quality) => (quality === null || quality === undefined ? "unrated" : `q${Math.min(5, Math.floor(6 * quality))}`);

export function toneLegend() {
  const steps = [0, 1, 2, 3, 4, 5].map((step) => s("rect", { class: `q${step}`, x: 14 * step, width: 14, height: 12 }));
  return h("ul", { class: "legend" },
    h("li", {}, "quality 0 %", s("svg", { width: 84, height: 12, viewBox: "0 0 84 12", "aria-hidden": "true" }, steps), "100 %"),
    h("li", {}, s("svg", { width: 16, height: 16, viewBox: "0 0 16 16", "aria-hidden": "true" },
      s("circle", { class: "bubble unrated", cx: 8, cy: 8, r: 6 })), "not rated"),
    h("li", {}, "area: number of requests"));
}

// What each colour of a chart stands for: names with their styles.
export const legend = (styles) => h("ul", { class: "legend" }, styles.map(([name, style]) => h("li", {},
  s("svg", { width: 14, height: 12, viewBox: "0 0 14 12", "aria-hidden": "true" }, s("rect", { class: style, width: 14, height: 12 })), name)));

// Whisker of a route: its mean and 95 % interval on a scale from 0 to 1; hollow where it has few ratings.
export function whisker(row, isFew = false) {
  const x = linear([0, 1], [6, 154]);
  return s("svg", { width: 160, height: 18, viewBox: "0 0 160 18", "aria-hidden": "true" },
    s("line", { class: "axis", x1: 6, x2: 154, y1: 9, y2: 9, "stroke-opacity": ".3" }),
    s("line", { class: "whisker", x1: x(row.low), x2: x(row.high), y1: 9, y2: 9 }),
    s("circle", { class: isFew ? "dot few" : "dot", cx: x(row.quality), cy: 9, r: 5 }));
}
