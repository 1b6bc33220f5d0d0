// Erasures of a space, read-only: when somebody's data was removed, and how much of it.

import { get } from "./api.js";
import { momentColumn } from "./columns.js";
import { h, panel, problem, table } from "./elements.js";
import { count } from "./format.js";

export function erasures() {
  const place = h("div", {}, h("p", { class: "quiet" }, "…"));
  get("v1/dashboard/learning").then(({ events }) => {
    const made = events.filter((one) => one.kind === "erasure").toReversed();
    place.replaceChildren(made.length ? table("Erasures, newest first", [
      { name: "Requested", heads: true, ...momentColumn((one) => one.at) },
      { name: "Requests removed", kind: "number", of: (one) => count(one.trajectories) },
    ], made) : h("p", { class: "quiet" }, "Nobody’s data was erased from this space."));
  }, (error) => place.replaceChildren(problem(error)));
  return panel("Erasures", place, h("p", { class: "note" },
    h("code", {}, "sona-pg forget"), " erases a user’s data and all that was learned from it; its signed receipt names nobody."));
}
