// Answers that are not given any more: retire one, restore it, and the list of all of them.

import { get, post } from "./api.js";
import { h, problem } from "./elements.js";
import { several } from "./format.js";

const SHOWN = 50; // the latest

// Keeps the list; `change(id, isGiven)` hears of each answer that this page has retired or restored.
export function retiredAnswers(change) {
  const place = document.getElementById("retired");
  let restorable = false;

  async function refresh(may = restorable) {
    restorable = may;
    const { retired } = await get("v1/candidates/retired");
    place.classList.toggle("hidden", !retired.length);
    const shown = retired.toReversed().slice(0, SHOWN);
    place.replaceChildren(
      h("h2", { id: "retired-title", tabindex: "-1" }, "Not given any more"),
      h("ul", { class: "flow" }, shown.map(({ id }) => h("li", {}, h("p", { class: "short" }, id), restorable && h("button", {
        type: "button", "aria-label": `Give again: ${id}`, onclick: (event) => again(event.target, id),
      }, "Give again")))),
      ...(retired.length > SHOWN ? [h("p", { class: "note" }, `The latest ${SHOWN} of ${several(retired.length, "answer")}.`)] : []));
  }

  async function again(button, id) {
    button.disabled = true;
    try {
      await restore(id);
      const left = place.classList.contains("hidden");
      document.getElementById(left ? "question" : "retired-title").focus();
    } catch (error) {
      button.disabled = false;
      button.parentElement.append(problem(error));
    }
  }

  async function retire(id) {
    await post("v1/candidates/retire", { ids: [id] });
    change(id, false);
    await refresh();
  }

  async function restore(id) {
    const { restored } = await post("v1/candidates/restore", { ids: [id] });
    change(id, true);
    await refresh();
    return restored > 0;
  }

  // Makes an answer one that is given; true if it was not before. The store alone knows: this page's list is as old as
  // the page, and not of every answer.
  async function give(id) {
    const { known } = await post("v1/candidates/known", { ids: [id] });
    if (known.length) return restore(id); // somebody may have retired it
    await post("v1/candidates", { ids: [id], texts: [id] });
    change(id, true);
    return true;
  }

  return { refresh, retire, restore, give };
}
