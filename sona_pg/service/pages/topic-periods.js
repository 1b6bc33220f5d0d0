// Topics in the chosen period: the ratings of its days, and the change against as many days before.

import { get } from "./api.js";
import { intervalColumn, joined } from "./columns.js";
import { h, problem, table } from "./elements.js";
import { count, range, several, share } from "./format.js";
import { change, isClear, isOneOfMany } from "./quality-charts.js";
import { chosenPeriod, daysOf, isChosen } from "./range.js";
import { term } from "./terms.js";

const LEADING = 12; // rows that are shown at once

export const points = (value) => `${value < 0 ? "−" : "+"}${several(Math.round(100 * Math.abs(value)), "point")}`;

// Beyond chance or not, in a word: with all topics of the period compared, one of three ratings is not.
function trend({ change: known }) {
  if (!known) return null;
  const [state, words] = !isClear(known) ? ["", isOneOfMany(known) ? `${known.difference > 0 ? "better" : "worse"}, perhaps by chance` : "no clear change"] : known.difference > 0 ? ["good", "▲ better"] : ["bad", "▼ worse"];
  return h("span", { class: state && `state arrow ${state}` }, `${words}: ${points(known.difference)}`);
}

// Routes that changed in one topic alone: neither the topic's mean nor the route's own need show it.
export const routeChanges = ({ route_changes: found, more_route_changes: more, sampled }) => (found.length === 0 ? [] : [
  h("ul", { class: "changes" }, found.map((one) => h("li", {}, h("strong", {}, `${one.quality < one.before_quality ? "▼" : "▲"} ${one.sentence}`)))),
  h("p", { class: "note" }, `Each answer or model was compared in each topic, large or small, in which it has ten ratings in both periods, pattern by pattern. If every rating is of its own, by chance alone one page of 20 at most tells any; one person who rates much in the same way counts as many.${more ? ` The clearest are told; ${several(more, "other")} changed as well.` : ""}${sampled ? " Counted are the ratings of a sample: there are too many to look at them all." : ""}`),
]);

// How a route went in a topic in the period and before it; nothing where it is rated in neither.
export function routeInPeriod(one) {
  if (!one) return null;
  const before = one.before_rated ? `${share(one.before_quality)} of ${count(one.before_rated)} before it` : "not rated before it";
  return one.rated ? `in the period ${share(one.quality)} of ${count(one.rated)}, ${before}` : `in the period not rated, ${before}`;
}

// A topic's figures of the period, in a sentence.
export function inPeriod(one, days) {
  if (!one?.rated) return "not rated";
  const against = change({ change: one.change, before: { quality: one.before_quality, rated: one.before_rated } }, days);
  return `${share(one.quality)} (${range(one.low, one.high)}) of ${several(one.rated, "rating")}, ${count(one.bad)} bad${against ? `; ${against}` : ""}`;
}

function drawn(found, topicOf, onChoose) {
  const known = found.topics.filter((one) => topicOf(one.pattern));
  const rated = known.filter((one) => one.rated);
  const columns = [
    { name: "Topic", heads: true, kind: "short", of: (one) => h("button", { type: "button", class: "link", "data-id": one.pattern, "aria-pressed": "false", onclick: () => onChoose(one.pattern) }, topicOf(one.pattern)) },
    { name: "Rated bad", title: () => term("Rated bad", "wrong"), kind: "number", ...joined((one) => `${count(one.bad)} of ${count(one.rated)}`, { "Rated bad": (one) => count(one.bad), Rated: (one) => count(one.rated) }) },
    { name: "Quality", kind: "number", of: (one) => share(one.quality) },
    { ...intervalColumn(), title: () => term("Likely between", "interval") },
    { name: "Against the days before", kind: "words", of: trend },
  ];
  if (!rated.length) return [...routeChanges(found), h("p", { class: "quiet" }, `Nothing asked from ${daysOf(found)} is rated.`)];
  const more = rated.slice(LEADING);
  return [
    ...routeChanges(found),
    table(`Most bad ratings first, ${daysOf(found)}`, columns, rated.slice(0, LEADING)),
    more.length > 0 && h("details", {}, h("summary", {}, `${several(more.length, "topic")} more`), table("The other topics of the period", columns, more)),
    h("p", { class: "note" }, `Each rating counts for the topic of the live version that is nearest to its question${found.sampled ? "; of so many, those of a sample" : ""}. An arrow marks what is beyond the chance of all topics compared here: chance alone marks one on one page of 20 at most. “Perhaps by chance” would be beyond chance if it were the only one.`),
  ].filter(Boolean);
}

// Fills `place` with the topics of the period; they are told to `onRead` by their ids, with the days.
export async function fillPeriod(place, topics, topicOf, onChoose, onRead) {
  const asked = chosenPeriod();
  try {
    const found = await get("v1/dashboard/topics", { ...asked, topics });
    if (!isChosen(asked)) return;
    onRead(new Map(found.topics.map((one) => [one.pattern, one])), asked.days);
    place.replaceChildren(...drawn(found, topicOf, onChoose));
  } catch (error) {
    place.replaceChildren(problem(error));
  }
}
