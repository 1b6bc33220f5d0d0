// Overview: figures of the space, quality over time and by version, and feedback as it comes.

import { get } from "./api.js";
import { h, panel, problem, rounded } from "./elements.js";
import { compact, count, duration, fine, several } from "./format.js";
import { latestFeedback } from "./latest-feedback.js";
import { labelsPanel, pleasedNote, readLabels } from "./labels-in-period.js";
import { compareSpaces } from "./compared-spaces.js";
import { changeList } from "./quality-changes.js";
import { byVersion, change, overTime } from "./quality-charts.js";
import { chosenPeriod, daysOf, isChosen, nameOf, rangeChoice } from "./range.js";
import { finder } from "./request-finder.js";
import { term } from "./terms.js";
import { routeChanges } from "./topic-periods.js";
import { traffic } from "./traffic.js";

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

function qualityTile(figures, asked) {
  if (!figures) return tile("Quality", "…", "being counted", "quality");
  const name = `Quality, ${nameOf(asked, figures)}`;
  const missing = figures.missing_days ? ` ${several(figures.missing_days, "day is", "days are")} not counted yet.` : "";
  const { quality, rated } = figures.now;
  if (quality === null && missing) return tile(name, "…", `${missing.trim()} The maintainer of the store counts them within minutes.`, "quality");
  if (quality === null) return tile(name, "–", `nothing is rated, ${daysOf(figures)}.${missing}`, "quality");
  const told = ofChat(figures);
  return tile(name, fine(quality), [`mean of ${several(rated, "rating")}, ${daysOf(figures)}.${missing}`, h("br"), change(figures, asked.days), told && h("br"), told], "quality");
}

function tiles(stats, figures, asked) {
  const totals = stats.totals ?? {};
  return h("dl", { class: "tiles" },
    qualityTile(figures, asked),
    tile("Version", count(stats.version), `${duration(stats.version_age_seconds)} old, ${several(stats.patterns, "topic")}`, "version"),
    tile("Requests", shortly(totals.trajectories), "recorded so far, all servers", "trajectory"),
    tile("Feedback", shortly(figures?.feedback ?? totals.feedback), "told after the answer; other ratings came with it", "feedback"),
    tile("Not learned yet", shortly(totals.waiting), "records that wait for learning", "waiting"),
    tile("Servers", count(totals.servers ?? 0), stats.database === "answers" ? "the database answers" : "the database is away", "server"));
}

// A panel whose content comes later; what went wrong with it is said in its place.
function filledLater(title, asked, draw) {
  const place = h("div", { class: "flow" }, h("p", { class: "quiet" }, "…"));
  asked.then((answer) => place.replaceChildren(...draw(answer)), (error) => place.replaceChildren(problem(error)));
  return panel(title, place);
}

export function overview() {
  const facts = latestFeedback();
  const title = h("h1", {}, "Overview");
  const figures = h("div", {}, uncounted());
  const warned = h("div", {});
  const curves = h("div", { class: "pair" });
  const reasons = h("div", {});
  const ofTopics = h("div", {});
  const requests = h("div", { class: "flow" }, h("p", { class: "quiet" }, "…"));
  const labels = h("div", {});
  const spaces = h("div", {});
  const empty = h("p", { class: "hidden" }, "Nothing is recorded in this space yet. ", h("a", { href: "demo" }, "Begin in the chat"),
    ", choose another space above, or have a server record.");
  let period = null; // its figures, as read last
  let readAt = 0;
  let timer = null;

  async function fillFigures() {
    const stats = await get("v1/stats");
    title.textContent = `How ${stats.space} is doing`;
    empty.classList.toggle("hidden", (stats.totals?.trajectories ?? 0) > 0);
    figures.replaceChildren(tiles(stats, period, chosenPeriod()));
    const pause = readAt + PAUSE - Date.now();
    if (pause > 0) timer ??= setTimeout(() => fillFigures().catch(() => {}), pause);
    else {
      clearTimeout(timer);
      [timer, readAt] = [null, Date.now()];
      const asked = chosenPeriod();
      const found = await get("v1/dashboard/figures", asked);
      if (!isChosen(asked)) return;
      period = found;
      figures.replaceChildren(tiles(stats, period, asked));
      requests.replaceChildren(...traffic(period));
    }
  }
  function fillCurves() {
    const learning = get("v1/dashboard/learning");
    const asked = chosenPeriod();
    const changes = get("v1/dashboard/changes", asked);
    const users = readLabels();
    labels.replaceChildren(labelsPanel(users));
    warned.replaceChildren(pleasedNote(users));
    compareSpaces(spaces);
    reasons.replaceChildren(filledLater("When it changed, and with what", changes, (found) => changeList(found, asked)));
    fillTopics(asked).catch((error) => ofTopics.replaceChildren(problem(error)));
    curves.replaceChildren(
      filledLater("Quality over time", Promise.all([get("v1/dashboard/quality", asked), learning, changes]),
        ([quality, known, found]) => overTime(quality, known.events, found.changes)),
      filledLater("Quality by version", learning, byVersion));
    [period, readAt] = [null, 0];
    return fillFigures();
  }
  // Said only where there is something to say: most periods have nothing of this.
  async function fillTopics(asked) {
    const found = await get("v1/dashboard/topics", asked);
    if (!isChosen(asked)) return;
    const told = routeChanges(found);
    ofTopics.replaceChildren(...(told.length ? [panel("Changed for one kind of question alone", ...told, h("p", {}, h("a", { href: "#patterns" }, "See all topics")))] : []));
  }
  const fill = () => fillCurves().catch((error) => figures.replaceChildren(problem(error)));
  return {
    async content() {
      fill(); // a large store is counted for a second: not waited for
      await facts.fill();
      return [title, h("p", { class: "note" }, ABOUT), empty, rangeChoice(fill), figures, warned, curves, panel("Requests over time", requests), reasons, ofTopics, labels, spaces, panel("Latest feedback", facts.place), finder()];
    },
    onVersion: fill,
    onRecorded: () => Promise.all([facts.fill(), fillFigures()]),
  };
}
