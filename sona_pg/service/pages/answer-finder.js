// Stored answers by a part of their id or text, each with the button that stops giving it, or gives it again.

import { get, post } from "./api.js";
import { h, panel, problem } from "./elements.js";
import { count, several } from "./format.js";

const ANSWERS = { // for pages that keep no list of answers themselves
  retire: (id) => post("v1/candidates/retire", { ids: [id] }),
  restore: (id) => post("v1/candidates/restore", { ids: [id] }),
};

// `mayChange()` tells whether this key may retire answers; `answers` retires and restores one.
export function answerFinder(mayChange, answers = ANSWERS) {
  const input = h("input", { id: "find-answer", type: "search", maxlength: "200", required: true, autocomplete: "off" });
  const place = h("div", { role: "status" });

  function line(one) {
    const row = h("li", {});
    const fill = () => {
      const text = one.is_retired ? "Give again" : "Stop giving this answer";
      const button = mayChange() && h("button", { type: "button", "aria-label": `${text}: ${one.id}`, onclick: () => change(button) }, text);
      row.replaceChildren(...[
        h("p", { class: "short" }, h("strong", {}, one.id), one.is_retired && h("span", { class: "quiet" }, " · not given any more")),
        one.text !== null && one.text !== one.id && h("p", { class: "short quiet" }, one.text), button,
      ].filter(Boolean));
      return button;
    };
    async function change(button) {
      button.disabled = true;
      try {
        await (one.is_retired ? answers.restore : answers.retire)(one.id);
        one.is_retired = !one.is_retired;
        fill().focus(); // the button that was pressed is gone
      } catch (error) {
        button.disabled = false;
        row.append(problem(error));
      }
    }
    fill();
    return row;
  }

  async function find(text) {
    try {
      const { candidates, all } = await get("v1/dashboard/candidates", { find: text });
      const told = !all ? `No stored answer of this space has “${text}” in its id or text. A model is none: the program that offers it to the router leaves it out.`
        : all > candidates.length ? `${count(candidates.length)} of ${several(all, "answer")} with “${text}”: type more of it.` : `${several(all, "answer")} with “${text}”.`;
      place.replaceChildren(h("p", { class: "note" }, told), h("ul", { class: "flow" }, candidates.map(line)));
    } catch (error) {
      place.replaceChildren(problem(error));
    }
  }

  return panel("Find an answer", h("form", {
    class: "row",
    onsubmit: (event) => {
      event.preventDefault();
      if (input.value.trim()) find(input.value.trim());
    },
  }, h("label", { for: "find-answer" }, "A part of its id or text"), " ", input, " ", h("button", {}, "Find")), place);
}
