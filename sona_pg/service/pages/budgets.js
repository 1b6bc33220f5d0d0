// What other budgets would give, estimated from the log: quality, cost and routes of each.

import { get, post } from "./api.js";
import { changesAmid, MEANING, ofChanges, ofFree, ofRoute, order } from "./budget-notes.js";
import { curve, QUALITY } from "./charts.js";
import { costColumn, intervalColumn } from "./columns.js";
import { h, problem, table } from "./elements.js";
import { at, cost, count, inUnit, number, offered, range, several, share } from "./format.js";
import { daysOf } from "./range.js";
import { help, term } from "./terms.js";

const TOLD_BY = "decision.propensity"; // field of an imported row, by its own name
const SHARES = [0.25, 0.5, 0.75, 1, 1.5, 2, 4]; // of what the rated choices of the period cost
const NEWEST = 5000; // choices that are looked at
const ALL_TIME = 3650; // days
const NAMED = 5; // routes in a sentence
const ALWAYS = "always ";
const MIX = "constant mix, ";

const NAMES = new Map([[0.25, "a quarter of it"], [0.5, "half of it"], [0.75, "three quarters of it"], [1, "as much"], [1.5, "half as much again"], [2, "twice as much"], [4, "four times as much"]]);

const routesOf = (one) => Object.entries(one.routes).map(([route, part]) => `${offered(route, one.gone ?? [])} ${part > 0 && part < 0.005 ? "under 1 %" : share(part)}`).join(", ") || null;

const isScant = (one) => one.refused.startsWith("too little overlap");

// Rounded down where it would read as enough.
const worth = ({ size, least }) => (Math.round(size) < least ? several(Math.round(size), "rating") : `${(Math.floor(10 * size) / 10).toFixed(1)} ratings`);

export function reason(one) {
  if (isScant(one)) return `not enough evidence: choices like these are worth ${worth(one)}, and it takes ${one.least}`;
  return one.refused || null;
}

function reasons(one) {
  const [own, mix] = [reason(one), one.mix ? reason(one.mix) : null];
  return own === mix ? own : [own, mix && `constant mix: ${mix}`].filter(Boolean).join("; ");
}

const known = (mix) => mix && mix.quality !== null;
const limitOf = (one) => one.budget ?? null;

// Estimates of the budgets, each with the share of the present cost that it is, and those to compare them with.
function read(found, board, amid) {
  const estimates = found.estimates.map((one) => ({ ...one, size: one.effective_size, least: found.least_size, gone: found.not_offered }));
  const mixes = new Map(estimates.filter((one) => one.policy.startsWith(MIX)).map((one) => [one.budget, one]));
  const budgets = estimates.filter((one) => one.budget !== null && !one.policy.startsWith(MIX)).sort((one, other) => one.budget - other.budget);
  const spent = estimates[0].cost;
  const routes = estimates.filter((one) => one.policy.startsWith(ALWAYS))
    .map((one) => ({ ...one, route: one.policy.slice(ALWAYS.length) })).sort((one, other) => (other.cost ?? 0) - (one.cost ?? 0));
  const free = estimates.find((one) => one.policy === "router, learning as it goes");
  const nearest = (one) => SHARES.reduce((best, part) => (Math.abs(part * spent - one.budget) < Math.abs(best * spent - one.budget) ? part : best));
  return {
    logged: { ...estimates[0], name: "As it was" },
    free: { ...free, name: "No limit: always the route expected to do best", note: ofFree(free, routes) },
    budgets: budgets.map((one) => ({ ...one, name: NAMES.get(nearest(one)), mix: mixes.get(one.budget) })),
    routes: routes.map((one) => ({ ...one, name: `Always ${one.route}${one === routes[0] && routes.length > 1 ? ", the dearest" : ""}`, note: ofRoute(one, board, found.decisions, amid) })),
  };
}

function told(one, logged) {
  if (one.quality === null) return `${cost(one.budget)} a request, ${one.name}: ${reason(one)}.`;
  const change = 100 * (one.quality - logged.quality);
  const against = Math.abs(change) < 0.5 ? "about as good as it was" : `${several(Math.round(Math.abs(change)), "point")} ${change > 0 ? "better" : "worse"} than it was${one.low <= logged.high && logged.low <= one.high ? " (the ranges overlap: it may be chance)" : ""}`;
  return `${cost(one.budget)} a request, ${one.name}: quality ${share(one.quality)} (likely between ${range(one.low, one.high)}), ${against}, for ${cost(1000 * one.cost)} per 1,000 requests. Routes: ${routesOf(one)}.${known(one.mix) ? ` Constant shares (${routesOf(one.mix)}), whatever is asked, would give ${share(one.mix.quality)} (likely between ${range(one.mix.low, one.mix.high)}) for that budget.` : ""}`;
}

function drawn(rows, chosen, most) {
  const points = rows.filter((one) => one.quality !== null).sort((one, other) => one.cost - other.cost)
    .map((one) => ({ x: one.cost, y: one.quality, low: Math.max(one.low, 0), high: Math.min(one.high, 1), title: `${cost(one.budget)} a request: ${share(one.quality)}` }));
  return curve("Estimated quality of each budget against what it would cost", points, {
    x: { domain: [0, most], name: inUnit("mean cost of a request"), label: number }, y: QUALITY, height: 220, cursor: chosen.cost ?? chosen.budget,
  });
}

function chooser({ logged, budgets }, figure) {
  const first = budgets.findLastIndex((one) => one.budget <= 0.6 * logged.cost);
  const most = 1.1 * Math.max(...budgets.map((one) => one.cost ?? one.budget), logged.cost);
  const output = h("p", { "aria-live": "polite" });
  const tell = () => {
    const one = budgets[Number(input.value)];
    input.setAttribute("aria-valuetext", `${cost(one.budget)} a request, ${one.name}`);
    output.textContent = told(one, logged);
    figure.replaceChildren(drawn(budgets, one, most));
  };
  const input = h("input", { type: "range", min: 0, max: budgets.length - 1, step: 1, oninput: tell });
  input.value = Math.max(first, 0);
  tell();
  return [h("label", { class: "slider" }, h("span", {}, `Budget, from ${cost(budgets[0].budget)} to ${cost(budgets.at(-1).budget)} a request (it was ${cost(logged.cost)})`), input), output];
}

const limited = (one) => (limitOf(one) === null ? one.name : `${cost(one.budget)}, ${one.name}`);

// Routes that only some of the choices could take: what came within the period counts for less here than from now on.
function newcomers(found) {
  const some = found.estimates.filter((one) => one.policy.startsWith(ALWAYS) && one.decisions > 0 && one.decisions < found.decisions);
  return some.length > 0 && some.length <= NAMED && ` Not all of these choices could take any route: ${some.map((one) => `${one.policy.slice(ALWAYS.length)} ${count(one.decisions)} of them`).join(", ")}.`;
}

function evidence(found, figures) {
  const rest = figures.now.trajectories - found.decisions;
  const { not_offered: gone } = found;
  return [
    `Estimated from ${several(found.decisions, "rated choice")} of the router, ${at(found.since)} to ${at(found.until)} `, help("estimated"),
    rest > 0 && ` The period, ${daysOf(figures)}, has ${several(figures.now.trajectories, "request")}: the others have no rating, were not chosen by the router, or only taught what estimates these.`,
    found.learned_from > 0 && ` ${several(found.learned_from, "earlier rated choice")} only taught it.`,
    figures.now.trajectories > NEWEST && ` Of all choices the newest ${count(NEWEST)} at most are looked at.`,
    newcomers(found),
    gone.length > 0 && ` No longer offered, so nothing that a budget buys: ${gone.join(", ")}. “As it was” still has ${gone.length === 1 ? "it" : "them"}.`,
    " What a route costs is its mean cost in these choices. Nothing is set by moving the slider.",
  ];
}

// Of budgets that have too few choices the one that has most.
function bestKnown(budgets) {
  const most = Math.max(...budgets.filter(isScant).map((one) => one.size));
  return budgets.filter((one) => !isScant(one) || one.size === most);
}

// What would give the estimates that are missing.
const advice = (days) => h("p", { class: "note" }, `Estimates that are missing take more rated choices like their own: ${days < ALL_TIME ? "a longer period has more, " : ""}more requests can be rated, or such a budget can be set for a while, for then the router makes such choices.`);

function shown(found, { figures, board, days, amid }) {
  const all = read(found, board, amid);
  const lacking = [...all.budgets, ...all.routes].some(isScant) ? [advice(days)] : [];
  if (all.budgets.every((one) => one.quality === null)) {
    return [h("p", { class: "quiet" }, `There is no estimate of any of these budgets: ${[...new Set(bestKnown(all.budgets).map(reason))].join("; ")}.`), ...lacking, h("p", { class: "note" }, evidence(found, figures))];
  }
  const figure = h("figure", {});
  return [
    ...chooser(all, figure),
    figure,
    table("Budgets, with what they would give; costs are means of a request", [
      { name: "Budget", heads: true, kind: "words", of: (one) => [limited(one), one.note && h("p", { class: "note" }, one.note)], parts: [{ name: "Budget", of: (one) => one.name }, { ...costColumn(limitOf), name: "Limit" }, { name: "Note", of: (one) => one.note ?? null }] },
      { name: "Quality", title: () => term("Quality", "quality"), kind: "number", of: (one) => share(one.quality) },
      { ...intervalColumn(), title: () => term("Likely between", "interval") },
      { name: "Constant mix", title: () => term("Constant mix", "mix"), kind: "number", of: (one) => (known(one.mix) ? share(one.mix.quality) : null) },
      { ...costColumn((one) => one.cost), name: "Cost" },
      { name: "Routes", kind: "words", of: routesOf },
      { name: "No estimate", kind: "words", of: reasons },
    ], [all.logged, ...all.budgets, all.free, ...all.routes]),
    all.routes.some((one) => one.quality !== null) && h("p", { class: "note" }, order(all.routes), MEANING),
    ...lacking,
    h("p", { class: "note" }, evidence(found, figures)),
  ].filter(Boolean);
}

function unknown(refused) {
  if (refused.includes("still offered")) return "There is no estimate: none of the routes that the rated choices could take is still offered.";
  if (refused.includes("no judged decision")) return "There is not enough evidence for an estimate: it takes rated requests of which it is known how probable the choice of their route was. These records do not say so (the router’s do, of the call route or the proxy, and an import can: field " + TOLD_BY + ").";
  return `There is no estimate: ${refused}. Tell costs with a route’s decision (costs) or with the outcome (cost).`;
}

// Estimates for the days of `figures`, which are those of the whole page, as are the routes of the leaderboard in `board`.
export async function otherBudgets(figures, board, asked) {
  try {
    const [found, changes] = await Promise.all([
      post("v1/evaluate", { since: `${figures.first_day}T00:00:00Z`, budget_shares: SHARES, limit: NEWEST }), get("v1/dashboard/changes", asked),
    ]);
    if (!found.estimates.length) return [h("p", { class: "quiet" }, unknown(found.refused))];
    const amid = changesAmid(changes.routes, found);
    const later = asked.until && h("p", { class: "note" }, "Choices that were made since the last day of the period count here as well.");
    return [...ofChanges(amid), ...shown(found, { figures, board, amid, days: asked.days }), ...(later ? [later] : [])];
  } catch (error) {
    return [problem(error)];
  }
}
