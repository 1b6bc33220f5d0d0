// The leaderboard of the routes: which does best, how sure that is, and for which requests one was rated bad.

import { get } from "./api.js";
import { FEW, whisker } from "./charts.js";
import { costColumn, intervalColumn, timeColumn } from "./columns.js";
import { h, problem } from "./elements.js";
import { whoAsks } from "./feedback.js";
import { cost, costsIn, count, datesOf, inWords, offered, range, several, share } from "./format.js";
import { fairQuality, plainQuality } from "./money.js";
import { chosenPeriod } from "./range.js";
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

function named({ routes, all, ordered }, order) {
  const cut = order.name && ordered < all ? `the ${count(ordered)} taken most often or rated bad, of ` : "";
  const part = all > routes.length && `${count(routes.length)} of ${cut}${count(all)}`;
  return part ? `Routes ${order.name ? `by one figure (the first ${part})` : `taken most often (${part}: search for the others, or order all by a column)`}` : "Routes taken most often";
}

// Routes that have no place here, which the page would hide otherwise.
export const withoutFigures = ({ left_out: requests }) => requests > 0 && h("p", { class: "note" },
  `A day has figures of the 10,000 routes taken most often in it: ${several(requests, "request")} of this period ${requests === 1 ? "is" : "are"} of rarer ones, which are neither counted nor found here.`);

const day = datesOf({ dateStyle: "medium", timeZone: "UTC" });
const nameOf = (route) => offered(route.route, route.is_offered ? [] : [route.route]);
const changeOf = ({ changed }) => changed && `${changed.is_worse ? "▼ worse" : "▲ better"} since ${day.format(new Date(changed.changed_on))}: ${share(changed.quality)} of ${several(changed.rated, "rating")} since`;
const MATTERS = 0.02; // of a mean

// Some users rate everything good; where they rated much of a route, its mean says little.
const othersOf = ({ always_good: theirs, others_quality: quality, quality: mean, judged }) => (theirs && (quality === null || Math.abs(mean - quality) >= MATTERS) ? `${quality === null ? "No rating" : `${share(quality)} of ${several(judged - theirs, "rating")}`} without users who rated everything good` : null);
const pleased = ({ always_good: users, routes }) => users.length > 0 && routes.some((route) => route.always_good) && h("p", {}, `Beware: ${inWords(users)} rated everything good in this period, as chance hardly has it by what others said. Below each route whose mean they move by 2 points or more stands its mean without them; “on like questions” counts them. The Overview names them with their ratings.`);
// Of what no other answer was said to be right for. How many of these are surely bad beyond what is usual orders: so
// much a better text may gain, and few ratings come after many.
const ownRatings = ({ judged, corrected }) => judged - corrected;
const isNeverGood = (route) => route.bad === route.judged && ownRatings(route) >= FEW;
const badItself = {
  name: "Bad itself", order: "bad_itself", word: "itself", kind: "nowrap", key: (route) => route.bad_beyond_usual,
  of: (route) => (ownRatings(route) > 0 ? [`${share(route.bad_itself)} of ${count(ownRatings(route))} (${range(route.bad_itself_low, route.bad_itself_high)})`, isNeverGood(route) && h("p", { class: "note" }, "none rated good where no other answer was right: is it ever the right one?")] : null),
  parts: [
    { name: "Bad itself", kind: "number", of: (route) => share(route.bad_itself) },
    { name: "Bad itself from", kind: "number", of: (route) => share(route.bad_itself_low) },
    { name: "Bad itself to", kind: "number", of: (route) => share(route.bad_itself_high) },
    { name: "Of ratings", kind: "number", of: (route) => count(ownRatings(route)) },
  ],
};
const NAMED = 3; // routes in a sentence
const names = (routes) => `${routes.slice(0, NAMED).map((route) => route.route).join(", ")}${routes.length > NAMED ? ` and ${count(routes.length - NAMED)} more` : ""}`;

// Whether the first is the best beyond chance, of routes that come best first.
export function howSure(routes) {
  const rated = routes.filter((route) => fairQuality(route));
  if (rated.length < 2) return null;
  const [first, ...others] = rated;
  const alike = others.filter((route) => fairQuality(route).high >= fairQuality(first).low);
  if (!alike.length && rated.some((route) => route.like_quality === null)) return `The range of ${first.route}, which comes first, overlaps with no other, but not all of these are of like questions.`;
  if (!alike.length) return `That ${first.route} comes first is beyond chance.`;
  return `This order is not sure: the range of ${first.route}, which comes first, overlaps with ${alike.length === 1 ? "that" : "those"} of ${names(alike)}.`;
}

// Routes that have no figure on like questions stand by all that is known of them.
export function unlike(routes) {
  const some = routes.filter((route) => route.like_quality === null && route.quality !== null);
  return some.length > 0 && `Too few ratings of ${names(some)} are of topics that other routes answered too, so nothing compares ${some.length === 1 ? "it" : "them"} on like questions: ${some.length === 1 ? "its place and range are" : "their places and ranges are"} those of the questions as sent, easier or harder ones.`;
}
const PARTIAL = "What was rated bad is counted among the latest 100,000 requests of the period.";

// `onBad(route)` shows the requests for which a route was rated bad; `order` is kept from table to table, `onOrder` fetches
// the routes that come first by it.
export function leaderboard(found, when, onBad, order, onOrder) {
  const rows = found.routes;
  const priced = rows.some((route) => route.cost !== null);
  const timed = rows.some((route) => latencyOf(route) !== null);
  const compared = rows.some((route) => route.like_quality !== null);
  const shown = compared ? fairQuality : plainQuality;
  const corrected = found.corrected > 0;
  const bad = (route) => (route.bad ? h("button", { type: "button", class: "link act", "aria-label": `${count(route.bad)} rated bad: show those of ${route.route}`, onclick: () => onBad(route.route) }, count(route.bad)) : route.judged ? "0" : null);
  return [
    pleased(found),
    sortableTable((words) => `${named(found, order)}, ${when}; ${words}`, [
      { name: "Route", order: "route", heads: true, kind: "words", isText: true, key: (route) => route.route.toLowerCase(), of: (route) => [nameOf(route), ...[changeOf, othersOf].map((words) => words(route) && h("p", { class: "note" }, words(route)))], parts: [{ name: "Route", of: nameOf }, { name: "Changed", of: changeOf }, { name: "Without users who rated everything good", kind: "number", of: (route) => (route.always_good ? share(route.others_quality) : null) }] },
      compared && { name: "On like questions", order: "like", word: "like", kind: "number", key: (route) => route.like_quality, of: (route) => share(route.like_quality) },
      { name: "0 to 100 %", kind: "nowrap", of: (route) => shown(route) && whisker(shown(route), route.rated < FEW) },
      { ...intervalColumn(shown), order: compared ? "likely" : "likely_as_sent", word: "interval", key: (route) => shown(route)?.low ?? null },
      { name: compared ? "As sent" : "Quality", order: "quality", word: compared ? "assent" : "quality", kind: "number", key: (route) => route.quality, of: (route) => share(route.quality) },
      { name: "Ratings", order: "ratings", kind: "number", key: (route) => route.rated, of: (route) => count(route.rated) },
      { name: "Rated bad", order: "bad", word: "bad", kind: "number", key: (route) => route.bad, of: bad, value: (route) => (route.judged ? route.bad : null) },
      corrected && { name: "Another was right", order: "corrected", word: "misplaced", kind: "number", key: (route) => route.corrected, of: (route) => (route.judged ? count(route.corrected) : null) },
      corrected && badItself,
      timed && { ...timeColumn(latencyOf), name: "Median latency", order: "latency", key: latencyOf },
      priced && { ...meanCost, name: "Mean cost", order: "cost", key: (route) => route.cost },
      priced && { ...costColumn(goodCost), name: "Cost of a good answer", order: "good_cost", key: goodCost },
    ].filter(Boolean), rows, compared ? ORDERS.like : ORDERS.plain, { kept: order, onChoice: found.all > rows.length ? onOrder : null }),
    withoutFigures(found),
    !order.name && compared && h("p", { class: "note" }, howSure(rows), " ", unlike(rows)),
    rows.some((route) => route.judged < route.rated) && h("p", { class: "note" }, PARTIAL),
    compared && h("p", { class: "note" }, "A route that is sent the hard questions gets worse ratings than it deserves: “as sent” is the plain mean. “On like questions” compares the routes within topics, as if all had answered the same questions. Where their ranges overlap, the difference may be chance."),
  ].filter(Boolean);
}

// Fills `place` with the requests of the period for which a route was rated bad.
export async function ratedBad(place, route) {
  try {
    const [{ requests, cost_unit }, caller] = await Promise.all([get("v1/dashboard/rated-bad", { route, ...chosenPeriod() }), whoAsks()]);
    costsIn(cost_unit);
    const title = h("h3", { tabindex: "-1" }, `Rated bad of late: ${route}`);
    place.replaceChildren(title, requests.length ? h("ul", { class: "facts" }, requests.map((one) => requestLine(one, caller)))
      : h("p", { class: "quiet" }, "None of its requests of the period was rated bad."),
    h("p", { class: "note" }, "A request whose answer was corrected to another was rated bad, also where somebody else liked the answer; its quality is the mean of their words."));
    title.focus();
  } catch (error) {
    place.replaceChildren(problem(error));
  }
}
