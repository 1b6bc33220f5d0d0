// The latest feedback as it comes, or that of a day, with a way to take each piece back and to its request.

import { get } from "./api.js";
import { h, problem } from "./elements.js";
import { gave, mayUndo, takeBack, undoing, whoAsks } from "./feedback.js";
import { ago, at, madeAt, several, told } from "./format.js";
import { addressOf } from "./request-finder.js";
import { confirmed } from "./shell.js";

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
  const source = h("input", { type: "text", maxlength: 200, autocomplete: "off", placeholder: "anybody", onchange: () => anew() });
  let caller = null;
  let most = SHOWN;
  let wanted = ""; // what was asked for last

  function only(who) {
    source.value = who;
    source.focus();
    anew();
  }
  function anew() {
    most = SHOWN;
    return fill().catch((error) => list.replaceChildren(problem(error)));
  }
  function none() {
    if (!day.value) return h("p", { class: "quiet" }, bad.checked || source.value.trim() ? NONE_CHOSEN.any : NOTHING);
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
  const choices = () => ({ ...(day.value && spanOf(day.value, which.value === "asked")), ...(bad.checked && { bad: true }), ...(source.value.trim() && { source: source.value.trim() }) });
  // All that a source has said, or its word of a day: a script or a colleague may have been wrong throughout.
  async function takeAllBack() {
    const who = source.value.trim();
    const { facts } = await get("v1/dashboard/feedback", { limit: MOST, ...choices() });
    const known = new Map(facts.filter((fact) => mayUndo(fact, caller)).map((fact) => [fact.trajectory, fact]));
    if (!known.size) return done("Nothing of it can be taken back: it was said otherwise or taken back since, or this key may not.");
    const words = `${several(known.size, "request")}${facts.length === MOST ? `, of the latest ${MOST} pieces` : ""}`;
    const isMeant = await confirmed("Take all of this back?", `What “${who}” said of ${words}${day.value ? ", as chosen here" : ""} counts no more then, on any server; only “${who}” can say it again.`, "Take it back");
    if (!isMeant) return null;
    for (const trajectory of known.keys()) await takeBack(trajectory, who, caller);
    await fill();
    return done(`Taken back: what “${who}” said of ${words}. The next run of learning counts it no more.`);
  }
  function done(words) {
    const told = h("span", { class: "quiet", tabindex: "-1", role: "status" }, words);
    all.replaceChildren(told);
    told.focus();
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
    const button = source.value.trim() && facts.filter((fact) => mayUndo(fact, caller)).length > 1
      && h("button", { type: "button", onclick: () => takeAllBack().catch((error) => all.replaceChildren(problem(error))) }, `Take back all of “${source.value.trim()}” …`);
    if (button || !all.querySelector("[role=status]")) all.replaceChildren(...[button].filter(Boolean));
    rest.replaceChildren(...[most < MOST && facts.length > most && h("button", { type: "button", onclick: () => more().catch((error) => list.replaceChildren(problem(error))) }, "Show more"),
      most === MOST && facts.length === MOST && h("p", { class: "note" }, `The latest ${MOST}. Choose a day for others.`)].filter(Boolean));
    if (held) (list.querySelector(`[data-word="${CSS.escape(word ?? "")}"]`) ?? list).focus({ preventScroll: true }); // the one that had the focus is gone
  }

  const choice = h("div", { class: "row" }, h("span", { class: "inline" }, which, day), h("label", { class: "inline" }, bad, "bad ratings and corrections only"),
    h("label", { class: "inline" }, "By", source), mine);
  return { place: h("div", { class: "flow" }, choice, all, list, rest), fill };
}
