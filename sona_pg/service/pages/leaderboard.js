// The leaderboard of the routes: which does best, how sure that is, and for which requests one was rated bad.

import { get } from "./api.js";
import { whisker } from "./charts.js";
import { costColumn, intervalColumn, timeColumn } from "./columns.js";
import { h, problem } from "./elements.js";
import { whoAsks } from "./feedback.js";
import { cost, costsIn, count, offered, several, share } from "./format.js";
import { fairQuality, likeQuality, plainQuality } from "./money.js";
import { chosenDays } from "./range.js";
import { requestLine } from "./request-finder.js";
import { sortableTable } from "./sortable-table.js";

const meanCost = { ...costColumn((route) => route.cost), of: (route) => (route.cost === null ? null : h("span", { title: `of ${several(route.costed, "request")}` }, cost(route.cost))) };
const goodCost = (route) => {
  const quality = fairQuality(route)?.quality;
  return route.cost === null || !quality ? null : route.cost / quality;
};

const SHORTEST = 100; // microseconds: a program that begins and ends a trajectory at once has measured nothing
const latencyOf = (route) => (route.latency_us === null || route.latency_us < SHORTEST ? null : route.latency_us / 1e6);

// Where no two routes answered questions of the same topics, the order is of unlike questions: that is said.
const ORDERS = {
  like: "best first, by the lower end of where their quality on like questions likely is",
  plain: "by the lower end of where their quality likely is. They may have been sent easier or harder questions: nothing compares them on like ones yet",
};

const taken = ({ routes, all }) => (all > routes.length ? `Routes taken most often (${count(routes.length)} of ${count(all)}: search for the others)` : "Routes taken most often");

// `onBad(route)` shows the requests for which a route was rated bad.
export function leaderboard(found, when, onBad) {
  const rows = found.routes;
  const priced = rows.some((route) => route.cost !== null);
  const timed = rows.some((route) => latencyOf(route) !== null);
  const compared = rows.some((route) => route.like_quality !== null);
  const shown = compared ? (route) => likeQuality(route) : (route) => plainQuality(route);
  const bad = (route) => route.rated > 0 && h("button", { type: "button", class: "link act", "aria-label": `Show what was rated bad of ${route.route}`, onclick: () => onBad(route.route) }, "Show");
  return [
    sortableTable((order) => `${taken(found)}, ${when}; ${order}`, [
      { name: "Route", heads: true, kind: "words", isText: true, key: (route) => route.route, of: (route) => offered(route.route, route.is_offered ? [] : [route.route]) },
      compared && { name: "On like questions", word: "like", kind: "number", key: (route) => route.like_quality, of: (route) => share(route.like_quality) },
      { name: "0 to 100 %", kind: "nowrap", of: (route) => shown(route) && whisker(shown(route)) },
      { ...intervalColumn(shown), word: "interval", key: (route) => shown(route)?.low ?? null },
      { name: compared ? "As sent" : "Quality", word: compared ? "assent" : "quality", kind: "number", key: (route) => route.quality, of: (route) => share(route.quality) },
      { name: "Ratings", kind: "number", key: (route) => route.rated, of: (route) => count(route.rated) },
      { name: "Rated bad", of: bad },
      timed && { ...timeColumn(latencyOf), name: "Median latency", key: latencyOf },
      priced && { ...meanCost, name: "Mean cost", key: (route) => route.cost },
      priced && { ...costColumn(goodCost), name: "Cost of a good answer", key: goodCost },
    ].filter(Boolean), rows, compared ? ORDERS.like : ORDERS.plain),
    compared && h("p", { class: "note" }, "A route that is sent the hard questions gets worse ratings than it deserves: “as sent” is the plain mean. “On like questions” compares the routes within topics, as if all had answered the same questions. Where their ranges overlap, the difference may be chance."),
  ].filter(Boolean);
}

// Fills `place` with the requests of the period for which a route was rated bad.
export async function ratedBad(place, route) {
  const days = chosenDays();
  try {
    const [{ requests, cost_unit }, caller] = await Promise.all([get("v1/dashboard/rated-bad", { route, days }), whoAsks()]);
    costsIn(cost_unit);
    const title = h("h3", { tabindex: "-1" }, `Rated bad of late: ${route}`);
    place.replaceChildren(title, requests.length ? h("ul", { class: "facts" }, requests.map((one) => requestLine(one, caller)))
      : h("p", { class: "quiet" }, "None of its requests of the period was rated bad."));
    title.focus();
  } catch (error) {
    place.replaceChildren(problem(error));
  }
}
