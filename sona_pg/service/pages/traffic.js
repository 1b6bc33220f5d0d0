// Requests of a period over time: how many came, and how many of them are rated.

import { chart, frame, legend } from "./charts.js";
import { asTable, h, s } from "./elements.js";
import { count, datesOf, several } from "./format.js";
import { stretches } from "./stretches.js";

const date = datesOf({ dateStyle: "medium", timeZone: "UTC" });
const on = (bar) => date.format(new Date(bar.from));

function summed(days, from) {
  const bars = new Map();
  for (const one of days) {
    const start = from(one.day);
    const bar = bars.get(start) ?? { from: start, trajectories: 0, rated: 0 };
    bar.trajectories += one.trajectories;
    bar.rated += one.rated;
    bars.set(start, bar);
  }
  return [...bars.values()];
}

export function traffic(figures) {
  if (!figures.traffic.length) return [h("p", { class: "quiet" }, "No requests in this period.")];
  const { first, last, step, unit, column, from } = stretches(figures);
  const bars = summed(figures.traffic, from);
  const busiest = bars.reduce((most, bar) => (bar.trajectories > most.trajectories ? bar : most));
  const drawn = chart(`Requests by ${unit}`, 200, (width, tall) => {
    const { sx, sy, parts } = frame(width, tall, { x: { domain: [first, last], name: "time", kind: "time", isUtc: true }, y: { domain: [0, 1.05 * busiest.trajectories], name: `requests in a ${unit}`, label: count }, left: 56 });
    const wide = Math.max(1, sx(first + step) - sx(first) - 2);
    const bar = (one, style, low, high) => high > low && s("rect", { class: style, x: sx(one.from) + 1, width: Math.min(wide, sx(last) - sx(one.from)), y: sy(high), height: Math.max(sy(low) - sy(high), 0.5) },
      s("title", {}, `${on(one)}: ${several(one.trajectories, "request")}, ${count(one.rated)} rated`));
    return [parts, bars.map((one) => [bar(one, "f0", 0, one.rated), bar(one, "f5", one.rated, one.trajectories)])];
  });
  return [
    h("figure", {}, drawn),
    legend([["rated", "f0"], ["not rated", "f5"]]),
    h("p", { class: "note" }, `Most in the ${unit} ${unit === "day" ? "of" : "from"} ${on(busiest)}${unit === "day" ? "" : " on"}: ${several(busiest.trajectories, "request")}. Days are those of UTC; choose dates of your own above for the quality of a week.`),
    asTable(`Requests by ${unit}`, [
      { name: column, heads: true, kind: "when", of: on },
      { name: "Requests", kind: "number", of: (bar) => count(bar.trajectories) },
      { name: "Rated", kind: "number", of: (bar) => count(bar.rated) },
    ], bars),
  ];
}
