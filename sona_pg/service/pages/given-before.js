// What was really answered to questions like one, and when: also before the first version was made, as of imported records.

import { h, table } from "./elements.js";
import { at, count, datesOf, share } from "./format.js";

const DAY = 86400000;
const date = datesOf({ dateStyle: "medium" });

// The answers of judged questions, the one that was given last first.
function byAnswer(facts) {
  const found = new Map();
  for (const { route, quality, started_at: started } of facts.filter((fact) => fact.route)) {
    const when = Date.parse(started);
    const one = found.get(route) ?? { route, times: 0, quality: 0, first: when, last: when };
    one.times += 1;
    one.quality += quality;
    [one.first, one.last] = [Math.min(one.first, when), Math.max(one.last, when)];
    found.set(route, one);
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

export function givenBefore(facts, versions) {
  const rows = byAnswer(facts);
  if (!rows.length) return [h("p", { class: "quiet" }, "No judged question like this one tells what answered it.")];
  return [
    older(facts, versions),
    table("What was answered to judged questions like this one, latest first", [
      { name: "Answered", heads: true, kind: "words", of: (one) => one.route },
      { name: "When", kind: "when", of: (one) => date.formatRange(one.first, one.last) },
      { name: "Times", kind: "number", of: (one) => count(one.times) },
      { name: "Quality", kind: "number", of: (one) => share(one.quality / one.times) },
    ], rows),
  ].filter(Boolean);
}
