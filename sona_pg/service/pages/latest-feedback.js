// The latest feedback as it comes, with a way to take each piece back.

import { get } from "./api.js";
import { h } from "./elements.js";
import { gave, undoing, whoAsks } from "./feedback.js";
import { ago, at, madeAt, told } from "./format.js";

const SHOWN = 12;
const DAY = 86400000;
const LATER = 600000; // milliseconds after the question from which on it is told when its feedback was recorded

// When it was asked: what was imported a moment ago may be of last year.
export function askedWhen(fact, now = Date.now()) {
  const asked = madeAt(fact.trajectory);
  const when = `asked ${now - asked > DAY ? at(asked) : ago(asked, now)}`;
  return Date.parse(fact.recorded_at) - asked > LATER ? `${when}, recorded ${ago(fact.recorded_at, now)}` : when;
}

const line = (fact, caller) => h("li", {},
  h("span", { class: "told" }, told(fact)),
  h("span", {}, fact.query ?? h("span", { class: "quiet" }, "a question without text"), " ",
    h("span", { class: "quiet" }, [
      gave(fact), ` · ${fact.source}${fact.in_chat ? " in the chat" : ""} · ${askedWhen(fact)}`,
    ].join("")), undoing(fact.trajectory, fact, caller)));

const NOTHING = "Nothing was told after an answer lately. It appears here as it comes; ratings that come with the answer itself count in the figures above.";

export function latestFeedback() {
  const place = h("div", { tabindex: "-1" });
  let caller = null;

  async function fill() {
    const { facts } = await get("v1/dashboard/feedback", { limit: SHOWN });
    caller ??= await whoAsks();
    const held = place.contains(document.activeElement);
    const word = document.activeElement.dataset.word;
    place.replaceChildren(facts.length ? h("ul", { class: "facts" }, facts.map((fact) => line(fact, caller))) : h("p", { class: "quiet" }, NOTHING));
    if (held) (place.querySelector(`[data-word="${CSS.escape(word ?? "")}"]`) ?? place).focus({ preventScroll: true }); // the one that had the focus is gone
  }

  return { place, fill };
}
