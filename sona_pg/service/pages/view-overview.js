// Overview: figures of the space, quality over time and by version, and feedback as it comes.

import { get } from "./api.js";
import { curve, QUALITY } from "./charts.js";
import { asTable, h, panel, problem } from "./elements.js";
import { ago, at, compact, count, duration, range, several, share, told } from "./format.js";

const ABOUT = "A trajectory is one question with what answered it. Ratings, corrections and costs that come back are its feedback. "
  + "A cycle of learning makes the next version of both, by which every server then answers.";

const tile = (name, value, small) => h("div", {}, h("dt", {}, name), h("dd", {}, value, h("small", {}, small)));
const uncounted = () => h("dl", { class: "tiles" },
  ["Quality", "Version", "Trajectories", "Feedback", "Unlearned", "Servers"].map((name) => tile(name, "…", "being counted")));

function tiles(stats, learning) {
  const totals = stats.totals ?? {};
  const last = learning?.points.filter((point) => point.rated).at(-1);
  const quality = last ? `while version ${last.version} was live (${last.rated} ratings)` : learning ? "nothing is rated yet" : "being counted";
  return h("dl", { class: "tiles" },
    tile("Quality", last ? share(last.quality) : "–", quality),
    tile("Version", count(stats.version), `${duration(stats.version_age_seconds)} old, ${several(stats.patterns, "pattern")}`),
    tile("Trajectories", compact(totals.trajectories ?? 0), "recorded, all servers"),
    tile("Feedback", compact(totals.feedback ?? 0), "facts"),
    tile("Unlearned", compact(totals.waiting ?? 0), "wait for the next cycle"),
    tile("Servers", count(totals.servers ?? 0), stats.database === "answers" ? "the database answers" : "the database is away"));
}

function overTime(points) {
  const drawn = points.map((point) => {
    const middle = (Date.parse(point.start) + Date.parse(point.end)) / 2;
    return {
      x: middle, y: point.quality, low: point.low, high: point.high,
      title: `${at(middle)}: ${share(point.quality)} of ${point.rated} rated, ${range(point.low, point.high)}`,
    };
  });
  if (!drawn.some((point) => point.y !== null)) return [h("p", { class: "quiet" }, "No rated trajectory in the last 30 days.")];
  const domain = [Date.parse(points[0].start), Date.parse(points.at(-1).end)];
  return [
    h("figure", {}, curve("Quality over time", drawn, { x: { domain, name: "time", kind: "time" }, y: QUALITY, dots: drawn.length <= 60 })),
    h("p", { class: "note" }, "Mean of a sample of each span of time, with its 95 % interval (Wilson)."),
    asTable("Quality over time", [
      { name: "From", heads: true, kind: "when", of: (point) => at(point.start) },
      { name: "Quality", kind: "number", of: (point) => share(point.quality) },
      { name: "95 % interval", kind: "nowrap", of: (point) => range(point.low, point.high) },
      { name: "Rated", kind: "number", of: (point) => count(point.rated) },
    ], points.filter((point) => point.trajectories)),
  ];
}

function byVersion(points) {
  const drawn = points.map((point) => ({
    x: point.version, y: point.quality, low: point.low, high: point.high, mark: point.origin === "rollback",
    title: `version ${point.version}: ${share(point.quality)} of ${point.rated} rated, ${range(point.low, point.high)}`,
  }));
  if (!drawn.some((point) => point.y !== null)) return [h("p", { class: "quiet" }, "No rated trajectory yet.")];
  const domain = [drawn[0].x, Math.max(drawn.at(-1).x, drawn[0].x + 1)];
  return [
    h("figure", {}, curve("Learning curve by version", drawn, { x: { domain, name: "version", kind: "whole" }, y: QUALITY })),
    h("p", { class: "note" }, "Mean quality of what was recorded while each version was live (a sample), with its 95 % interval. A dotted line marks a rollback."),
    asTable("Learning curve", [
      { name: "Version", heads: true, kind: "number", of: (point) => count(point.version) },
      { name: "Made by", of: (point) => point.origin },
      { name: "Live from", kind: "when", of: (point) => at(point.start) },
      { name: "Quality", kind: "number", of: (point) => share(point.quality) },
      { name: "95 % interval", kind: "nowrap", of: (point) => range(point.low, point.high) },
      { name: "Rated", kind: "number", of: (point) => count(point.rated) },
      { name: "Its cycle read", kind: "number", of: (point) => count(point.learned) },
    ], points),
  ];
}

function facts(rows) {
  if (!rows.length) return h("p", { class: "quiet" }, "No feedback yet. It appears here as it comes.");
  return h("ul", { class: "facts" }, rows.map((fact) => h("li", {},
    h("span", { class: "told" }, told(fact)),
    h("span", {}, fact.query ?? h("span", { class: "quiet" }, "a query without text"), " ",
      h("span", { class: "quiet" }, [
        fact.correction ? `→ ${fact.correction}` : fact.route ? `→ ${fact.route}` : "", ` · ${fact.source} · ${ago(fact.recorded_at)}`,
      ].join(""))))));
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
  const empty = h("p", { class: "hidden" }, "Nothing is recorded in this space yet. ", h("a", { href: "demo" }, "Begin in the chat"),
    ", choose another space above, or have a server record.");

  async function fillFigures(asked = get("v1/dashboard/learning")) {
    const stats = await get("v1/stats");
    if (title.textContent === "Overview") figures.replaceChildren(tiles(stats, null));
    title.textContent = `How ${stats.space} goes`;
    asked.then((learning) => figures.replaceChildren(tiles(stats, learning)), () => {});
    empty.classList.toggle("hidden", (stats.totals?.trajectories ?? 0) > 0);
  }
  function fillCurves() {
    const learning = get("v1/dashboard/learning");
    curves.replaceChildren(
      filledLater("Quality over time", get("v1/dashboard/quality"), (quality) => overTime(quality.points)),
      filledLater("Quality by version", learning, (known) => byVersion(known.points)));
    return fillFigures(learning);
  }
  async function fillFacts() {
    live.replaceChildren(facts((await get("v1/dashboard/feedback", { limit: 12 })).facts));
  }
  return {
    async content() {
      fillCurves().catch((error) => figures.replaceChildren(problem(error))); // a large store is counted for a second: not waited for
      await fillFacts();
      return [title, h("p", { class: "note" }, ABOUT), empty, figures, curves, panel("Latest feedback", live)];
    },
    onVersion: fillCurves,
    onRecorded: () => Promise.all([fillFacts(), fillFigures()]),
  };
}
