// Going back to an earlier version, for keys that may: what it would undo is told first.

import { get, post } from "./api.js";
import { h, problem } from "./elements.js";
import { at, count, several, share } from "./format.js";
import { say } from "./shell.js";

const NAMED = 8; // topics that are told

const shown = (quality) => (quality === null ? "not rated" : share(quality));

function topicLine(one) {
  const name = one.title ?? "without texts";
  if (one.size_then === null) return `“${name}” vanishes (${several(one.size_now, "request")}, quality ${shown(one.quality_now)})`;
  if (one.size_now === null) return `“${name}” comes back (${several(one.size_then, "request")}, quality ${shown(one.quality_then)})`;
  if (count(one.size_then) === count(one.size_now)) return `“${name}”: its quality counts as ${shown(one.quality_then)} again, today as ${shown(one.quality_now)}`;
  return `“${name}” is known by ${several(one.size_then, "request")} again, today by ${count(one.size_now)}; its quality counts as ${shown(one.quality_then)} again, today as ${shown(one.quality_now)}`;
}

// What a rollback would do, in words.
export function planned(plan) {
  const learned = `${several(plan.undone, "run")} of learning since ${plan.since && at(plan.since)}: ${several(plan.trajectories, "request")} and ${several(plan.feedback, "piece")} of feedback`;
  const topics = plan.topics.slice(0, NAMED);
  return [
    h("p", {}, `Every server answers as version ${count(plan.version)} did, within about a second; that is a new version, and version ${count(plan.live)} is kept, so that this can be undone in the same way.`),
    h("p", {}, plan.undone ? `Undone: ${learned}.` : "No run of learning is undone.", plan.redone > 0 && ` Learned again: ${several(plan.redone, "run")} that a rollback had undone.`),
    plan.topics.length ? h("p", {}, `Topics that change: ${count(plan.topics.length)}.`) : h("p", {}, "No topic changes."),
    topics.length > 0 && h("ul", { class: "note" }, topics.map((one) => h("li", {}, topicLine(one))), plan.topics.length > NAMED && h("li", {}, `and ${several(plan.topics.length - NAMED, "other")}`)),
    h("p", { class: "note" }, "Requests, feedback, names of topics and retired answers stay as they are."),
  ].filter(Boolean);
}

// Asks, and goes back; `onDone` follows.
export async function goBack(version, onDone) {
  const plan = await get("v1/versions/rollback/plan", { version });
  const keep = h("input", { type: "checkbox" });
  const wrong = h("div", {});
  const button = h("button", { type: "submit", class: "main" }, `Go back to version ${version}`);
  const form = h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      try {
        const done = await post("v1/versions/rollback", { version, keep_facts: keep.checked });
        dialog.close();
        say(`Version ${done.version} is live: it has the content of version ${version}.`);
        await onDone();
      } catch (error) {
        wrong.replaceChildren(problem(error));
        button.disabled = false;
      }
    },
  },
  h("h2", { id: "undo-title" }, `Go back to version ${version}?`), ...planned(plan),
  plan.undone > 0 && h("label", { class: "inline" }, keep, "Learn from these requests and this feedback again. Otherwise they are left out: what made a version bad does not return."),
  wrong,
  h("div", { class: "row" }, button, h("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Cancel")));
  const dialog = h("dialog", { "aria-labelledby": "undo-title" }, form);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
