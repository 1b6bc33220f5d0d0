// The spaces that the key may read, in the same days: brands, shops or teams beside one another.

import { get } from "./api.js";
import { intervalColumn } from "./columns.js";
import { h, panel, problem, table } from "./elements.js";
import { count, fine, several } from "./format.js";
import { chosenPeriod, daysOf, isChosen } from "./range.js";

function linkTo(name) {
  const url = new URL(location.href);
  url.searchParams.set("space", name);
  return h("a", { href: url.href, "data-space": name }, name);
}

function drawn(found) {
  const missing = found.spaces.some((one) => one.missing_days > 0);
  return [
    table(`Spaces, ${daysOf(found)}`, [
      { name: "Space", heads: true, kind: "words", of: (one) => linkTo(one.space) },
      { name: "Requests", kind: "number", of: (one) => count(one.trajectories) },
      { name: "Ratings", kind: "number", of: (one) => count(one.rated) },
      { name: "Quality", kind: "number", of: (one) => fine(one.quality) },
      intervalColumn(),
    ], found.spaces),
    h("p", { class: "note" }, `Where two ranges overlap, the difference may be chance; who asks what may differ, too.${found.all > found.spaces.length ? ` Those with most requests, of ${several(found.all, "space")}.` : ""}${missing ? " Some days are not counted yet." : ""}`),
  ];
}

// Fills `place` where there is more than one space to compare.
export async function compareSpaces(place) {
  const asked = chosenPeriod();
  try {
    const found = await get("v1/dashboard/spaces", asked);
    if (isChosen(asked)) place.replaceChildren(...(found.spaces.length > 1 ? [panel("Spaces compared", ...drawn(found))] : []));
  } catch (error) {
    place.replaceChildren(problem(error));
  }
}
