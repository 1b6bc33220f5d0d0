// The latest feedback as it comes, with a way to take each piece back.

import { get } from "./api.js";
import { h } from "./elements.js";
import { gave, undoing, whoAsks } from "./feedback.js";
import { ago, day, madeAt, told } from "./format.js";

const SHOWN = 12;
const LATER = 86400000; // milliseconds after which the day of the answer is told as well

function toldWhen(fact) {
  const answered = madeAt(fact.trajectory);
  const isLater = Date.parse(fact.recorded_at) - answered > LATER;
  return isLater ? `recorded ${ago(fact.recorded_at)}, of an answer of ${day(answered)}` : ago(fact.recorded_at);
}

const line = (fact, caller) => h("li", {},
  h("span", { class: "told" }, told(fact)),
  h("span", {}, fact.query ?? h("span", { class: "quiet" }, "a question without text"), " ",
    h("span", { class: "quiet" }, [
      gave(fact), ` · ${fact.source}${fact.in_chat ? " in the chat" : ""} · ${toldWhen(fact)}`,
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
