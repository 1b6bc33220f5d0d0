// Why an answer was given: beside the untaught one, with the nearest pattern and what the adapter moved.

import { h } from "./elements.js";
import { several, share } from "./format.js";
import { term } from "./terms.js";

function scores(ranking, before) {
  const order = new Map((before ?? []).map((one, place) => [one.id, place + 1]));
  const low = Math.min(...ranking.map((one) => one.score));
  const high = Math.max(...ranking.map((one) => one.score));
  return h("ol", { class: "scores" }, ranking.map((one, place) => {
    const was = order.get(one.id);
    const moved = before === undefined ? "" : was === undefined ? "new in the five" : was === place + 1 ? "" : `was ${was}.`;
    return h("li", {}, h("span", {}, `${place + 1}. ${one.id}`), h("span", { class: "quiet" }, [moved, one.score.toFixed(2)].filter(Boolean).join("  ")),
      h("meter", { min: low - 0.1 * (high - low || 1), max: high, value: one.score, "aria-label": `score ${one.score.toFixed(2)}` }));
  }));
}

// Before the first cycle, and of very many candidates, the probability is a guess that nothing has measured.
const isMeasured = (ranking) => ranking.confidence !== null && ranking.fit !== null;

// How probably the answer would be rated right; null: not known. What people said of it to questions like this one counts
// beside the confidence, which may be high though they rejected it again and again.
export const probabilityOf = ({ first, ranking }) => first?.probability ?? (isMeasured(ranking) ? ranking.confidence : null);

function probabilityTold(answer) {
  const probability = probabilityOf(answer);
  if (probability === null) return "not known yet: learning measures it";
  const { first } = answer;
  const told = first?.rated ? `: ${share(first.confidence)} by its scores, and ${several(first.rated, "rating")} of this answer to questions like it with a mean of ${share(first.quality)}` : "";
  return `${share(probability)} that the first is right${told}`;
}

export function why(answer, before) {
  const { now, untaught } = answer;
  if (!now) return [h("p", { class: "quiet" }, "The question is recorded. Why it is answered so can be told once the database answers again.")];
  const near = now.patterns[0];
  const same = untaught.ranking[0]?.id === answer.route;
  return [
    h("p", { class: "note" }, "The best answers and their scores, which compare within one question only."),
    scores(now.ranking, before?.now?.ranking),
    h("dl", { class: "pairs" },
      h("dt", {}, term("Confidence", "confidence")), h("dd", {}, probabilityTold(answer)),
      h("dt", {}, "Before learning"), h("dd", {}, same ? "would answer the same" : untaught.ranking[0]?.id ?? "no answer was stored yet"),
      h("dt", {}, term("Nearest topic", "pattern")),
      h("dd", {}, near ? `“${near.name ?? near.title ?? "without texts"}”, similarity ${near.similarity.toFixed(2)}, asked ${several(near.size, "time")}, quality ${share(near.quality)} of ${several(near.rated, "rating")}` : "none yet: learning makes them"),
      h("dt", {}, term("Adapter", "adapter")), h("dd", {}, now.turned < 0.05 ? "leaves the question where it is" : `turns the question by ${now.turned.toFixed(1)}°`),
      h("dt", {}, term("Version", "version")), h("dd", {}, `${now.version}, and all feedback since`)),
  ];
}
