// Routes: which does best, how sure that is, and what it costs.

import { get } from "./api.js";
import { answerFinder } from "./answer-finder.js";
import { otherBudgets } from "./budgets.js";
import { whisker } from "./charts.js";
import { h, panel, problem, table } from "./elements.js";
import { cost, costsIn, count, duration, offered, range, several, share } from "./format.js";
import { budget, byDay, fairQuality, likeQuality, plainQuality, qualityForMoney, readBudget, totals } from "./money.js";
import { chosenDays, daysOf, rangeChoice } from "./range.js";
import { term } from "./terms.js";

const meanCost = (route) => (route.cost === null ? null : h("span", { title: `of ${several(route.costed, "request")}` }, cost(route.cost)));
const goodCost = (route) => {
  const quality = fairQuality(route)?.quality;
  return route.cost === null || !quality ? null : cost(route.cost / quality);
};

const SHORTEST = 100; // microseconds: a program that begins and ends a trajectory at once has measured nothing
const latencyOf = (route) => (route.latency_us === null || route.latency_us < SHORTEST ? null : duration(route.latency_us / 1e6));

// Where no two routes answered questions of the same topics, the order is of unlike questions: that is said.
const ORDERS = {
  like: "best first, by the lower end of where their quality on like questions likely is",
  plain: "by the lower end of where their quality likely is. They may have been sent easier or harder questions: nothing compares them on like ones yet",
};

function leaderboard(rows, when) {
  const priced = rows.some((route) => route.cost !== null);
  const timed = rows.some((route) => latencyOf(route) !== null);
  const compared = rows.some((route) => route.like_quality !== null);
  const shown = compared ? (route) => likeQuality(route) : (route) => plainQuality(route);
  return [
    table(`Routes taken most often, ${when}; ${compared ? ORDERS.like : ORDERS.plain}`, [
      { name: "Route", heads: true, kind: "words", of: (route) => offered(route.route, route.is_offered ? [] : [route.route]) },
      { name: "On like questions", title: () => term("On like questions", "like"), kind: "number", of: (route) => share(route.like_quality) },
      { name: "0 to 100 %", kind: "nowrap", of: (route) => shown(route) && whisker(shown(route)) },
      { name: "Likely between", title: () => term("Likely between", "interval"), kind: "nowrap", of: (route) => shown(route) && range(shown(route).low, shown(route).high) },
      { name: compared ? "As sent" : "Quality", title: () => (compared ? term("As sent", "assent") : term("Quality", "quality")), kind: "number", of: (route) => share(route.quality) },
      { name: "Ratings", kind: "number", of: (route) => count(route.rated) },
      timed && { name: "Median latency", kind: "number", of: latencyOf },
      priced && { name: "Mean cost", kind: "number", of: meanCost },
      priced && { name: "Cost of a good answer", kind: "number", of: goodCost },
    ].filter(Boolean), rows),
    compared && h("p", { class: "note" }, "A route that is sent the hard questions gets worse ratings than it deserves: “as sent” is the plain mean. “On like questions” compares the routes within topics, as if all had answered the same questions. Where their ranges overlap, the difference may be chance."),
  ].filter(Boolean);
}

export function routes() {
  const spending = h("div", { class: "flow" });
  const trend = h("div", { class: "flow" });
  const ranked = h("div", { class: "flow" });
  const money = h("div", { class: "flow" });
  const others = h("div", { class: "flow" });

  async function estimate() {
    const days = chosenDays();
    others.replaceChildren(h("p", { class: "quiet", role: "status" }, "Estimating from the log …"));
    const found = await otherBudgets(days);
    if (days === chosenDays()) others.replaceChildren(...found);
  }
  async function fill() {
    const days = chosenDays();
    const [figures, { routes: rows }] = await Promise.all([get("v1/dashboard/figures", { days }), get("v1/dashboard/routes", { days })]);
    if (days !== chosenDays()) return;
    costsIn(figures.cost_unit);
    spending.replaceChildren(...totals(figures));
    trend.replaceChildren(...byDay(figures));
    ranked.replaceChildren(...(rows.length ? leaderboard(rows, daysOf(figures))
      : [h("p", { class: "quiet" }, `Nothing recorded from ${daysOf(figures)} has a route.`)]));
    money.replaceChildren(...qualityForMoney(rows));
  }
  return {
    async content() {
      const [limit, { scopes }] = await Promise.all([readBudget(), get("v1/spaces"), fill()]);
      estimate(); // takes longer than the rest, which is shown meanwhile
      return [
        h("h1", {}, "Routes"),
        h("p", { class: "note" }, "A route is what answered: a model, a tool, or one of the stored answers. Quality is the mean of the ratings, from 0 to 100 %. All figures are of the period, but for the budget, which is as it stands now; ratings count with all feedback that has come since."),
        rangeChoice(() => {
          fill().catch((error) => ranked.replaceChildren(problem(error)));
          estimate();
        }),
        panel("Leaderboard", ranked),
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
