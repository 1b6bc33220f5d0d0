// Overview: figures of the space, quality over time and by version, and feedback as it comes.

import { get } from "./api.js";
import { h, panel, problem, rounded } from "./elements.js";
import { ago, at, compact, cost, costsIn, count, day, duration, fine, madeAt, several, share, told } from "./format.js";
import { labelsPanel } from "./labels-in-period.js";
import { changeList } from "./quality-changes.js";
import { byVersion, change, overTime } from "./quality-charts.js";
import { chosenDays, daysOf, nameOf, rangeChoice } from "./range.js";
import { term } from "./terms.js";

const ABOUT = "A request is one question with what answered it. The ratings, corrections and costs that come back are its feedback. "
  + "Learning turns both into the next version, by which every server then answers.";
const PAUSE = 10000; // ms between two readings of the period's figures while records come in

const tile = (name, value, small, word) => h("div", {}, h("dt", {}, word ? term(name, word) : name), h("dd", {}, value, h("small", {}, small)));
const shortly = (value = 0) => rounded(compact(value), count(value));
const uncounted = () => h("dl", { class: "tiles" },
  ["Quality", "Version", "Requests", "Feedback", "Not learned yet", "Servers"].map((name) => tile(name, "…", "being counted")));

// Whoever tries a space out in the chat rates in it like a user: the figure without these ratings stands beside it.
function ofChat({ now, without_chat: others }) {
  const chat = others ? now.rated - others.rated : 0;
  if (!chat) return null;
  return others.quality === null ? "All of it was rated in the chat." : `${several(chat, "rating")} of it in the chat; ${fine(others.quality)} without.`;
}

function qualityTile(figures, days) {
  if (!figures) return tile("Quality", "…", "being counted", "quality");
  const name = `Quality, ${nameOf(days, figures)}`;
  const missing = figures.missing_days ? ` ${several(figures.missing_days, "day is", "days are")} not counted yet.` : "";
  const { quality, rated } = figures.now;
  if (quality === null && missing) return tile(name, "…", `${missing.trim()} The maintainer of the store counts them within minutes.`, "quality");
  if (quality === null) return tile(name, "–", `nothing is rated, ${daysOf(figures)}.${missing}`, "quality");
  const told = ofChat(figures);
  return tile(name, fine(quality), [`mean of ${several(rated, "rating")}, ${daysOf(figures)}.${missing}`, h("br"), change(figures, days), told && h("br"), told], "quality");
}

function tiles(stats, figures, days) {
  const totals = stats.totals ?? {};
  return h("dl", { class: "tiles" },
    qualityTile(figures, days),
    tile("Version", count(stats.version), `${duration(stats.version_age_seconds)} old, ${several(stats.patterns, "topic")}`, "version"),
    tile("Requests", shortly(totals.trajectories), "recorded so far, all servers", "trajectory"),
    tile("Feedback", shortly(totals.feedback), "told after the answer; other ratings came with it", "feedback"),
    tile("Not learned yet", shortly(totals.waiting), "records that wait for learning", "waiting"),
    tile("Servers", count(totals.servers ?? 0), stats.database === "answers" ? "the database answers" : "the database is away", "server"));
}

function gave(fact) {
  const given = fact.route ? `gave “${fact.route}”` : "";
  const right = fact.correction ? (fact.correction === fact.route ? "which is right" : `right is “${fact.correction}”`) : "";
  return [given, right].filter(Boolean).join(", ");
}

const LATER = 86400000; // milliseconds after which the day of the answer is told as well

function toldWhen(fact) {
  const answered = madeAt(fact.trajectory);
  const isLater = Date.parse(fact.recorded_at) - answered > LATER;
  return isLater ? `recorded ${ago(fact.recorded_at)}, of an answer of ${day(answered)}` : ago(fact.recorded_at);
}

function facts(rows) {
  if (!rows.length) return h("p", { class: "quiet" }, "Nothing was told after an answer lately. It appears here as it comes; ratings that come with the answer itself count in the figures above.");
  return h("ul", { class: "facts" }, rows.map((fact) => h("li", {},
    h("span", { class: "told" }, told(fact)),
    h("span", {}, fact.query ?? h("span", { class: "quiet" }, "a question without text"), " ",
      h("span", { class: "quiet" }, [
        gave(fact), ` · ${fact.source}${fact.in_chat ? " in the chat" : ""} · ${toldWhen(fact)}`,
      ].join(""))))));
}

const details = (one) => [
  one.quality === null ? "not rated" : `quality ${share(one.quality)}`,
  one.latency === null ? "" : duration(one.latency), one.cost === null ? "" : cost(one.cost), one.context.join(", "),
].filter(Boolean).join(" · ");

const found = (one) => h("li", {},
  h("span", { class: "told" }, one.imported_id ?? "a request"),
  h("span", {}, one.query ?? "a question without text", one.route ? ` – answered with “${one.route}”` : "", " ",
    h("span", { class: "quiet" }, `${at(madeAt(one.trajectory))} · ${details(one)}`),
    one.feedback.map((fact) => h("span", { class: "quiet" }, ` · ${fact.source}: ${[told(fact), gave(fact)].filter(Boolean).join(", ")}`))));

// Requests by the id that they had in an imported file, or by their own.
function finder() {
  const input = h("input", { id: "find-request", type: "search", maxlength: "200", required: true, placeholder: "T-1042" });
  const place = h("div", { role: "status" });
  async function find(event) {
    event.preventDefault();
    const id = input.value.trim();
    if (!id) return;
    try {
      const { requests, cost_unit } = await get("v1/dashboard/requests", { find: id });
      costsIn(cost_unit);
      place.replaceChildren(requests.length ? h("ul", { class: "facts" }, requests.map(found)) : h("p", { class: "quiet" }, `No request of this space has the id “${id}”.`));
    } catch (error) {
      place.replaceChildren(problem(error));
    }
  }
  return panel("Find a request", h("form", { class: "row", onsubmit: find },
    h("label", { for: "find-request" }, "Its id in the file that was imported, or its own"), " ", input, " ", h("button", {}, "Find")), place);
}

// A panel whose content comes later; what went wrong with it is said in its place.
function filledLater(title, asked, draw) {
  const place = h("div", { class: "flow" }, h("p", { class: "quiet" }, "…"));
  asked.then((answer) => place.replaceChildren(...draw(answer)), (error) => place.replaceChildren(problem(error)));
  return panel(title, place);
}

export function overview() {
  const live = h("div", {});
  const title = h("h1", {}, "Overview");
  const figures = h("div", {}, uncounted());
  const curves = h("div", { class: "pair" });
  const reasons = h("div", {});
  const labels = h("div", {});
  const empty = h("p", { class: "hidden" }, "Nothing is recorded in this space yet. ", h("a", { href: "demo" }, "Begin in the chat"),
    ", choose another space above, or have a server record.");
  let period = null; // its figures, as read last
  let readAt = 0;
  let timer = null;

  async function fillFigures() {
    const stats = await get("v1/stats");
    title.textContent = `How ${stats.space} is doing`;
    empty.classList.toggle("hidden", (stats.totals?.trajectories ?? 0) > 0);
    figures.replaceChildren(tiles(stats, period, chosenDays()));
    const pause = readAt + PAUSE - Date.now();
    if (pause > 0) timer ??= setTimeout(() => fillFigures().catch(() => {}), pause);
    else {
      clearTimeout(timer);
      [timer, readAt] = [null, Date.now()];
      const days = chosenDays();
      const found = await get("v1/dashboard/figures", { days });
      if (days !== chosenDays()) return;
      period = found;
      figures.replaceChildren(tiles(stats, period, days));
    }
  }
  function fillCurves() {
    const learning = get("v1/dashboard/learning");
    const changes = get("v1/dashboard/changes", { days: chosenDays() });
    labels.replaceChildren(labelsPanel());
    reasons.replaceChildren(filledLater("When it changed, and with what", changes, (found) => changeList(found.changes, found.earlier)));
    curves.replaceChildren(
      filledLater("Quality over time", Promise.all([get("v1/dashboard/quality", { days: chosenDays() }), learning, changes]),
        ([quality, known, found]) => overTime(quality, known.events, found.changes)),
      filledLater("Quality by version", learning, byVersion));
    [period, readAt] = [null, 0];
    return fillFigures();
  }
  async function fillFacts() {
    live.replaceChildren(facts((await get("v1/dashboard/feedback", { limit: 12 })).facts));
  }
  const fill = () => fillCurves().catch((error) => figures.replaceChildren(problem(error)));
  return {
    async content() {
      fill(); // a large store is counted for a second: not waited for
      await fillFacts();
      return [title, h("p", { class: "note" }, ABOUT), empty, rangeChoice(fill), figures, curves, reasons, labels, panel("Latest feedback", live), finder()];
    },
    onVersion: fill,
    onRecorded: () => Promise.all([fillFacts(), fillFigures()]),
  };
}
