// Time travel: how the answer to a query has changed from version to version, and which facts moved it.

import { get, search, wordless } from "./api.js";
import { chart, frame } from "./charts.js";
import { h, panel, problem, s, table } from "./elements.js";
import { ago, count, offered, several, share, sinceWorse, told } from "./format.js";
import { addressOf } from "./request-finder.js";
import { givenBefore } from "./given-before.js";
import { kept, versionSlider } from "./slider.js";
import { term } from "./terms.js";

const AT_ONCE = 12; // versions of a request
const SHOWN = 5; // answers in the chart
const NEAR = 0.3; // similarity of a fact that is shown
const LATELY = 90; // days whose changes of routes divide what was answered, as in the best routes of topics

// What an answer is about: stored candidates if there are any, else the routes by expected quality.
const rankingOf = (answer) => (answer.ranking.length ? answer.ranking : answer.routes);

function places(answers) {
  const last = answers.at(-1);
  const score = new Map();
  answers.forEach((answer, place) => rankingOf(answer).slice(0, SHOWN).forEach((one, rank) =>
    score.set(one.id, (score.get(one.id) ?? 0) + (SHOWN - rank) * (answer === last ? 100 : 1 + place / answers.length))));
  return [...score].sort((a, b) => b[1] - a[1]).slice(0, 6).map(([id]) => id);
}

const firstOf = (answer) => rankingOf(answer)[0]?.id;

// The versions from which on another answer came first; before the first of all there was no other.
const turns = (answers, versions) => versions.filter((_, at) => at > 0 && firstOf(answers[at - 1]) !== undefined && firstOf(answers[at]) !== firstOf(answers[at - 1]));

function bump(answers, versions, cursor) {
  const names = places(answers);
  const drawing = chart("Place of each answer by version; 1 is the answer given", 250, (width, tall) => {
    const domain = [0, Math.max(answers.length - 1, 1)];
    const { box, sx, parts } = frame(width, tall, {
      x: { domain, name: "version", kind: "whole", label: (place) => (versions[place] === undefined ? "now" : String(versions[place])) },
      y: { domain: [SHOWN + 0.5, 0.5], name: "place", label: (place) => (Number.isInteger(place) ? String(place) : "") },
    });
    const sy = (place) => box.top + ((place - 0.5) / SHOWN) * (box.bottom - box.top);
    const lines = names.map((id, number) => {
      const found = answers.map((answer) => rankingOf(answer).findIndex((one) => one.id === id));
      const path = [];
      let drawn = false;
      found.forEach((place, at) => {
        if (place < 0 || place >= SHOWN) drawn = false;
        else {
          path.push(`${drawn ? "L" : "M"}${sx(at).toFixed(1)} ${sy(place + 1).toFixed(1)}`);
          drawn = true;
        }
      });
      const dots = found.map((place, at) => place >= 0 && place < SHOWN
        && s("circle", { class: `f${number}`, cx: sx(at), cy: sy(place + 1), r: 4 }, s("title", {}, id)));
      return [s("path", { class: `series s${number}`, d: path.join("") }), ...dots].filter(Boolean);
    });
    const now = s("line", { class: "cursor", x1: sx(cursor), x2: sx(cursor), y1: box.top, y2: box.bottom });
    const changed = turns(answers, versions).map((version) => s("rect", {
      class: "moment", x: sx(versions.indexOf(version)) - 5, y: box.top - 17, width: 10, height: 10, transform: `rotate(45 ${sx(versions.indexOf(version))} ${box.top - 12})`,
    }, s("title", {}, `version ${version}: another answer came first`)));
    const label = [1, 2, 3, 4, 5].map((place) => s("text", { x: box.left - 7, y: sy(place) + 4, "text-anchor": "end" }, String(place)));
    return [parts.filter((_, place) => place !== 0 && place !== 2), label, now, lines, changed];
  });
  const first = new Map(answers.flatMap(rankingOf).map((one) => [one.id, one.added]));
  const from = (id) => {
    const version = first.get(id);
    if (version === undefined || version === versions[0] || !answers.at(-1).ranking.length) return "";
    return version === null ? " (added since the newest version)" : ` (answer added at version ${count(version)})`;
  };
  const legend = h("ul", { class: "legend" }, names.map((id, number) => h("li", {},
    s("svg", { width: 34, height: 12, viewBox: "0 0 34 12", "aria-hidden": "true" },
      s("path", { class: `series s${number}`, d: "M0 6L34 6" }), s("circle", { class: `f${number}`, cx: 17, cy: 6, r: 4 })), h("span", {}, id, h("strong", {}, from(id))))));
  return [h("figure", {}, drawing), legend];
}

// The best route of the nearest topic with its ratings: now as the Topics tell it, of a version by all ratings that it held.
function bestThere(near, gone, isNow) {
  if (!near) return "–";
  const { best_route: best, best_quality: quality, best_rated: rated, best_since: since, succeeded } = near;
  const worse = succeeded ? `; “${succeeded}” was best, and got worse` : "";
  if (!best) return isNow ? `none that is offered has 10 ratings yet${worse}` : "none had 10 ratings yet";
  const figure = `${offered(best, gone)}: ${share(quality)} of ${several(rated, "rating")}`;
  return isNow ? `${figure}${sinceWorse(since)}${worse}` : `${figure} that this version held, older ones less; what changed since then is not in it`;
}

function answerPanel(title, answer, gone, isNow = false) {
  const ranking = rankingOf(answer);
  const near = answer.patterns[0];
  const byRoute = !answer.ranking.length;
  return panel(title,
    ranking.length ? h("p", { class: "answer" }, offered(ranking[0].id, gone)) : h("p", { class: "quiet" }, "No answer was stored yet, and no route was known."),
    byRoute && ranking.length > 0 && h("p", { class: "note" }, "By expected quality alone, without prices and budget: servers may choose a cheaper route."),
    byRoute && ranking.length > 0 && near?.best_route && near.best_route !== ranking[0].id && h("p", { class: "note" }, `“${near.best_route}” has the best ratings of the nearest topic as a whole; of “${ranking[0].id}” more is expected for this very question.`),
    ranking.length > 1 && h("details", {}, h("summary", {}, byRoute ? "Expected quality of the routes" : "Scores of the best"),
      h("ul", { class: "scores" }, ranking.slice(0, SHOWN).map((one) => h("li", {}, h("span", {}, offered(one.id, gone)),
        h("span", { class: "quiet" }, byRoute ? share(one.score) : one.score.toFixed(2)))))),
    h("dl", { class: "pairs" },
      h("dt", {}, term("Nearest topic", "pattern")),
      h("dd", {}, near ? `${near.name ?? near.title ?? "without texts"} (similarity ${near.similarity.toFixed(2)}, asked ${several(near.size, "time")}, quality ${share(near.quality)} of ${several(near.rated, "rating")})` : "none"),
      h("dt", {}, term("Best quality there", "best")), h("dd", {}, bestThere(near, gone, isNow)),
      h("dt", {}, term("Adapter", "adapter")), h("dd", {}, answer.turned < 0.05 ? "leaves the question as it is" : `turns the question by ${answer.turned.toFixed(1)}°`)));
}

// The routes that servers really took by a version, with prices and budget: of the rated questions like this one.
function takenBy(facts, version) {
  const taken = new Map();
  for (const fact of facts) if (fact.decided_by === version) taken.set(fact.route, (taken.get(fact.route) ?? 0) + 1);
  if (!taken.size) return null;
  const times = [...taken].sort((one, other) => other[1] - one[1]).map(([route, number]) => `${route} ${several(number, "time")}`);
  return h("p", { class: "note" }, `With prices and budget, servers took for rated questions like this one by version ${count(version)}: ${times.join(", ")}.`);
}

function factTable(facts, version) {
  const learned = (fact) => Math.max(fact.version ?? -1, fact.feedback_version ?? -1);
  const columns = [
    { name: "Question", heads: true, kind: "words", of: (fact) => fact.query ?? "without text" },
    { name: "Similarity", title: () => term("Similarity", "similarity"), kind: "number", of: (fact) => fact.similarity.toFixed(2) },
    { name: "Answered", kind: "words", of: (fact) => fact.route },
    { name: "Judged", kind: "nowrap", of: (fact) => told(fact) },
    { name: "Right answer", kind: "words", of: (fact) => fact.correction },
    { name: "By", kind: "words", of: (fact) => fact.sources.join(", ") },
    { name: "Learned by version", kind: "number", of: (fact) => (learned(fact) < 0 ? "waits" : count(learned(fact))) },
    { name: "Asked", kind: "nowrap", of: (fact) => h("a", { href: addressOf(fact.trajectory), "aria-label": `The request of ${ago(fact.started_at)}: ${fact.query ?? "without text"}` }, ago(fact.started_at)) },
  ];
  const here = facts.filter((fact) => learned(fact) === version);
  const others = facts.filter((fact) => learned(fact) !== version);
  return [
    here.length ? table(`Learned by version ${version}, nearest first`, columns, here)
      : h("p", { class: "quiet" }, `Version ${version} has learned no feedback about questions like this one.`),
    others.length > 0 && h("details", {}, h("summary", {}, `${several(others.length, "more piece")} of feedback about questions like this one, learned by other versions or not yet`),
      table("Feedback about questions like this one, nearest first", columns, others)),
  ].filter(Boolean);
}

// Servers also try other answers, and near questions need not have the same one: what was really given may differ.
function givenOthers(near, first) {
  const others = new Set(near.map((fact) => fact.route).filter((route) => route && route !== first));
  return others.size ? ` Questions like it were really answered otherwise as well, see “What was really answered” below: they may have been meant otherwise, or have been asked before the first version; and routes are also chosen by price, or tried to learn of them.` : "";
}

function sameFirst(then, versions, near) {
  const none = then.findLastIndex((answer) => firstOf(answer) === undefined);
  if (none === then.length - 1) return "No version that is kept has an answer.";
  return (none < 0 ? "Asked this very question, every version that is kept puts the same answer first."
    : `Asked this very question, every version from ${count(versions[none + 1])} on puts the same answer first; before, no answer was stored and no route was known.`) + givenOthers(near, firstOf(then.at(-1)));
}

export function travel() {
  const place = h("div", { class: "stack", "aria-live": "polite" });
  const field = h("input", { type: "text", id: "query", maxlength: 1000, required: true, placeholder: "for example: where is my parcel?" });
  const button = h("button", { type: "submit", class: "main" }, "Ask every version");

  async function ask(text) {
    const listed = await get("v1/versions", { limit: 50 });
    const versions = kept(listed);
    const body = { text, k: 50 };
    const parts = [];
    for (let start = 0; start < versions.length; start += AT_ONCE) parts.push(versions.slice(start, start + AT_ONCE));
    const [facts, { routes: changes }, ...found] = await Promise.all([
      search("v1/dashboard/facts", { text }), get("v1/dashboard/changes", { days: LATELY }), ...parts.map((part) => search("v1/dashboard/answers", { ...body, versions: part })),
    ]);
    const then = found.flatMap((part) => part.then);
    const { now, not_offered: gone } = found[0];
    if (now.ranking.length) for (const one of then) one.routes = []; // a version without stored answers gave none
    const near = facts.facts.filter((fact) => fact.similarity >= NEAR);
    const answers = [...then, now];
    const graph = h("div", { class: "stack" });
    const shown = h("div", { class: "pair" });
    const moved = h("div", {});
    const taken = h("div", {});
    const select = (version) => {
      const here = versions.indexOf(version);
      graph.replaceChildren(...bump(answers, versions, here));
      taken.replaceChildren(...[takenBy(near, version)].filter(Boolean));
      shown.replaceChildren(answerPanel(`Version ${version} answers`, then[here], gone), answerPanel("Now, with recent feedback", now, gone, true));
      moved.replaceChildren(...factTable(near, version));
    };
    const changed = turns(then, versions);
    const slider = versionSlider(listed, select);
    const go = (version) => {
      slider.show(version);
      select(version);
    };
    const before = (version) => firstOf(then[versions.indexOf(version) - 1]);
    const instead = (version) => `Version ${count(version)}: “${firstOf(then[versions.indexOf(version)]) ?? "no answer"}” came first instead of “${before(version)}”.`;
    const chips = changed.length
      ? [h("p", { class: "chips" }, "◆ Another answer came first from version", changed.map((version) => h("button", { type: "button", onclick: () => go(version) }, count(version)))),
        h("ul", { class: "note" }, changed.slice(-SHOWN).map((version) => h("li", {}, instead(version)))),
        h("p", { class: "note" }, "What a version changed for the worse is undone under ", h("a", { href: "#fleet" }, "Versions and servers"), ": go back to the version before it.")]
      : [h("p", { class: "note" }, sameFirst(then, versions, near))];
    place.replaceChildren(panel("Places of the answers", graph, ...chips, slider), shown, taken,
      panel("What was really answered", ...givenBefore(near, listed.versions, changes)), panel("Feedback that moved it", moved));
    const learned = near.map((fact) => Math.max(fact.version ?? -1, fact.feedback_version ?? -1)).filter((version) => versions.includes(version));
    const first = changed.at(-1) ?? (learned.length ? Math.max(...learned) : versions.at(-1));
    go(first);
  }

  async function submit() {
    button.disabled = true;
    try {
      await ask(field.value.trim());
      keep(field.value.trim());
    } catch (error) {
      place.replaceChildren(problem(error));
    } finally {
      button.disabled = false;
    }
  }

  const form = h("form", {
    class: "row",
    onsubmit: (event) => {
      event.preventDefault();
      submit();
    },
  }, h("label", { class: "sr", for: "query" }, "Question"), field, button);

  // The question stands in the address, so that it can be sent to somebody.
  function keep(text) {
    const url = new URL(location.href);
    url.searchParams.set("question", text);
    history.replaceState(null, "", url);
  }

  return {
    async content() {
      const reason = await wordless();
      if (reason) return [h("h1", {}, "Time travel"), h("p", { class: "panel" }, reason)];
      field.value = new URLSearchParams(location.search).get("question") ?? "";
      if (field.value) submit();
      return [h("h1", {}, "Time travel"),
        h("p", { class: "note" }, "Ask a question of every version that is kept: the answer of each, out of those that were stored when it was made, and the feedback that changed it. Routes are shown by expected quality alone: what they cost and the budget are left out, so servers may choose cheaper ones."), form, place];
    },
  };
}

