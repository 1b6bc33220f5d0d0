// Quality by label (market, customer, plan) in the chosen period, and users who give much of what was rated down.

import { get } from "./api.js";
import { intervalColumn } from "./columns.js";
import { h, panel, problem, table } from "./elements.js";
import { count, fine, inWords, several, share } from "./format.js";
import { chosenPeriod, daysOf } from "./range.js";
import { term } from "./terms.js";

const LEADING = 12; // rows that are shown at once

const userLine = (one) => h("li", {}, h("strong", {}, one.label),
  ` gave ${share(one.share_of_downs)} of all that was rated down (${count(Math.round(one.downs))} of their ${several(one.rated, "rating")}), and ${share(one.share_of_rated)} of all ratings. `
  + (one.quality_without === null ? "Nobody else rated." : `Without them the mean is ${fine(one.quality_without)}.`));

const pleasedLine = (one) => h("li", {}, h("strong", {}, one.label),
  ` rated everything good: ${several(one.rated, "rating")}${one.quality < 0.999 ? " of these requests, what others said of them included" : ""}, ${share(one.share_of_rated)} of all. Without them the mean is ${fine(one.quality_without)}.`);

// What the mean is without the users who rated everything good; null if there are none.
function withoutPleased({ always_good: users, without_always_good: without }) {
  if (!without) return null;
  const who = inWords(users.map((one) => one.label));
  const rest = without.quality === null ? "Nobody else rated." : `Without them ${fine(without.quality)} of ${several(without.rated, "rating")}.`;
  return `Beware: ${who} rated everything good (${several(without.theirs, "rating")}). ${rest}`;
}

function pleased(found) {
  if (!found.always_good.length) return [];
  return [
    h("h3", {}, "Users who rated everything good"),
    h("ul", {}, found.always_good.map(pleasedLine)),
    h("p", { class: "note" }, `${withoutPleased(found)} Ten ratings or more, and none below 100 %, as chance hardly has it by what others said. They may be right; if they press the thumb whatever the answer was, these are no ratings, and every mean here is too high, that of a route they were sent to most of all.`),
  ];
}

function drawn(found) {
  const columns = [
    { name: "Label", heads: true, kind: "words", of: (one) => one.label },
    { name: "Quality", kind: "number", of: (one) => share(one.quality) },
    { ...intervalColumn(), title: () => term("Likely between", "interval") },
    { name: "Ratings", kind: "number", of: (one) => count(one.rated) },
    { name: "Share of ratings", kind: "number", of: (one) => share(one.share_of_rated) },
  ];
  const more = found.labels.slice(LEADING);
  return [
    found.heavy_users.length > 0 && h("h3", {}, "Users who gave more than a tenth of what was rated down"),
    found.heavy_users.length > 0 && h("ul", {}, found.heavy_users.map(userLine)),
    found.heavy_users.length > 0 && h("p", { class: "note" }, "They may be right. If they are not, their thumbs can be left out: take them back (feedback with retract), or ", h("code", {}, "sona-pg forget --user"), " erases all of theirs."),
    ...pleased(found),
    found.labels.length > 0 ? table(`Requests by label, ${daysOf(found)}`, columns, found.labels.slice(0, LEADING))
      : h("p", { class: "quiet" }, `No rated request from ${daysOf(found)} has a label. Label requests by market, customer or plan ("market:de") to compare them here.`),
    more.length > 0 && h("details", {}, h("summary", {}, `${several(more.length, "label")} more`), table("The other labels", columns, more)),
  ].filter(Boolean);
}

// A warning beside the mean, empty where there is nothing to warn of.
export function pleasedNote(asked) {
  const place = h("div", {});
  asked.then((found) => {
    const words = withoutPleased(found);
    if (words) place.replaceChildren(h("p", {}, `${words} See “By market, customer and other labels”.`));
  }, () => {}); // the panel of the labels tells what went wrong
  return place;
}

// `asked` is the answer to `readLabels`.
export const readLabels = () => get("v1/dashboard/labels", chosenPeriod());

export function labelsPanel(asked) {
  const place = h("div", { class: "flow" }, h("p", { class: "quiet" }, "…"));
  asked.then((found) => place.replaceChildren(...drawn(found)), (error) => place.replaceChildren(problem(error)));
  return panel("By market, customer and other labels", place);
}
