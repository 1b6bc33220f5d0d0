// Routes: which does best, how sure that is, and what it costs.

import { get } from "./api.js";
import { chart, frame, QUALITY, whisker } from "./charts.js";
import { h, panel, s, table } from "./elements.js";
import { ago, count, duration, number, range, several, share } from "./format.js";

function budget(known) {
  if (known.amount === null) return [h("p", { class: "quiet" }, "This space has no budget. ", h("code", {}, "POST /v1/budget"), " or ", h("code", {}, "set_budget"), " sets one, for all servers.")];
  return [h("dl", { class: "pairs" },
    h("dt", {}, "Limit"), h("dd", {}, `${number(known.amount)} a ${known.per}`),
    h("dt", {}, "Spent today"), h("dd", {}, `${number(known.spent_today)} in ${several(known.requests_today, "request")}`),
    h("dt", {}, "Since it was set"), h("dd", {}, `${number(known.spent)} in ${several(known.requests, "request")}, ${ago(known.set_at)}`),
    h("dt", {}, "Pace"), h("dd", {}, known.pace === null ? "–" : `${share(known.pace)} of what it allows up to now`))];
}

const costOf = (route) => route.cost ?? route.estimate;

function cost(route) {
  if (route.cost !== null) return `${number(route.cost)} (${count(route.costs_told)} told)`;
  return route.estimate === null ? null : `${number(route.estimate)} (estimated)`;
}

function money(rows) {
  const priced = rows.filter((route) => costOf(route) !== null);
  if (priced.length < 2) {
    return [h("p", { class: "quiet" }, "Fewer than two routes have costs. They come with a route's decision (", h("code", {}, "costs"), ") or with the outcome (", h("code", {}, "cost"), ").")];
  }
  const most = Math.max(...priced.map(costOf)) * 1.15 || 1;
  return [
    h("figure", {}, chart("Quality of each route against its mean cost", 260, (width, tall) => {
      const { sx, sy, parts } = frame(width, tall, { x: { domain: [0, most], name: "mean cost of a request, in your unit", label: number }, y: QUALITY });
      return [parts, priced.map((route, place) => {
        const [x, y] = [sx(costOf(route)), sy(route.quality)];
        const end = x > 0.75 * width;
        return [
          s("line", { class: "whisker", x1: x, x2: x, y1: sy(route.low), y2: sy(route.high) }),
          s("circle", { class: "dot", cx: x, cy: y, r: 5 }, s("title", {}, `${route.route}: ${share(route.quality)} for ${number(costOf(route))}`)),
          s("text", { class: "strong", x: end ? x - 9 : x + 9, y: y + (place % 2 ? 14 : -6), "text-anchor": end ? "end" : "start" }, route.route.slice(0, 28)),
        ].filter(Boolean);
      })];
    })),
    h("p", { class: "note" }, "Up and to the left is better. Costs are means over a sample of the last 30 days; real ones where they were told, else estimates."),
  ];
}

export function routes() {
  return {
    async content() {
      const [{ routes: rows }, limit] = await Promise.all([get("v1/dashboard/routes"), get("v1/budget")]);
      if (!rows.length) {
        return [h("h1", {}, "Routes"), panel("None yet", h("p", { class: "quiet" }, "A route is the model, tool or answer that was taken. Record trajectories with a route and a quality, and let a cycle learn from them."))];
      }
      const columns = [
        { name: "Route", heads: true, kind: "words", of: (route) => route.route },
        { name: "Quality", kind: "number", of: (route) => share(route.quality) },
        { name: "0 to 100 %", kind: "nowrap", of: whisker },
        { name: "95 % interval", kind: "nowrap", of: (route) => range(route.low, route.high) },
        { name: "Rated", kind: "number", of: (route) => count(route.trajectories) },
        { name: "Latency", kind: "number", of: (route) => (route.latency_us === null ? null : duration(route.latency_us / 1e6)) },
        { name: "Mean cost", kind: "number", of: cost },
        { name: "Cost of a good answer", kind: "number", of: (route) => (costOf(route) === null || route.quality <= 0 ? null : number(costOf(route) / route.quality)) },
      ];
      return [
        h("h1", {}, "Routes"),
        h("p", { class: "note" }, "A route is what answered: a model, a tool, or one of the stored answers. Quality is the mean of the ratings, from 0 to 100 %."),
        panel("Leaderboard", table("Routes that were tried most often; best first, by the lower end of the interval", columns, rows)),
        h("div", { class: "pair wide" }, panel("Quality for money", ...money(rows)), panel("Budget", ...budget(limit))),
      ];
    },
  };
}
