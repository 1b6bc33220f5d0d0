// What other budgets would give, estimated from the log: quality, cost and routes of each.

import { post } from "./api.js";
import { curve, QUALITY } from "./charts.js";
import { alone, constantMix } from "./constant-mix.js";
import { costColumn, intervalColumn } from "./columns.js";
import { h, problem, table } from "./elements.js";
import { at, cost, count, inUnit, number, range, several, share } from "./format.js";
import { help, term } from "./terms.js";

const SHARES = [0.25, 0.5, 0.75, 1, 1.5, 2, 4]; // of what the rated choices of the period cost
const NEWEST = 5000; // choices that are looked at

const NAMES = new Map([[0.25, "a quarter of it"], [0.5, "half of it"], [0.75, "three quarters of it"], [1, "as much"], [1.5, "half as much again"], [2, "twice as much"], [4, "four times as much"]]);

const routesOf = (one) => Object.entries(one.routes).map(([route, part]) => `${route} ${part > 0 && part < 0.005 ? "under 1 %" : share(part)}`).join(", ") || null;

function reason(one) {
  if (one.refused.startsWith("too little overlap")) return "not enough evidence: too few choices like these were made";
  return one.refused || null;
}

const limitOf = (one) => one.budget ?? null;

// Estimates of the budgets, each with the share of the present cost that it is, and those to compare them with.
function read(found) {
  const budgets = found.estimates.filter((one) => one.budget !== null).sort((one, other) => one.budget - other.budget);
  const spent = found.estimates[0].cost;
  const routes = alone(found.estimates);
  const nearest = (one) => SHARES.reduce((best, part) => (Math.abs(part * spent - one.budget) < Math.abs(best * spent - one.budget) ? part : best));
  return {
    logged: { ...found.estimates[0], name: "As it was" },
    free: { ...found.estimates.find((one) => one.policy === "router, learning as it goes"), name: "No limit: always the route expected to do best" },
    budgets: budgets.map((one) => ({ ...one, name: NAMES.get(nearest(one)), mix: constantMix(routes, one.budget) })),
    routes: routes.map((one) => ({ ...one, name: `Always ${one.route}${one === routes[0] && routes.length > 1 ? ", the dearest" : ""}` })),
  };
}

function told(one, logged) {
  if (one.quality === null) return `${cost(one.budget)} a request, ${one.name}: ${reason(one)}.`;
  const change = 100 * (one.quality - logged.quality);
  const against = Math.abs(change) < 0.5 ? "about as good as it was" : `${Math.abs(change).toFixed(0)} points ${change > 0 ? "better" : "worse"} than it was${one.low <= logged.high && logged.low <= one.high ? " (the ranges overlap: it may be chance)" : ""}`;
  return `${cost(one.budget)} a request, ${one.name}: quality ${share(one.quality)} (likely between ${range(one.low, one.high)}), ${against}, for ${cost(1000 * one.cost)} per 1,000 requests. Routes: ${routesOf(one)}.${one.mix ? ` Constant shares (${routesOf({ routes: one.mix.shares })}), whatever is asked, would give ${share(one.mix.quality)} for that budget.` : ""}`;
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

function evidence(found) {
  const used = found.decisions;
  return [
    `Estimated from ${several(used, "rated choice")} of the router, ${at(found.since)} to ${at(found.until)} `, help("estimated"),
    found.left_out > 0 && ` Of the period, ${count(found.left_out)} more could not be used: without a rating, or not chosen by the router.`,
    found.learned_from > 0 && ` ${several(found.learned_from, "earlier choice")} only taught what estimates them.`,
    ` Of all choices the newest ${count(NEWEST)} at most are looked at.`,
    " What a route costs is its mean cost in these choices. Nothing is set by moving the slider.",
  ];
}

function shown(found) {
  const known = read(found);
  if (known.budgets.every((one) => one.quality === null)) {
    return [h("p", { class: "quiet" }, `There is not enough evidence for an estimate: ${[...new Set(known.budgets.map(reason))].join("; ")}.`), h("p", { class: "note" }, evidence(found))];
  }
  const figure = h("figure", {});
  return [
    ...chooser(known, figure),
    figure,
    table("Budgets, with what they would give; costs are means of a request", [
      { name: "Budget", heads: true, kind: "words", of: (one) => (limitOf(one) === null ? one.name : `${cost(one.budget)}, ${one.name}`), parts: [{ name: "Budget", of: (one) => one.name }, { ...costColumn(limitOf), name: "Limit" }] },
      { name: "Quality", title: () => term("Quality", "quality"), kind: "number", of: (one) => share(one.quality) },
      { ...intervalColumn(), title: () => term("Likely between", "interval") },
      { name: "Constant mix", title: () => term("Constant mix", "mix"), kind: "number", of: (one) => (one.mix ? share(one.mix.quality) : null) },
      { ...costColumn((one) => one.cost), name: "Cost" },
      { name: "Routes", kind: "words", of: routesOf },
      { name: "No estimate", kind: "words", of: reason },
    ], [known.logged, ...known.budgets, known.free, ...known.routes]),
    h("p", { class: "note" }, evidence(found)),
  ];
}

function unknown(refused) {
  if (refused.includes("no judged decision")) return "There is not enough evidence for an estimate: it takes rated requests whose route the router chose (the call route, or the proxy). Imported records do not say how probable their choice was.";
  return `There is no estimate: ${refused}. Tell costs with a route’s decision (costs) or with the outcome (cost).`;
}

export async function otherBudgets(days) {
  try {
    const found = await post("v1/evaluate", { days, budget_shares: SHARES, limit: NEWEST });
    return found.estimates.length ? shown(found) : [h("p", { class: "quiet" }, unknown(found.refused))];
  } catch (error) {
    return [problem(error)];
  }
}
