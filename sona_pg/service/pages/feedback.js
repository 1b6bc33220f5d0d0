// What was said of a request, in words, and the button that takes it back.

import { get, post } from "./api.js";
import { h, problem } from "./elements.js";
import { share, told } from "./format.js";
import { confirmed } from "./shell.js";

// Who looks at this page: the name under which its feedback is recorded, and its scopes.
export const whoAsks = () => get("v1/spaces");

export function gave(fact) {
  const given = fact.route ? `gave “${fact.route}”` : "";
  const right = fact.correction ? (fact.correction === fact.route ? "which is right" : `right is “${fact.correction}”`) : "";
  return [given, right].filter(Boolean).join(", ");
}

function saidBy(name, { quality, correction }) {
  if (correction !== null) return `${name} said the right answer is: ${correction}`;
  return `${name} said: ${quality >= 0.999 ? "right" : quality <= 0.001 ? "wrong" : share(quality)}.`;
}

// A key takes back what it has said itself; one of scope admin what any source has said.
export function mayUndo(fact, { source, scopes }) {
  const isOwn = fact.source === source;
  return fact.stands && (fact.quality !== null || fact.correction !== null) && scopes.includes("record") && (isOwn || scopes.includes("admin"));
}

// Takes the word of a source about a request back.
export const takeBack = (trajectory, source, caller) => post("v1/feedback", { trajectory, retract: true, ...(source === caller.source ? {} : { source }) });

// The button for a fact that counts; of one that does not, why there is none.
export function undoing(trajectory, fact, caller, onUndone) {
  if (!fact.stands) return told(fact) === "taken back" ? null : h("span", { class: "quiet" }, " · said otherwise or taken back since");
  if (!mayUndo(fact, caller)) return null;
  const isOwn = fact.source === caller.source;
  const words = saidBy(isOwn ? "You" : fact.source, fact);
  const place = h("span", { class: "undo" });
  const undo = async () => {
    const isMeant = isOwn || await confirmed("Take this back?", `${words} It counts no more then, on any server; only “${fact.source}” can say it again.`, "Take it back");
    if (!isMeant) return;
    try {
      await takeBack(trajectory, fact.source, caller);
      const done = h("span", { class: "quiet", tabindex: "-1", role: "status" }, "Taken back.");
      place.replaceChildren(" ", done);
      done.focus();
      onUndone?.();
    } catch (error) {
      place.append(problem(error));
    }
  };
  place.append(" ", h("button", { type: "button", class: "link", "aria-label": `Undo: ${words}`, onclick: undo, "data-word": `${trajectory} ${fact.source}` }, "Undo"));
  return place;
}
