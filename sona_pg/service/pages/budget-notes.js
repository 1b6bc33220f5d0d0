// What stands beside the estimates of budgets: what each figure is, where others differ from it, and which order is not sure.

import { count, range, several, share } from "./format.js";
import { likeQuality, plainQuality } from "./money.js";

const NAMED = 5; // routes in a sentence

const known = (one) => one.quality !== null;
const overlap = (one, other) => one.low <= other.high && other.low <= one.high;

export function inWords(names, last = "and") {
  const shown = names.length > NAMED ? [...names.slice(0, NAMED), `${count(names.length - NAMED)} more`] : names;
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} ${last} ${shown.at(-1)}`;
}

// What the leaderboard has of the same route: the page tells one model by two figures, which are of different requests.
function standing(route) {
  const like = likeQuality(route);
  const found = like ?? plainQuality(route);
  return found && `The leaderboard has ${share(found.quality)} (${range(found.low, found.high)})${like ? " on like questions" : ""}, of what it answered.`;
}

// Below "Always …": which of the choices could take the route, and its figure in the leaderboard.
export function ofRoute(one, board, decisions) {
  if (!known(one)) return null;
  const row = board.find(({ route }) => route === one.route);
  const some = one.decisions < decisions && `Of the ${several(one.decisions, "choice")} that could take it.`;
  return [some, row && standing(row)].filter(Boolean).join(" ") || null;
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
