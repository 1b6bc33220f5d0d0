// Patterns: which matter most, what is known of the chosen one, and a map of them as of any version.

import { get, post, unlessAway } from "./api.js";
import { tone, toneLegend } from "./charts.js";
import { costColumn, joined } from "./columns.js";
import { h, panel, problem, table } from "./elements.js";
import { bubbleMap, spread } from "./map.js";
import { versionSlider } from "./slider.js";
import { cost, costsIn, count, offered, range, several, share, sinceWorse } from "./format.js";
import { rangeChoice } from "./range.js";
import { say } from "./shell.js";
import { help, term } from "./terms.js";
import { levelChoice, levelNote, wantedTopics } from "./topic-levels.js";
import { fillPeriod, inPeriod, routeInPeriod } from "./topic-periods.js";

const LEADING = 12; // rows that are shown at once
const LABELLED = 8; // bubbles with a label
const ENOUGH = 10; // ratings that a route needs to be called the best

const nameOf = (pattern) => pattern.name ?? pattern.title ?? "without texts";
const titleOf = (pattern) =>
  `${nameOf(pattern)}: ${several(pattern.size, "request")}, ${pattern.rated ? `quality ${share(pattern.quality)} of ${several(pattern.rated, "rating")}` : "not rated"}`;

// How many of its rated trajectories are failures.
const wrong = (pattern) => (pattern.judged ? pattern.bad : null);
const rating = (one) => (one.rated ? `${share(one.quality)} (${range(one.low, one.high)})` : null);

// Whether no other route that is offered has enough ratings: then the best is so by default.
function isOnly({ best_route: best, alike, routes }, gone) {
  const others = Object.entries(routes).filter(([name]) => name !== best && !gone.includes(name));
  return !alike.length && others.length > 0 && others.every(([, route]) => route.rated < ENOUGH);
}

// The best route in a row of the table, with how sure its quality is.
function bestInRow(pattern, gone) {
  const { best_route: best, alike, routes } = pattern;
  if (!best) return null;
  if (isOnly(pattern, gone)) return `${offered(best, gone)}, the only one with ${ENOUGH} ratings`;
  return `${offered(best, gone)}, ${range(routes[best].low, routes[best].high)}${alike.length ? `; not shown to be better than ${alike.join(", ")}` : ""}`;
}

// Whether answers have enough ratings, but the one that does best is of less than half of the questions that were put together.
const isOfParts = ({ best_route: best, members, routes }, gone) => !best && members.length > 1
  && Object.entries(routes).some(([name, route]) => route.rated >= ENOUGH && !gone.includes(name));

function bestOf(pattern, gone) {
  if (isOfParts(pattern, gone)) return "none: the one that does best was tried in less than half of these questions; look at more topics";
  if (!pattern.best_route && pattern.succeeded) return "none yet: the routes that did not get worse have fewer than 10 ratings each";
  if (!pattern.best_route) return pattern.former_best ? "none that is offered has 10 ratings yet" : "none has 10 ratings yet";
  const { alike, cheapest, best_route: best } = pattern;
  const others = alike.length ? `. ${alike.join(", ")} ${alike.length === 1 ? "is" : "are"} not shown to be worse yet.` : "";
  const alone = isOnly(pattern, gone) ? `. It is the only one that is offered with ${ENOUGH} ratings: that it is better than the others is not shown.` : "";
  return `${known(pattern, best, gone)}${alone}${others}${cheapest === best ? ownPrice(pattern, best, alike) : ""}`;
}

// The cheapest of the best and those like it need not be the cheapest of all that are listed.
function ownPrice({ routes }, best, alike) {
  const less = Object.values(routes).some((route) => route.cost !== null && route.cost < routes[best].cost);
  if (!less) return " It also costs least.";
  return alike.length ? " Of these it costs least." : "";
}

const known = (pattern, route, gone = []) => `${offered(route, gone)}: ${summary({ ...pattern.routes[route], cost: null })}`;

function summary(route) {
  const price = route.cost === null ? "" : `, mean cost ${cost(route.cost)}`;
  return `${route.rated ? `${rating(route)}, ${several(route.rated, "rating")}${sinceWorse(route.since)}` : `not rated${sinceWorse(route.since)}, tried ${several(route.size, "time")}`}${price}`;
}

// The costs of the very questions of a topic: in all, and of one.
const ownCost = ({ cost: sum, costed, latest }) => `${cost(sum)} for ${several(costed, "question")}, ${cost(sum / costed)} each`
  + (latest ? `; of the latest ${count(latest)} requests of the space` : "");

function detail(pattern, form, gone = [], period = null) {
  if (!pattern) return [h("p", { class: "quiet" }, "Choose a topic in the table or on the map.")];
  const routes = Object.entries(pattern.routes).map(([route, known]) => ({ route, ...known }));
  const lately = new Map((period?.of.get(pattern.id)?.routes ?? []).map((one) => [one.route, routeInPeriod(one)]));
  return [
    h("dl", { class: "pairs" },
      period && [h("dt", {}, term("In the period", "interval")), h("dd", {}, inPeriod(period.of.get(pattern.id), period.days))],
      h("dt", {}, term("Quality so far", "interval")), h("dd", {}, pattern.rated ? `${rating(pattern)}, ${several(pattern.rated, "rating")}` : "not rated"),
      h("dt", {}, "Asked"), h("dd", {}, several(pattern.size, "time")),
      h("dt", {}, term("Kind", "kind")), h("dd", {}, pattern.kind === "general" ? "general: no other kind is sure" : pattern.kind),
      h("dt", {}, "Mostly"), h("dd", {}, pattern.verdict ?? "not judged"),
      pattern.own && [h("dt", {}, "Cost of its questions"), h("dd", {}, ownCost(pattern.own))],
      h("dt", {}, term("Routes’ cost of 1,000", "routescost")), h("dd", {}, cost(pattern.per_thousand)),
      h("dt", {}, term("Best quality", "best")), h("dd", {}, bestOf(pattern, gone)),
      pattern.succeeded && [h("dt", {}, term("Was best, got worse", "succeeded")), h("dd", {}, known(pattern, pattern.succeeded, gone))],
      pattern.former_best && [h("dt", {}, term("Was better, no longer offered", "offered")), h("dd", {}, known(pattern, pattern.former_best))],
      pattern.cheapest && pattern.cheapest !== pattern.best_route && [h("dt", {}, term("Cheapest not shown to be worse", "cheapest")),
        h("dd", {}, `${known(pattern, pattern.cheapest)}, mean cost ${cost(pattern.routes[pattern.cheapest].cost)}`)]),
    h("h3", {}, "Typical questions"),
    pattern.wordings.length
      ? h("ul", { class: "typical" }, pattern.wordings.map((query) => h("li", {}, query)))
      : h("p", { class: "quiet" }, "They were recorded without texts."),
    form,
    routes.length > 0 && h("h3", {}, "Routes tried in it"),
    routes.length > 0 && h("ul", { class: "typed" }, routes.map((route) => h("li", {}, h("strong", {}, offered(route.route, gone)), h("span", { class: "quiet" }, [summary(route), lately.get(route.route)].filter(Boolean).join("; "))))),
    routes.length > 0 && h("p", { class: "note" }, "All ratings so far count, older ones less; of a route that got worse, those since. Those of the period count alike. In brackets: where their mean likely lies. Where quality has changed lately, today’s may lie outside: the Overview tells since when. Costs are means of the whole space."),
  ].filter(Boolean);
}

// A form that names the pattern for everybody who looks at this space.
function naming(pattern, onNamed) {
  const field = h("input", { type: "text", maxlength: 100, autocomplete: "off", value: pattern.name ?? "", placeholder: "as “Late delivery”" });
  const place = h("div", {});
  const send = async (name) => {
    place.replaceChildren();
    try {
      await post("v1/topics", { pattern: pattern.id, name });
    } catch (error) {
      place.replaceChildren(problem(error));
      return;
    }
    say(name === null ? "The topic has no name any more." : `The topic is called “${name}” now.`);
    await onNamed();
  };
  return h("form", {
    class: "naming",
    onsubmit: (event) => {
      event.preventDefault();
      const name = field.value.trim();
      if (name) send(name);
    },
  },
  h("label", { class: "field" }, pattern.name === null ? "Name this topic" : "Name of this topic", field),
  h("div", { class: "row" }, h("button", { type: "submit" }, "Save the name"),
    pattern.name !== null && h("button", { type: "button", onclick: () => send(null) }, "Take it away")), place);
}

// What its requests have cost in all, by the mean costs of their routes.
const inAll = (pattern) => (pattern.per_thousand === null ? null : (pattern.per_thousand * pattern.size) / 1000);

// Orders of the table; a topic without the figure comes last.
const ORDERS = [
  ["Most bad ratings first", (pattern) => wrong(pattern) ?? -1],
  ["Asked most often first", (pattern) => pattern.size],
  ["Lowest quality first", (pattern) => (pattern.rated ? -pattern.quality : -2)],
  ["Highest cost in all first", (pattern) => inAll(pattern) ?? -1],
];
let order = 0; // kept while the page is open

function orderChoice(onChange) {
  const select = h("select", {
    onchange: () => {
      order = Number(select.value);
      onChange();
    },
  }, ORDERS.map(([name], place) => h("option", { value: place, selected: place === order }, name)));
  return h("label", { class: "inline" }, "Order", select);
}

function leading(items, onChoose, gone) {
  const [name, key] = ORDERS[order];
  const rows = items.toSorted((a, b) => key(b) - key(a) || b.size - a.size);
  const columns = [
    { name: "Topic", heads: true, kind: "short", of: (pattern) => h("button", { type: "button", class: "link", "data-id": pattern.id, "aria-pressed": "false", onclick: () => onChoose(pattern) }, nameOf(pattern)) },
    { name: "Asked", kind: "number", of: (pattern) => count(pattern.size) },
    { name: "Rated bad", title: () => term("Rated bad", "wrong"), kind: "number", ...joined((pattern) => (wrong(pattern) === null ? null : `${count(wrong(pattern))} of ${count(pattern.judged)}`), { "Rated bad": (pattern) => (wrong(pattern) === null ? null : count(wrong(pattern))), Judged: (pattern) => count(pattern.judged) }) },
    { name: "Quality", kind: "number", ...joined((pattern) => (pattern.rated ? `${share(pattern.quality)} of ${count(pattern.rated)}` : null), { Quality: (pattern) => (pattern.rated ? share(pattern.quality) : null), Ratings: (pattern) => count(pattern.rated) }) },
    { name: "Best quality", title: () => term("Best quality", "best"), kind: "short", of: (pattern) => bestInRow(pattern, gone) },
    { name: "Routes’ cost in all", title: () => term("Routes’ cost in all", "routescost"), ...costColumn(inAll) },
  ];
  const more = rows.slice(LEADING);
  return [
    table(name, columns, rows.slice(0, LEADING)),
    more.length > 0 && h("details", {}, h("summary", {}, `${several(more.length, "topic")} more`), table("The other topics", columns, more)),
  ].filter(Boolean);
}

export function patterns() {
  const drawing = h("figure", {});
  const about = h("div", { "aria-live": "polite", class: "panel" });
  const note = h("p", { class: "note" });
  const list = h("div", { class: "flow" });
  const recent = h("div", { class: "flow" }, h("p", { class: "quiet" }, "…"));
  let chosen = null;
  let domains = null;
  let gone = []; // routes that are no longer offered
  let period = null; // figures of the chosen period by topic
  let pick = () => {}; // shows a topic of the drawn map by its id
  let shown; // the version on the slider; undefined: the live one
  let [mayName, isLive] = [false, true];
  let most = null; // at most so many on the drawn map; null: all
  const levels = h("span", {});
  const levelled = h("p", { class: "note", "aria-live": "polite" });
  let addPeriod = () => {}; // reads the figures of the chosen period

  const choose = (item) => {
    chosen = item?.id ?? null;
    about.replaceChildren(h("h2", { tabindex: "-1" }, item ? nameOf(item) : "Topic"), ...detail(item, item && mayName && isLive && namingOf(item), gone, isLive ? period : null));
    press();
  };
  const namingOf = (item) => (item.members.length === 1 ? naming(item, named)
    : h("p", { class: "note" }, `${several(item.members.length, "topic")} put together. Choose all topics above to name one.`));
  const press = () => {
    for (const one of [...list.querySelectorAll("[data-id]"), ...recent.querySelectorAll("[data-id]")]) one.setAttribute("aria-pressed", String(one.dataset.id === chosen));
  };

  function draw(found) {
    const items = found.patterns;
    isLive = found.version === found.basis;
    gone = found.not_offered;
    most = found.topics;
    if (!levels.contains(document.activeElement)) levels.replaceChildren(...levelChoice(found, () => show(shown).then(() => say(`${several(found.all_patterns, "topic")}, ${most === null ? "each by itself" : `put together into at most ${count(most)}`}`))));
    levelled.textContent = levelNote(found) ?? "";
    costsIn(found.cost_unit);
    if (!items.length) {
      drawing.replaceChildren(h("p", { class: "quiet" }, `Version ${found.version} has no topics: learning makes them from what was recorded.`));
      list.replaceChildren();
      about.replaceChildren(h("h2", {}, "No topic"), ...detail(null));
      return;
    }
    const largest = Math.max(...items.map((item) => item.size));
    const labelled = new Set(items.toSorted((a, b) => b.size - a.size).slice(0, LABELLED).map((item) => item.id));
    // The axes stay as they are while the slider moves, unless a pattern lies outside.
    const [dx, dy] = [spread(items.map((item) => item.x)), spread(items.map((item) => item.y))];
    domains = domains ? [join(domains[0], dx), join(domains[1], dy)] : [dx, dy];
    const byId = new Map(items.map((item) => [item.id, item]));
    const map = bubbleMap(`Map of ${several(items.length, "topic")}`, items.map((item) => ({
      id: item.id, x: item.x, y: item.y, r: 5 + 20 * Math.sqrt(item.size / largest), kind: tone(item.quality), title: titleOf(item),
      label: labelled.has(item.id) ? nameOf(item) : null,
    })), {
      domains, height: 420, onChoose: (item) => choose(byId.get(item.id)), chosen: () => chosen,
    });
    drawing.replaceChildren(map);
    pick = (id) => {
      choose(byId.get(id));
      map.mark(id);
      if (about.getBoundingClientRect().top > 0.8 * innerHeight) about.scrollIntoView(); // on a phone it comes last
    };
    const rows = h("div", { class: "flow" });
    const fillRows = () => {
      rows.replaceChildren(...leading(items, (item) => pick(item.id), gone));
      press();
    };
    list.replaceChildren(orderChoice(fillRows), rows);
    fillRows();
    if (isLive) {
      addCosts(byId);
      const level = most;
      addPeriod = () => fillPeriod(recent, level, (id) => byId.has(id) && nameOf(byId.get(id)), (id) => pick(id), (of, days) => {
        period = { of, days };
        again(byId);
      }).then(press);
      addPeriod();
    }
    choose(byId.get(chosen) ?? items.reduce((worst, item) => ((wrong(item) ?? -1) > (wrong(worst) ?? -1) ? item : worst)));
    note.textContent = `${several(items.length, "topic")} of version ${found.version}. Near is alike, as far as a plane can show: it shows ${share(found.explained[0] + found.explained[1])} of the differences.`
      + (found.left_out ? ` ${several(found.left_out, "smaller one")} left out.` : "");
  }
  // Counting costs takes up to a second: the topics are shown before. Without them the rest of the page stands.
  async function addCosts(byId) {
    const told = await unlessAway(get("v1/dashboard/topic-costs", { topics: most }));
    if (!told) return;
    const { topics, latest } = told;
    for (const one of topics) if (byId.has(one.pattern)) byId.get(one.pattern).own = { ...one, latest };
    if (byId.get(chosen)?.own) again(byId);
  }
  // Shows the chosen topic again with what was read since, unless somebody is at work in it.
  function again(byId) {
    const item = byId.get(chosen);
    if (item && about.querySelector("dl.pairs") && isLive && !about.contains(document.activeElement)) choose(item);
  }
  const show = async (version) => {
    shown = version;
    const wanted = wantedTopics();
    const found = await get("v1/dashboard/patterns", { version, topics: wanted });
    if (wanted === wantedTopics()) draw(found);
  };
  const named = async () => {
    await show(shown);
    about.querySelector("h2").focus(); // the form that had the focus is gone
  };

  return {
    async content() {
      const [found, listed, { scopes }] = await Promise.all([get("v1/dashboard/patterns", { topics: wantedTopics() }), get("v1/versions", { limit: 50 }), get("v1/spaces")]);
      mayName = scopes.includes("learn");
      draw(found);
      return [
        h("h1", {}, "Topics"),
        h("p", { class: "note" }, "A topic is a group of questions that are alike ", help("pattern"), ". Those with most bad ratings come first, unless you choose another order. The first table is of the chosen period, with the change against as many days before; all others are of all time, older ratings counting less."),
        h("div", { class: "row" }, rangeChoice(() => addPeriod()), levels), levelled,
        h("div", { class: "pair wide" },
          h("div", { class: "stack" }, panel("In the chosen period", recent), panel("Where it goes wrong, of all time", list), panel("Map", drawing, toneLegend(), versionSlider(listed, show), note)), about),
      ];
    },
    onVersion: () => show(),
  };
}

const join = ([a, b], [c, d]) => [Math.min(a, c), Math.max(b, d)];
