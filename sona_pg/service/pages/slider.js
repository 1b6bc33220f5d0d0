// A slider over the kept versions of a space.

import { h } from "./elements.js";
import { at, madeBy } from "./format.js";

export const kept = (listed) =>
  [0, ...listed.versions.filter((one) => one.complete && one.status !== "candidate").map((one) => one.version).toReversed()];

// `show(version)` of what is returned moves it, and tells nobody.
export function versionSlider(listed, onVersion) {
  const versions = kept(listed);
  const told = new Map(listed.versions.map((one) => [one.version, one]));
  const name = (version) => {
    const one = told.get(version);
    return one ? `version ${version}, made by ${madeBy(one.origin)}, ${at(one.created_at)}` : "version 0, before anything was learned";
  };
  const output = h("output", {}, name(versions.at(-1)));
  const tell = (version) => {
    output.textContent = name(version);
    input.setAttribute("aria-valuetext", name(version));
  };
  let asked = 0;
  const input = h("input", {
    type: "range", min: 0, max: versions.length - 1, step: 1, "aria-valuetext": name(versions.at(-1)),
    oninput: async () => {
      const version = versions[Number(input.value)];
      tell(version);
      const turn = ++asked;
      await new Promise((resolve) => setTimeout(resolve, 60)); // a drag passes many versions: the last one counts
      if (turn === asked) await onVersion(version);
    },
  });
  input.value = versions.length - 1;
  if (versions.length < 2) input.disabled = true;
  const place = h("label", { class: "slider" }, h("span", {}, "As of ", output), input);
  place.show = (version) => {
    input.value = versions.indexOf(version);
    tell(version);
  };
  return place;
}
