// What stands beside the estimates of budgets: what each figure is, where others differ from it, and which order is not sure.

import { h } from "./elements.js";
import { datesOf, inWords, range, several, share } from "./format.js";
import { likeQuality, plainQuality } from "./money.js";
import { addressSince } from "./range.js";

const date = datesOf({ dateStyle: "medium", timeZone: "UTC" });
const onDay = (day) => date.format(new Date(day));

const known = (one) => one.quality !== null;
const overlap = (one, other) => one.low <= other.high && other.low <= one.high;

// What the leaderboard has of the same route: the page tells one model by two figures, which are of different requests.
function standing(route) {
  const like = likeQuality(route);
  const found = like ?? plainQuality(route);
  return found && `The leaderboard has ${share(found.quality)} (${range(found.low, found.high)})${like ? " on like questions" : ""}, of what it answered.`;
}

const mixed = (one) => `Mixes two qualities: ${share(one.before_quality)} of ${several(one.before_rated, "rating")} from ${onDay(one.before_from)} on, ${share(one.after_quality)} of ${several(one.after_rated, "rating")} since ${onDay(one.changed_on)}.`;

// Changes of routes amid the choices that were estimated from, as those of a fortnight in which one was broken.
export function changesAmid(changes, found) {
  const routes = new Set(found.estimates.map((one) => one.policy));
  const [first, last] = [Date.parse(found.since), Date.parse(found.until)];
  return changes.filter((one) => routes.has(`always ${one.route}`) && Date.parse(one.changed_on) > first && Date.parse(one.changed_on) <= last);
}

// That the estimates mix the days before and after these changes, with a link to the period since the last of them.
export function ofChanges(amid) {
  if (!amid.length) return [];
  const last = amid.map((one) => one.changed_on).sort().at(-1);
  return [
    h("p", {}, "These estimates are of days before and after a route changed, so that they are neither of what it was nor of what it is:"),
    h("ul", {}, amid.map((one) => h("li", {}, one.sentence))),
    h("p", {}, h("a", { href: addressSince(last) }, `This page of the days since ${onDay(last)}`)),
  ];
}

// Below "Always …": which of the choices could take the route, and its figure in the leaderboard.
export function ofRoute(one, board, decisions, changes) {
  if (!known(one)) return null;
  const change = changes.find(({ route }) => route === one.route);
  const row = board.find(({ route }) => route === one.route);
  const some = one.decisions < decisions && `Of the ${several(one.decisions, "choice")} that could take it.`;
  return [some, change && mixed(change), row && standing(row)].filter(Boolean).join(" ") || null;
}

// Below "No limit": which fixed routes are estimated to do better, for people expect it to be the best of all.
export function ofFree(free, routes) {
  const better = known(free) ? routes.filter((one) => known(one) && Math.round(100 * one.quality) > Math.round(100 * free.quality)) : [];
  if (!better.length) return null;
  const sure = better.filter((one) => !overlap(one, free));
  const names = (some) => inWords(some.map((one) => `always ${one.route}`));
  return `Below ${names(better)}. ${sure.length ? `More than chance explains for ${names(sure)}: what does best had to be learned first.` : "Their ranges overlap, so it may be chance."}`
    + " It takes the route that was expected to do best by what had been rated before each question: an expectation from few ratings can be wrong.";
}

// Which of the fixed routes may be the best.
export function order(routes) {
  const best = routes.filter(known).reduce((one, other) => (one && one.quality >= other.quality ? one : other), null);
  const rivals = routes.filter((one) => known(one) && best && overlap(one, best)).sort((one, other) => other.quality - one.quality);
  return rivals.length > 1 && `Which of ${inWords(rivals.map((one) => one.route), "or")} is best, taken always, is not sure: their ranges overlap. `;
}

export const MEANING = "“Always …” estimates what a route would have given for all of the choices that could take it, also those that went to others; the leaderboard counts the ratings of what it did answer.";
