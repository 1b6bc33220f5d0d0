// What was really answered to questions like one, and when: also before the first version was made, as of imported records.

import { h, table } from "./elements.js";
import { at, count, datesOf, dayUTC, inWords, share } from "./format.js";

const DAY = 86400000;
const date = datesOf({ dateStyle: "medium" });

// The days on which the quality of a route changed, by route; a change may follow an earlier one.
function turnsOf(changes) {
  const turns = new Map();
  for (const one of changes) {
    const days = [one.changed_on, ...(one.former_from === null ? [] : [one.before_from])];
    turns.set(one.route, [...(turns.get(one.route) ?? []), ...days]);
  }
  return turns;
}

// The answers of judged questions, the one that was given last first; one whose quality changed has a row before and one since.
function byAnswer(facts, turns) {
  const found = new Map();
  for (const { route, quality, started_at: started } of facts.filter((fact) => fact.route)) {
    const when = Date.parse(started);
    const passed = (turns.get(route) ?? []).filter((day) => Date.parse(day) <= when);
    const key = JSON.stringify([route, passed.length]);
    const one = found.get(key) ?? { route, since: passed.sort().at(-1) ?? null, times: 0, quality: 0, first: when, last: when };
    one.times += 1;
    one.quality += quality;
    [one.first, one.last] = [Math.min(one.first, when), Math.max(one.last, when)];
    found.set(key, one);
  }
  return [...found.values()].sort((one, other) => other.last - one.last);
}

// An import makes versions of today that learn from questions of long ago.
function older(facts, versions) {
  if (!facts.length || !versions.length) return null;
  const made = Math.min(...versions.map((one) => Date.parse(one.created_at)));
  const asked = Math.min(...facts.map((fact) => Date.parse(fact.started_at)));
  return made - asked > DAY && h("p", { class: "note" }, `The earliest version shown here was made ${at(made)}; questions like this one were asked from ${at(asked)} on. `
    + "A version tells what was learned when it was made, after an import that of the import: what changed before stands in the table alone.");
}

// Says which rows are of one answer before and since its quality changed.
function divided(rows) {
  const both = rows.filter((one) => one.since && rows.some((other) => other !== one && other.route === one.route));
  if (!both.length) return null;
  return h("p", { class: "note" }, `A row ends where the quality of its answer changed: ${inWords(both.map((one) => `${one.route} on ${dayUTC(one.since)}`))}.`);
}

// `changes`: those of routes, of the last days.
export function givenBefore(facts, versions, changes) {
  const rows = byAnswer(facts, turnsOf(changes));
  if (!rows.length) return [h("p", { class: "quiet" }, "No judged question like this one tells what answered it.")];
  return [
    older(facts, versions),
    table("What was answered to judged questions like this one, latest first", [
      { name: "Answered", heads: true, kind: "words", of: (one) => one.route },
      { name: "When", kind: "when", of: (one) => date.formatRange(one.first, one.last) },
      { name: "Times", kind: "number", of: (one) => count(one.times) },
      { name: "Quality", kind: "number", of: (one) => share(one.quality / one.times) },
    ], rows),
    divided(rows),
  ].filter(Boolean);
}
