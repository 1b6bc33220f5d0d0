// Money: what was spent on which route and when, quality for money, and the budget.

import { get, post } from "./api.js";
import { chart, FEW, frame, legend, QUALITY } from "./charts.js";
import { costColumn } from "./columns.js";
import { asTable, h, problem, rounded, s, table } from "./elements.js";
import { ago, cost, count, datesOf, inUnit, number, precise, several, share } from "./format.js";
import { placeLabels, shortened } from "./labels.js";
import { daysOf } from "./range.js";
import { stretches } from "./stretches.js";
import { term } from "./terms.js";

const SERIES = 5; // routes with a colour of their own
const REST = `f${SERIES}`; // the colour of all others together
const UNIT = "Costs are in the unit in which they are recorded; sona-pg space set … costs.unit=USD names it.";

const nameOf = (route) => route ?? "without a route";

const date = datesOf({ dateStyle: "medium", timeZone: "UTC" });
const onDay = (day) => date.format(new Date(day));
const priceChange = ({ route, changed_on: day, before, since }) =>
  `${since < before ? "▼" : "▲"} 1,000 requests of “${route}” cost ${cost(since)} since about ${onDay(day)}, ${cost(before)} before: ${share(Math.abs(since / before - 1))} ${since < before ? "less" : "more"}.`;

// Routes that came or left within the period, by the days on which they were taken.
const comings = ({ routes }) => routes.flatMap(({ route, came_on: came, last_on: last }) => [
  came && `“${route}” was taken from ${onDay(came)} on, and on no earlier day of this period.`,
  last && `“${route}” was last taken on ${onDay(last)}: it is no longer offered.`,
].filter(Boolean));

export function totals(figures) {
  const { now, before } = figures;
  if (!now.costed) {
    return [h("p", { class: "quiet" }, `Nothing recorded from ${daysOf(figures)} has a cost. Costs come with a route's decision (`, h("code", {}, "costs"), ") or with the outcome (", h("code", {}, "cost"), ").")];
  }
  const change = before?.costed ? `${cost(before.cost)} in as many days before` : "nothing to compare with before";
  const tile = (name, value, small) => h("div", {}, h("dt", {}, name), h("dd", {}, value, h("small", {}, small)));
  const rows = figures.routes.filter((row) => row.trajectories);
  const news = [...figures.prices.map(priceChange), ...comings(figures)];
  return [
    h("dl", { class: "tiles" },
      tile("Spent in all", rounded(cost(now.cost), precise(now.cost)), [daysOf(figures), h("br"), change]),
      tile("Cost of 1,000 requests", cost((1000 * now.cost) / now.costed), before?.costed ? `${cost((1000 * before.cost) / before.costed)} before` : "on average"),
      tile("Requests with a cost", count(now.costed), `of ${count(now.trajectories)} recorded`)),
    table(`Spending by route, ${daysOf(figures)}`, [
      { name: "Route", heads: true, kind: "short", of: (row) => nameOf(row.route) },
      { ...costColumn((row) => (row.costed ? row.cost : null)), name: "Spent" },
      { name: "Share", kind: "number", of: (row) => (row.costed ? share(row.share) : null) },
      { ...costColumn((row) => (row.costed ? row.per_thousand : null)), name: "Cost of 1,000" },
      { name: "Requests", kind: "number", of: (row) => count(row.trajectories) },
      { name: "With a cost", kind: "number", of: (row) => count(row.costed) },
    ], rows),
    ...(news.length ? [h("ul", {}, news.map((one) => h("li", {}, one)))] : []),
    h("p", { class: "note" }, `${figures.cost_unit ? "" : `${UNIT} `}Costs are real ones where they were told, else estimates. Days are those of UTC.`
      + (figures.missing_days ? ` ${several(figures.missing_days, "day is", "days are")} not counted yet.` : "")),
  ];
}

// Spending by day, or by week or month where a period has many days.
export function byDay(figures) {
  if (!figures.days.length) return [h("p", { class: "quiet" }, "No spending in this period.")];
  const { first, last, step, unit, column, from: fromOf } = stretches(figures);
  const routes = figures.routes.filter((row) => row.costed).slice(0, SERIES).map((row) => row.route ?? "");
  const bars = new Map();
  for (const day of figures.days) {
    const from = fromOf(day.day);
    const bar = bars.get(from) ?? { from, cost: 0, costed: 0, routes: new Map() };
    bar.cost += day.cost;
    bar.costed += day.costed;
    for (const [route, cost] of Object.entries(day.routes)) bar.routes.set(route, (bar.routes.get(route) ?? 0) + cost);
    bars.set(from, bar);
  }
  const known = [...bars.values()].sort((a, b) => a.from - b.from);
  const most = Math.max(...known.map((bar) => bar.cost)) * 1.05 || 1;
  const on = (bar) => onDay(bar.from);
  const parts = (bar) => {
    const named = routes.map((route, place) => ({ route, cost: bar.routes.get(route) ?? 0, style: `f${place}` }));
    const rest = bar.cost - named.reduce((sum, part) => sum + part.cost, 0);
    return [...named, { route: "others", cost: rest, style: REST }].filter((part) => part.cost > 1e-9 * bar.cost);
  };
  const figure = chart(`Spending by ${unit}`, 230, (width, tall) => {
    const frame_ = frame(width, tall, { x: { domain: [first, last], name: "time", kind: "time", isUtc: true }, y: { domain: [0, most], name: inUnit(`spent in a ${unit}`) }, left: 56 });
    const { sx, sy } = frame_;
    const wide = Math.max(1, sx(first + step) - sx(first) - 2);
    return [frame_.parts, known.map((bar) => {
      let at = 0;
      return parts(bar).map((part) => {
        const below = at;
        at += part.cost;
        return s("rect", { class: part.style, x: sx(bar.from) + 1, width: Math.min(wide, sx(last) - sx(bar.from)), y: sy(at), height: Math.max(sy(below) - sy(at), 0.5) },
          s("title", {}, `${on(bar)}, ${nameOf(part.route || null)}: ${cost(part.cost)} of ${cost(bar.cost)}`));
      });
    })];
  });
  const others = known.some((bar) => parts(bar).some((part) => part.style === REST));
  const colours = [...routes.map((route, place) => [nameOf(route || null), `f${place}`]), ...(others ? [["others", REST]] : [])];
  return [
    h("figure", {}, figure),
    legend(colours),
    asTable(`Spending by ${unit}`, [
      { name: column, heads: true, kind: "when", of: on },
      { ...costColumn((bar) => bar.cost), name: "Spent" },
      { name: "Requests with a cost", kind: "number", of: (bar) => count(bar.costed) },
      ...routes.map((route) => ({ ...costColumn((bar) => bar.routes.get(route)), name: nameOf(route || null) })),
    ], known),
  ];
}

// Quality of a route as it was sent questions, and on like questions; null where it is not known.
export const plainQuality = ({ quality, low, high }) => (quality === null ? null : { quality, low, high });
export const likeQuality = (route) => (route.like_quality === null ? null : { quality: route.like_quality, low: route.like_low, high: route.like_high });
export const fairQuality = (route) => likeQuality(route) ?? plainQuality(route);

export function qualityForMoney(rows) {
  const compared = rows.filter((route) => route.cost !== null && route.like_quality !== null);
  const isLike = compared.length >= 2; // else of the questions that each was sent
  const priced = isLike ? compared.map((route) => ({ ...route, ...likeQuality(route) }))
    : rows.filter((route) => route.cost !== null && route.quality !== null);
  if (priced.length < 2) return [h("p", { class: "quiet" }, "Fewer than two routes have both ratings and costs.")];
  const most = Math.max(...priced.map((route) => route.cost)) * 1.15 || 1;
  return [
    h("figure", {}, chart("Quality of each route against its mean cost", 280, (width, tall) => {
      const { box, sx, sy, parts } = frame(width, tall, { x: { domain: [0, most], name: inUnit("mean cost of a request"), label: number }, y: QUALITY });
      const points = priced.map((route) => ({ x: sx(route.cost), y: sy(route.quality), r: 6, text: shortened(route.route) }));
      return [parts, priced.map((route, place) => [
        s("line", { class: "whisker", x1: points[place].x, x2: points[place].x, y1: sy(route.low), y2: sy(route.high) }),
        s("circle", { class: route.rated < FEW ? "dot few" : "dot", cx: points[place].x, cy: points[place].y, r: 5 }, s("title", {}, `${route.route}: ${share(route.quality)}${isLike ? " on like questions" : ""}, ${several(route.rated, "rating")}, for ${cost(route.cost)}`)),
      ]), placeLabels(points, { left: box.left, right: box.right, top: 14, bottom: box.bottom })];
    })),
    h("p", { class: "note" }, `Up and to the left is better: more quality for less money. The line through a dot says how sure its quality is; a hollow dot has fewer than ${FEW} ratings.${isLike ? " Quality is on like questions." : " Quality is of the questions that each route was sent, easier or harder ones."}`),
  ];
}

const DAY = 86_400_000; // milliseconds
const clockUTC = datesOf({ timeStyle: "short", timeZone: "UTC" });
const setToday = (known, now) => Date.parse(known.set_at) > now - known.share_of_day * DAY;

// Whether the money of a budget lasts, and what the router does where it does not.
export function outlook(known, now = Date.now()) {
  if (known.per === "request") {
    if (!known.requests) return "Nothing is counted yet.";
    const told = `A request cost ${cost(known.spent / known.requests)} on average, `;
    return told + (known.pace <= 1 ? "which is within the limit."
      : "which is above the limit: cheaper routes are chosen until the mean is back at it, and the cheapest where even that costs more.");
  }
  const left = 1 - known.share_of_day;
  const told = `${number(known.spent_today)} of ${cost(known.amount)} are spent with ${left < 0.005 ? "under 1 %" : share(left)} of the day (UTC) left: `;
  if (known.spent_today >= known.amount) {
    return `${told}it is used up. Until midnight UTC the cheapest route is chosen, but for a few requests that try others; what these cost is spent beyond the limit.`;
  }
  if (known.requests_today < FEW) return `${told}too few requests to say whether it lasts.`;
  const rate = setToday(known, now) ? `at the rate since it was set, at ${clockUTC.format(new Date(known.set_at))} UTC,` : "at today’s rate";
  return told + (known.used_up_at === null ? `${rate} it lasts until midnight UTC.`
    : `${rate} it is used up about ${clockUTC.format(new Date(known.used_up_at))} UTC. Cheaper routes are chosen so that it lasts longer; once it is used up, only the cheapest.`);
}

function spent(known) {
  if (known.amount === null) return [h("p", {}, "No budget is set: routes are chosen by quality and price alone.")];
  return [h("dl", { class: "pairs" },
    h("dt", {}, term("Limit", "budget")), h("dd", {}, `${cost(known.amount)} a ${known.per}`),
    h("dt", {}, setToday(known, Date.now()) ? "Spent today, since it was set" : "Spent today"), h("dd", {}, `${cost(known.spent_today)} in ${several(known.requests_today, "request")}`),
    h("dt", {}, "Counted in all"), h("dd", {}, `${cost(known.spent)} in ${several(known.requests, "request")}; counting began ${ago(known.set_at)}`),
    h("dt", {}, term("Pace", "pace")), h("dd", {}, known.pace === null ? "–" : `${share(known.pace)} of what it allows up to now`)),
  h("p", {}, outlook(known)),
  h("p", { class: "note" }, "Counted: requests whose route the router chose since counting began. Imported records are not.")];
}

export function budget(known, mayChange) {
  const place = h("div", { class: "flow" });
  const fill = (found) => {
    const amount = h("input", { type: "text", inputmode: "decimal", id: "amount", autocomplete: "off", value: found.amount ?? "" });
    const per = h("select", { id: "per" }, ["day", "request"].map((one) => h("option", { value: one, selected: one === found.per }, `a ${one}`)));
    const said = h("p", { class: "note", role: "status" });
    const send = async (body, words) => {
      try {
        fill(await post("v1/budget", body));
        place.querySelector("[role=status]").textContent = words;
        place.querySelector("summary").focus();
      } catch (error) {
        said.replaceChildren(problem(error.status === 403 ? new Error("This key may not set the budget: that takes the scope admin.") : error));
      }
    };
    const form = h("form", {
      class: "flow",
      onsubmit: (event) => {
        event.preventDefault();
        const value = Number(amount.value.trim().replace(",", "."));
        if (amount.value.trim() && value > 0) send({ amount: value, per: per.value }, "The budget is set, on all servers.");
        else said.replaceChildren(problem(new Error("The limit must be a number above 0.")));
      },
    },
    h("div", { class: "row" }, h("label", { class: "field" }, inUnit("Limit of spending"), amount), h("label", { class: "field" }, "for", per)),
    found.amount !== null && h("p", { class: "note" }, "Another limit for a day keeps what was spent today. Another limit for a request, a change between the two, or removing the budget begins the count anew."),
    h("div", { class: "row" }, h("button", { type: "submit", class: "main" }, "Set the budget"),
      found.amount !== null && h("button", { type: "button", onclick: () => send({ amount: null }, "The budget is removed.") }, "Remove it")));
    place.replaceChildren(...[...spent(found), mayChange && h("details", {}, h("summary", {}, found.amount === null ? "Set a budget" : "Change the budget"), form), said].filter(Boolean));
  };
  fill(known);
  return place;
}

export const readBudget = () => get("v1/budget");
