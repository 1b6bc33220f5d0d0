// The latest feedback as it comes, or that of a day, with a way to take each piece back and to its request.

import { get } from "./api.js";
import { h, problem } from "./elements.js";
import { gave, undoing, whoAsks } from "./feedback.js";
import { ago, at, madeAt, told } from "./format.js";
import { addressOf } from "./request-finder.js";
import { takingBack } from "./taking-back.js";

const SHOWN = 12;
const MOST = 200; // that the service tells at once
const DAY = 86400000;
const LATER = 600000; // milliseconds after the question from which on it is told when its feedback was recorded

// When it was asked: what was imported a moment ago may be of last year.
export function askedWhen(fact, now = Date.now()) {
  const asked = madeAt(fact.trajectory);
  const when = `asked ${now - asked > DAY ? at(asked) : ago(asked, now)}`;
  return Date.parse(fact.recorded_at) - asked > LATER ? `${when}, recorded ${ago(fact.recorded_at, now)}` : when;
}

const line = (fact, caller, only) => h("li", {},
  h("span", { class: "told" }, told(fact)),
  h("span", {}, h("a", { href: addressOf(fact.trajectory) }, fact.query ?? "a question without text"), " ",
    h("span", { class: "quiet" }, gave(fact), " · ", h("button", { type: "button", class: "link", "aria-label": `Only feedback of ${fact.source}`, onclick: () => only(fact.source) }, fact.source),
      `${fact.in_chat ? " in the chat" : ""} · ${askedWhen(fact)}`), undoing(fact.trajectory, fact, caller)));

const NOTHING = "Nothing was told after an answer lately. It appears here as it comes; ratings that come with the answer itself count in the figures above.";

const NONE_CHOSEN = {
  given: "No such feedback was recorded on that day, about the 10,000 requests that were asked last until then. What was imported counts as recorded on the day of the import.",
  asked: "No such feedback is about the requests of that day, of very many the last 10,000.",
  any: "No such feedback is about the 10,000 requests that were asked last.",
};

// A day of the browser's clock, as a span of time.
function spanOf(day, isAsked) {
  const [year, month, date] = day.split("-").map(Number);
  const [since, until] = [new Date(year, month - 1, date).toISOString(), new Date(year, month - 1, date + 1).toISOString()];
  return isAsked ? { asked_since: since, asked_until: until } : { since, until };
}

export function latestFeedback() {
  const mine = h("button", { type: "button", class: "link", onclick: () => only(caller?.source ?? "") }, "given by me");
  const list = h("div", { tabindex: "-1" });
  const all = h("div", {});
  const rest = h("div", {});
  const day = h("input", { type: "date", "aria-label": "Day", onchange: () => anew() });
  const which = h("select", { "aria-label": "Which feedback of a day", onchange: () => anew() },
    h("option", { value: "given" }, "Given on"), h("option", { value: "asked" }, "About requests of"));
  const bad = h("input", { type: "checkbox", onchange: () => anew() });
  const source = h("input", { type: "text", maxlength: 200, autocomplete: "off", placeholder: "anybody", onchange: () => choose(source.value.trim()) });
  let caller = null;
  let who = ""; // the source, as it is named
  let shownAll = "";
  let most = SHOWN;
  let wanted = ""; // what was asked for last

  function choose(name) {
    who = name;
    anew();
  }
  // A name may have a line break or blanks at its ends, which the field does not show.
  function only(name) {
    source.value = name;
    source.focus();
    choose(name);
  }
  function anew() {
    most = SHOWN;
    return fill().catch((error) => list.replaceChildren(problem(error)));
  }
  function none() {
    if (!day.value) return h("p", { class: "quiet" }, bad.checked || who ? NONE_CHOSEN.any : NOTHING);
    const turn = () => {
      which.value = "asked";
      which.focus();
      anew();
    };
    return h("p", { class: "quiet" }, NONE_CHOSEN[which.value], " ", which.value === "given" && h("button", { type: "button", class: "link", onclick: turn }, "Show what was said about that day’s requests"));
  }
  async function more() {
    const before = list.querySelectorAll("li").length;
    most = Math.min(4 * most, MOST);
    await fill();
    list.querySelectorAll("li")[before]?.querySelector("a").focus();
  }
  const choices = () => ({ ...(day.value && spanOf(day.value, which.value === "asked")), ...(bad.checked && { bad: true }), ...(who && { source: who }) });
  // The button stays as it is, with what came of it, until something else is chosen.
  async function fillAll(chosen) {
    const key = JSON.stringify(chosen);
    if (key === shownAll && all.firstChild) return;
    shownAll = key;
    all.replaceChildren();
    const found = chosen.source && await takingBack(chosen, caller, anew);
    if (found && shownAll === key) all.replaceChildren(found);
  }
  async function fill() {
    caller ??= await whoAsks();
    const chosen = choices();
    const asked = wanted = JSON.stringify([chosen, most]);
    const { facts } = await get("v1/dashboard/feedback", { limit: Math.min(most + 1, MOST), ...chosen });
    if (wanted !== asked) return; // something else was chosen meanwhile
    const held = list.contains(document.activeElement);
    const word = document.activeElement.dataset.word;
    list.replaceChildren(facts.length ? h("ul", { class: "facts" }, facts.slice(0, most).map((fact) => line(fact, caller, only)))
      : none());
    rest.replaceChildren(...[most < MOST && facts.length > most && h("button", { type: "button", onclick: () => more().catch((error) => list.replaceChildren(problem(error))) }, "Show more"),
      most === MOST && facts.length === MOST && h("p", { class: "note" }, `The latest ${MOST}. Choose a day for others.`)].filter(Boolean));
    if (held) (list.querySelector(`[data-word="${CSS.escape(word ?? "")}"]`) ?? list).focus({ preventScroll: true }); // the one that had the focus is gone
    await fillAll(chosen);
  }

  const choice = h("div", { class: "row" }, h("span", { class: "inline" }, which, day), h("label", { class: "inline" }, bad, "bad ratings and corrections only"),
    h("label", { class: "inline" }, "By", source), mine);
  return { place: h("div", { class: "flow" }, choice, all, list, rest), fill };
}
