// Lessons of the demo: sample questions to teach by, others held out to measure with, and the curve of that.
// A space that is not the demo's own gets nothing of them unless its user confirms it.

import { asset, chosenSpace, get, post, search } from "./api.js";
import { curve, QUALITY } from "./charts.js";
import { asTable, h } from "./elements.js";
import { count, fine, several, share } from "./format.js";
import { byVersion } from "./quality-charts.js";
import { confirmed } from "./shell.js";

const AT_ONCE = 20;
const NEWEST = 200; // facts among which those of an earlier visit are looked for
const CHECKED = 6; // questions at the same time

async function each(items, ask) {
  const found = new Array(items.length);
  let next = 0;
  await Promise.all(Array.from({ length: CHECKED }, async () => {
    while (next < items.length) {
      const place = next++;
      found[place] = await ask(items[place]);
    }
  }));
  return found;
}

const mixed = (rows) => { // the same order each time, topics apart
  const most = Math.max(...rows.map((row) => row.length));
  return Array.from({ length: most }, (_, place) => rows.map((row) => row[place]).filter(Boolean)).flat();
};

export function lessons() {
  const places = { curve: document.getElementById("curve"), teach: document.getElementById("teach") };
  const said = h("p", { class: "good", role: "status" });
  let state = null;
  const onTaught = (told) => (said.textContent = told);

  // Sample questions that the newest facts of the space correct: taught in an earlier visit.
  async function taughtBefore() {
    const { facts } = await get("v1/dashboard/feedback", { limit: NEWEST });
    return new Set(facts.filter((fact) => fact.correction !== null).map((fact) => fact.query));
  }

  async function knownAnswers() {
    const text = "hello, where is my order?";
    const { now } = await search("v1/dashboard/answers", { text, k: 1 });
    return now.ranking.length ? (await post("v1/rank", { text, k: 1000 })).ids : []; // which refuses to rank nothing
  }

  async function start() {
    const [told, ids, space, before, { retired }] = await Promise.all([
      asset("lessons.json"), knownAnswers(), thisSpace(), taughtBefore(), get("v1/candidates/retired"),
    ]);
    const stored = new Set([...ids, ...retired.map(({ id }) => id)]);
    const fits = told.answers.every((row) => stored.has(row.answer));
    const own = fits ? 2 * told.answers.length >= ids.length : !ids.length && !space.trajectories;
    state = {
      told, ids, fits, space, mayTeach: own || state?.space.name === space.name && state.mayTeach, points: [], judged: 0, done: 0,
      teach: mixed(told.answers.map((row) => row.lessons.map((text) => ({ text, right: row.answer })))).filter(({ text }) => !before.has(text)),
      held: told.answers.flatMap((row) => row.held_out.map((text) => ({ text, right: row.answer }))),
    };
    fillList();
    await refresh();
    controls();
  }

  async function thisSpace() {
    const { spaces, scopes } = await get("v1/spaces");
    const name = chosenSpace() || (await get("v1/stats")).space;
    return { name, trajectories: 0, ...spaces.find((space) => space.name === name), scopes };
  }

  // Whether samples may go into the space: it is the demo's own, or its user has confirmed it.
  async function mayTeach(what) {
    const { name, trajectories } = state.space;
    state.mayTeach ||= await confirmed(`Samples into “${name}”?`,
      `The space “${name}” has ${several(trajectories, "request")} and ${several(state.ids.length, "answer")} of its own. ${what} There is no undo here.`,
      `Yes, into “${name}”`);
    return state.mayTeach;
  }

  function fillList() {
    document.getElementById("answers")?.remove();
    document.body.append(h("datalist", { id: "answers" }, state.ids.map((id) => h("option", { value: id }))));
  }

  async function refresh() {
    if (!state.fits) {
      const [known, { now }] = await Promise.all([get("v1/dashboard/learning"), get("v1/dashboard/figures", { days: 3650 })]);
      places.curve.replaceChildren(...byVersion(known), ...(now.rated ? [h("p", { class: "note" }, `The whole space: ${fine(now.quality)} of ${several(now.rated, "rating")}.`)] : []));
      return;
    }
    const right = await each(state.held, async ({ text, right }) => (await post("v1/rank", { text, k: 1 })).ids[0] === right);
    const y = right.filter(Boolean).length / right.length;
    const apart = 1.96 * Math.sqrt((y * (1 - y)) / right.length);
    const point = {
      x: state.judged, y, low: Math.max(0, y - apart), high: Math.min(1, y + apart),
      title: `after ${state.judged} judgements: ${share(y)}`,
    };
    state.points = state.points.filter((known) => known.x < state.judged); // a judgement may have been taken back
    state.points.push(point);
    draw(`Right answers on a test of ${state.held.length} questions, which nobody teaches it. Now ${share(y)} of them.`);
  }

  function draw(note) {
    const { points } = state;
    const name = "judgements since this page was opened";
    const most = Math.max(points.at(-1).x, 1);
    places.curve.replaceChildren(
      h("figure", {}, curve(name, points, { x: { domain: [points[0].x, most], name, kind: "whole" }, y: { ...QUALITY, name: "right answers" }, height: 200 })),
      h("p", { class: "note" }, note),
      asTable("Curve", [
        { name, heads: true, kind: "number", of: (point) => count(point.x) }, { name: "Right answers", kind: "number", of: (point) => share(point.y) },
      ], points));
  }

  function controls() {
    const left = state.teach.length - state.done;
    const next = Math.min(AT_ONCE, left);
    const busy = (work) => async (event) => {
      event.target.disabled = true;
      try {
        await work();
      } catch (error) {
        onTaught(error.message);
      }
      controls();
    };
    const fill = h("button", { type: "button", onclick: busy(async () => {
      if (!await mayTeach(`The ${state.told.answers.length} sample answers of a shop’s help desk would compete with them.`)) return;
      const answers = state.told.answers.map((row) => row.answer);
      await post("v1/candidates", { ids: answers, texts: answers });
      await start();
    }) }, `Store the ${state.told.answers.length} sample answers in this space`);
    const lesson = h("button", { type: "button", disabled: !left, onclick: busy(teachSome) },
      left ? `Teach it ${next} sample questions (${left} left)` : "All sample questions are taught");
    const learn = h("button", { type: "button", onclick: busy(async () => {
      const made = await post("v1/learn");
      onTaught(made.learned ? `Version ${made.version}: learned from ${several(made.trajectories, "question")} and ${several(made.feedback, "rating")}` : "Nothing new to learn from");
      await refresh();
    }) }, "Learn now");
    const buttons = [may("record") && (!state.fits || may("learn")) && (state.fits ? lesson : fill), may("learn") && learn];
    places.teach.replaceChildren(h("div", { class: "row" }, buttons), said,
      h("p", { class: "note" }, "Feedback counts at once. Learning makes it last, in a new version; it runs by itself once enough feedback waits. ",
        h("a", { href: "./#travel" }, "See how versions answer"), "."));
  }

  async function teachSome() {
    if (!await mayTeach("Sample questions of a shop’s help desk would be recorded and learned in it.")) return;
    const rows = state.teach.slice(state.done, state.done + AT_ONCE);
    for (const { text, right } of rows) { // one after another, as people would: each counts for those after it
      const ranking = await post("v1/rank", { text, k: 5 });
      const { id } = await post("v1/trajectories", { text, ranking, route: ranking.ids[0], context: ["chat"] });
      await post("v1/feedback", { trajectory: id, correction: right });
    }
    state.done += rows.length;
    state.judged += rows.length;
    const made = await post("v1/learn");
    onTaught(`Corrected on ${rows.length} questions; version ${made.version} has learned them`);
    await refresh();
  }

  const may = (scope) => state.space.scopes.includes(scope);

  // Offer an answer as the right one, or no more.
  function offer(id, isGiven) {
    state.ids = [...state.ids.filter((known) => known !== id), ...(isGiven ? [id] : [])];
    fillList();
  }

  return { start, refresh, may, offer, judged: (more) => (state.judged += more), answers: () => state?.ids ?? [] };
}
