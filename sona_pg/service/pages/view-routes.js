// Routes: which does best, how sure that is, and what it costs.

import { get } from "./api.js";
import { answerFinder } from "./answer-finder.js";
import { otherBudgets } from "./budgets.js";
import { h, panel, problem } from "./elements.js";
import { costsIn } from "./format.js";
import { leaderboard, ratedBad, withoutFigures } from "./leaderboard.js";
import { budget, byDay, qualityForMoney, readBudget, totals } from "./money.js";
import { chosenPeriod, daysOf, isChosen, rangeChoice } from "./range.js";

export function routes() {
  const spending = h("div", { class: "flow" });
  const trend = h("div", { class: "flow" });
  const ranked = h("div", { class: "flow" });
  const money = h("div", { class: "flow" });
  const others = h("div", { class: "flow" });
  const worst = h("div", { class: "flow" });
  const order = {}; // chosen in the leaderboard, for all that are drawn here
  const name = h("input", { id: "find-route", type: "search", maxlength: "200", autocomplete: "off" });

  async function estimate(known) {
    const asked = chosenPeriod();
    if (!known) return;
    others.replaceChildren(h("p", { class: "quiet", role: "status" }, "Estimating from the log …"));
    const found = await otherBudgets(known.figures, known.board, asked);
    if (isChosen(asked)) others.replaceChildren(...found);
  }
  async function fill() {
    const asked = chosenPeriod();
    const find = name.value.trim();
    const { name: by, isDown } = order;
    const [figures, found, whole] = await Promise.all([
      get("v1/dashboard/figures", asked), get("v1/dashboard/routes", { ...asked, find, ...(by ? { order: by, descending: isDown } : {}) }),
      find || by ? get("v1/dashboard/routes", asked) : null,
    ]);
    if (!isChosen(asked) || find !== name.value.trim() || by !== order.name || isDown !== order.isDown) return null;
    costsIn(figures.cost_unit);
    spending.replaceChildren(...totals(figures));
    trend.replaceChildren(...byDay(figures));
    ranked.replaceChildren(...(found.routes.length ? leaderboard(found, daysOf(figures), (route) => ratedBad(worst, route), order, reorder)
      : [h("p", { class: "quiet" }, find ? `No route with “${find}” in its name was taken from ${daysOf(figures)}.` : `Nothing recorded from ${daysOf(figures)} has a route.`), withoutFigures(found) || ""]));
    const board = (whole ?? found).routes;
    money.replaceChildren(...qualityForMoney(board));
    return { figures, board };
  }
  // The order is of more routes than those that are shown.
  async function reorder(focused) {
    try {
      await fill();
      ranked.querySelector(focused)?.focus({ preventScroll: true });
    } catch (error) {
      ranked.replaceChildren(problem(error));
    }
  }
  async function again() {
    worst.replaceChildren();
    try {
      return await fill();
    } catch (error) {
      ranked.replaceChildren(problem(error));
      return null;
    }
  }
  const search = h("form", {
    class: "row",
    onsubmit: (event) => {
      event.preventDefault();
      again();
    },
  }, h("label", { for: "find-route" }, "A part of the route’s name"), " ", name, " ", h("button", {}, "Search"));
  return {
    async content() {
      const [limit, { scopes }, known] = await Promise.all([readBudget(), get("v1/spaces"), fill()]);
      estimate(known); // takes longer than the rest, which is shown meanwhile
      return [
        h("h1", {}, "Routes"),
        h("p", { class: "note" }, "A route is what answered: a model, a tool, or one of the stored answers. Where an article and the model that words it are both chosen, two spaces tell them apart. Quality is the mean of the ratings, from 0 to 100 %. All figures are of the period, but for the budget, which is as it stands now; ratings count with all feedback that has come since."),
        rangeChoice(async () => estimate(await again())),
        panel("Leaderboard", search, ranked, worst),
        answerFinder(() => scopes.includes("record")),
        panel("Spending", spending),
        h("div", { class: "pair" }, panel("Spending over time", trend), panel("Quality for money", money)),
        panel("Budget", budget(limit, scopes.includes("admin"))),
        panel("What another budget would give", others),
      ];
    },
    onVersion: fill,
  };
}
