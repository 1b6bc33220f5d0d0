// Since when quality is another, and what it changed with: in sentences, with the parts as a table.

import { get } from "./api.js";
import { asTable, h, problem } from "./elements.js";
import { at, count, datesOf, madeBy, several, share } from "./format.js";
import { help } from "./terms.js";

const WORDS = { route: "answer", topic: "topic", label: "label", user: "user", version: "version" };
const points = (value) => `${value < 0 ? "−" : "+"}${(100 * Math.abs(value)).toFixed(1)}`;
const day = datesOf({ dateStyle: "medium", timeZone: "UTC" });
const happened = (event) => (event.kind === "erasure" ? `an erasure of ${several(event.trajectories ?? 0, "trajectory", "trajectories")}` : `version ${event.version}, made by ${madeBy(event.kind)}`);

// Marks of a chart over time.
export const changeMarks = (changes) => changes.map((change) => ({
  x: Date.parse(change.day), name: `${change.difference < 0 ? "▼" : "▲"} ${Math.round(100 * Math.abs(change.difference))} points`, title: change.sentence,
}));

function parts(found) {
  return asTable(`What quality changed with on ${day.format(new Date(found.day))}`, [
    { name: "What", heads: true, kind: "words", of: (part) => `${WORDS[part.kind]}: ${part.title ?? (part.kind === "route" ? "none" : "without texts")}` },
    { name: "Points", kind: "number", of: (part) => points(part.effect) },
    { name: "Had these topics not changed", kind: "number", of: (part) => (part.kind === "topic" || part.own_effect === part.effect ? null : points(part.own_effect)) },
    { name: "Of these by quality", kind: "number", of: (part) => points(part.quality_effect) },
    { name: "By frequency", kind: "number", of: (part) => points(part.share_effect) },
    { name: "Quality before", kind: "number", of: (part) => share(part.before_quality) },
    { name: "Since", kind: "number", of: (part) => share(part.after_quality) },
    { name: "Share before", kind: "number", of: (part) => share(part.before_share) },
    { name: "Share since", kind: "number", of: (part) => share(part.after_share) },
    { name: "Ratings", kind: "number", of: (part) => `${count(part.before_rated)} + ${count(part.after_rated)}${part.sampled ? " (sample)" : ""}` },
    { name: "Other than the rest, beyond chance", of: (part) => (part.is_clear ? "yes" : "no") },
  ], found.parts);
}

function explained(found) {
  return [
    h("p", {}, found.reasons),
    found.events.length > 0 && h("p", {}, "On that day or beside it: ", found.events.map((event) => `${happened(event)} (${at(event.at)})`).join("; "), "."),
    found.parts.length > 0 && parts(found),
  ].filter(Boolean);
}

function entry(change, isOpen, period) {
  const place = h("div", { class: "flow", "aria-live": "polite" });
  const load = async () => {
    button.remove();
    place.replaceChildren(h("p", { class: "quiet" }, "…"));
    try {
      place.replaceChildren(...explained(await get("v1/dashboard/change", { day: change.day, ...period })));
    } catch (error) {
      place.replaceChildren(problem(error));
    }
  };
  const button = h("button", { type: "button", onclick: load, "aria-label": `What quality changed with on ${day.format(new Date(change.day))}` }, "What it came with");
  if (isOpen) load();
  return h("li", { class: "flow" }, h("p", {}, h("strong", {}, `${change.difference < 0 ? "▼" : "▲"} ${change.sentence}`)), !isOpen && button, place);
}

// Routes whose own quality is another, also where the mean of all is not.
const ofRoutes = (routes) => (routes.length === 0 ? [] : [
  h("h3", {}, "Answers that changed by themselves"),
  h("ul", {}, routes.map((one) => h("li", {}, `${one.after_quality < one.before_quality ? "▼" : "▲"} ${one.sentence}`))),
]);

function ofAll(changes, earlier, notes, period) {
  const hidden = notes.map((note) => h("p", {}, note));
  if (!changes.length && earlier) {
    return [
      h("p", {}, "No day of this period on which quality changed beyond chance. The period before it had one, so quality may differ from then by it:"),
      h("ul", { class: "changes" }, entry(earlier, true, { ...period, days: 2 * period.days })),
      ...hidden,
    ];
  }
  if (!changes.length) return [h("p", {}, "No day of this period on which quality changed beyond chance."), ...hidden];
  const newest = changes.toReversed();
  return [
    h("ul", { class: "changes" }, newest.map((change, place) => entry(change, place === 0, period))),
    h("p", { class: "note" }, "Days (UTC) on which the mean changed by more than chance explains, though each day was looked at ", help("change"), ". Answers, topics, labels and users show the same ratings from several sides: their points overlap."),
  ];
}

// Of the `period` that was asked for: by the time of the answer others may be chosen.
export const changeList = ({ changes, earlier, routes, notes }, period) => [...ofAll(changes, earlier, notes, period), ...ofRoutes(routes)];
