// Requests by the id that they had in an imported file, or by their own; the address may name one (`find`).

import { get } from "./api.js";
import { h, panel, problem } from "./elements.js";
import { gave, undoing, whoAsks } from "./feedback.js";
import { at, cost, costsIn, duration, madeAt, share, told } from "./format.js";

const isReplaced = (one) => one.feedback.some((fact) => fact.stands && fact.correction !== null && fact.correction !== one.route);
// What it was rated until its feedback was taken back on this page is said to be past.
const details = (one, isUndone) => [
  one.quality === null ? "not rated" : `${isUndone ? "before that was taken back: " : ""}quality ${share(one.quality)}${isReplaced(one) ? ", rated bad: another answer was said to be right" : ""}`,
  one.latency === null ? "" : duration(one.latency), one.cost === null ? "" : cost(one.cost), one.context.join(", "),
].filter(Boolean).join(" · ");

// Time travel with a question.
function versionsOf(question) {
  const url = new URL(location.href);
  url.searchParams.delete("find");
  url.searchParams.set("question", question);
  url.hash = "travel";
  return url.href;
}

export function requestLine(one, caller) {
  const facts = h("span", { class: "quiet" });
  const draw = (isUndone) => facts.replaceChildren(`${at(madeAt(one.trajectory))} · ${details(one, isUndone)}`);
  draw(false);
  return h("li", {},
    h("span", { class: "told" }, one.imported_id ?? "a request"),
    h("span", {}, one.query ?? "a question without text", one.route ? ` – answered with “${one.route}”` : "", " ",
      facts,
      one.feedback.flatMap((fact) => [
        h("span", { class: "quiet" }, ` · ${fact.source}: ${[told(fact), gave(fact)].filter(Boolean).join(", ")}`), undoing(one.trajectory, fact, caller, () => draw(true)),
      ]),
      one.query && [" ", h("a", { href: versionsOf(one.query) }, "What each version answers to it")]));
}

let isNew = true; // the address has just been opened: later its request is shown where it stands

// The page on which the finder shows one request.
export const addressOf = (trajectory) => `./?find=${trajectory}#overview`;

export function finder() {
  const input = h("input", { id: "find-request", type: "search", maxlength: "200", required: true, placeholder: "T-1042" });
  const place = h("div", { role: "status" });
  async function find(id) {
    try {
      const [{ requests, cost_unit }, caller] = await Promise.all([get("v1/dashboard/requests", { find: id }), whoAsks()]);
      costsIn(cost_unit);
      place.replaceChildren(requests.length ? h("ul", { class: "facts" }, requests.map((one) => requestLine(one, caller))) : h("p", { class: "quiet" }, `No request of this space has the id “${id}”.`));
    } catch (error) {
      place.replaceChildren(problem(error));
    }
  }
  const form = h("form", {
    class: "row",
    onsubmit: (event) => {
      event.preventDefault();
      if (input.value.trim()) find(input.value.trim());
    },
  }, h("label", { for: "find-request" }, "Its id in the file that was imported, or its own"), " ", input, " ", h("button", {}, "Find"));
  const shown = panel("Find a request", form, place);
  const asked = new URLSearchParams(location.search).get("find");
  if (asked) {
    input.value = asked;
    const asIs = find(asked);
    if (isNew) asIs.then(() => shown.scrollIntoView());
    isNew = false;
  }
  return shown;
}
