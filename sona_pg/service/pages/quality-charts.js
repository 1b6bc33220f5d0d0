// Charts of quality: over time and by version, with what happened to the space.

import { curve, FEW, QUALITY } from "./charts.js";
import { intervalColumn, momentColumn } from "./columns.js";
import { asTable, h } from "./elements.js";
import { at, count, fine, madeBy, range, several, share } from "./format.js";
import { changeMarks } from "./quality-changes.js";
import { help } from "./terms.js";

const HOLLOW = "A hollow dot has fewer than 10 ratings, with their number beside it.";
const MOST = 60; // versions that the service tells
const counted = (points, sampled) => {
  const ratings = several(points.reduce((sum, point) => sum + point.rated, 0), "rating");
  return sampled ? `a sample of ${ratings}, the first ones of each part: there are too many to read them all` : `all ${ratings}`;
};
const quiet = (text) => [h("p", { class: "quiet" }, text)];

const told = (event) => (event.kind === "erasure" ? `erasure of ${several(event.trajectories ?? 0, "request")}`
  : `version ${event.version}: made by ${madeBy(event.kind)}`);

const signed = (value) => `${value < 0 ? "−" : "+"}${(100 * Math.abs(value)).toFixed(1)}`;

// Beyond chance: by its interval, or as the service told it of one among many.
export const isClear = ({ low, high, is_clear }) => is_clear ?? (low > 0 || high < 0);

// Beyond chance by itself, though among as many as were compared with it some are so by chance.
export const isOneOfMany = ({ low, high, is_clear }) => is_clear === false && (low > 0 || high < 0);

// A difference in words, with where it likely lies.
function verdict(found, before) {
  const { difference, low, high } = found;
  const way = difference > 0 ? "better" : "worse";
  const words = isOneOfMany(found) ? `${way} than ${before}, which may be chance among as many topics` : !isClear(found) ? `no clear change against ${before}` : `${difference > 0 ? "▲" : "▼"} ${way} than ${before}`;
  return `${words}: ${signed(difference)} points, likely between ${signed(low)} and ${signed(high)}`;
}

const mix = (found) => (isClear(found) ? ". Who asked what may have changed, too" : "");
const sums = (one) => `${fine(one.quality)} of ${several(one.rated, "rating")}`;

export function change(figures, days) {
  if (days > 3000) return sinceStart(figures.since_start);
  const before = `the ${days} days before`;
  if (!figures.change) return `nothing to compare with in ${before}`;
  return `${verdict(figures.change, before)} (then ${sums(figures.before)})${mix(figures.change)}`;
}

// Of all time there is nothing before: its end is compared with its beginning.
function sinceStart(ends) {
  if (!ends?.change) return "";
  const days = ends.days === 1 ? "day" : `${ends.days} days`;
  return `${verdict(ends.change, `the first ${days}`)} (last ${days} on record: ${sums(ends.last)}; first: ${sums(ends.first)})${mix(ends.change)}`;
}

export function overTime({ points, sampled }, happened, changes) {
  const drawn = points.map((point) => {
    const middle = (Date.parse(point.start) + Date.parse(point.end)) / 2;
    return {
      x: middle, y: point.quality, low: point.low, high: point.high, few: point.rated < FEW ? point.rated : undefined,
      title: `${at(middle)}: ${share(point.quality)} of ${several(point.rated, "rating")}, ${range(point.low, point.high)}`,
    };
  });
  if (!drawn.some((point) => point.y !== null)) return quiet("Nothing that was recorded in this period is rated.");
  const domain = [Date.parse(points[0].start), Date.parse(points.at(-1).end)];
  const marks = happened.map((event) => ({ x: Date.parse(event.at), name: event.kind, title: `${at(event.at)}: ${told(event)}` }))
    .filter((mark) => mark.x >= domain[0]);
  return [
    h("figure", {}, curve("Quality over time", drawn, { x: { domain, name: "time", kind: "time" }, y: QUALITY, marks: [...marks, ...changeMarks(changes).filter((mark) => mark.x >= domain[0])].filter((mark) => mark.x <= domain[1]), dots: drawn.length <= 60 })),
    h("p", { class: "note" }, `${at(domain[0])} to ${at(domain[1])}: mean of each stretch of time (${counted(points, sampled)}). ${HOLLOW} The true mean lies in the shaded band 19 times out of 20 `, help("interval")),
    marks.length > 0 && h("ul", { class: "note" }, marks.map((mark) => h("li", {}, mark.title + (mark.x > domain[1] ? ", after the newest record" : "")))),
    asTable("Quality over time", [
      { name: "From", heads: true, ...momentColumn((point) => point.start) },
      { name: "Quality", kind: "number", of: (point) => share(point.quality) },
      intervalColumn(),
      { name: "Ratings", kind: "number", of: (point) => count(point.rated) },
    ], points.filter((point) => point.trajectories)),
  ].filter(Boolean);
}

// "3, 5 to 7 and 9" of ascending numbers.
export function listed(numbers) {
  const runs = [];
  for (const one of numbers) {
    if (runs.length && runs.at(-1)[1] === one - 1) runs.at(-1)[1] = one;
    else runs.push([one, one]);
  }
  const parts = runs.flatMap(([first, last]) => (last > first + 1 ? [`${first} to ${last}`] : last > first ? [`${first}`, `${last}`] : [`${first}`]));
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

function without({ points, undecided, missing_days: missing, events: happened }) {
  const said = [];
  const unrated = points.filter((point) => !point.rated).map((point) => point.version);
  if (unrated.length) {
    said.push(`No figure for ${unrated.length === 1 ? "version" : "versions"} ${listed(unrated)}: nothing that ${unrated.length === 1 ? "it" : "they"} decided is rated.`);
  }
  if (undecided.rated) {
    said.push(`Not among them: ${several(undecided.rated, "rating")} of requests that tell no version, with a mean of ${fine(undecided.quality)}. They were imported, or recorded with neither the ranking nor the decision that answered them.`);
  }
  if (missing) said.push(`${several(missing, "day is", "days are")} not counted yet.`);
  const erased = happened.some((event) => event.kind === "erasure");
  if (points.length && points[0].version > 1) {
    said.push(points.length >= MOST ? `Versions before ${points[0].version} are not shown.` : `Versions before ${points[0].version} are not shown: ${erased ? "an erasure dropped them, or they are" : "they are"} no longer kept, and decided nothing.`);
  }
  return said;
}

export function byVersion(found) {
  const { points } = found;
  const missing = without(found).map((text) => h("p", { class: "note" }, text));
  const drawn = points.map((point) => ({
    x: point.version, y: point.quality, low: point.low, high: point.high, few: point.rated < FEW ? point.rated : undefined,
    title: `version ${point.version}: ${share(point.quality)} of ${several(point.rated, "rating")}, ${range(point.low, point.high)}`,
  }));
  if (!drawn.some((point) => point.y !== null)) {
    return [...quiet(points.length ? "No version that is kept has ratings of its own yet: they come with the requests that it decides." : "Nothing is recorded yet."), ...missing];
  }
  const marks = points.filter((point) => point.origin !== null && point.origin !== "cycle" && point.origin !== "start")
    .map((point) => ({ x: point.version, name: point.origin, title: `version ${point.version}: made by ${madeBy(point.origin)}` }));
  const domain = [drawn[0].x, Math.max(drawn.at(-1).x, drawn[0].x + 1)];
  const ratings = several(points.reduce((sum, point) => sum + point.rated, 0), "rating");
  return [
    h("figure", {}, curve("Quality by version", drawn, { x: { domain, name: "version", kind: "whole" }, y: QUALITY, marks })),
    h("p", { class: "note" }, `The latest versions, whatever the period: mean quality of the requests that each decided, also where these came in after the next one was live (${ratings}). ${HOLLOW} The true mean lies in the shaded band 19 times out of 20 `, help("interval")),
    ...missing,
    asTable("Quality by version", [
      { name: "Version", heads: true, kind: "number", of: (point) => count(point.version) },
      { name: "Made by", of: (point) => (point.origin === null ? "not kept any more" : madeBy(point.origin)) },
      { name: "Made", ...momentColumn((point) => point.made_at) },
      { name: "Quality", kind: "number", of: (point) => share(point.quality) },
      intervalColumn(),
      { name: "Ratings", kind: "number", of: (point) => count(point.rated) },
      { name: "Learned from", kind: "number", of: (point) => (point.learned ? count(point.learned) : null) },
    ], points),
  ];
}
