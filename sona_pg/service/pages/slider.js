// A slider over the kept versions of a space.

import { h } from "./elements.js";
import { at } from "./format.js";

export const kept = (listed) =>
  [0, ...listed.versions.filter((one) => one.complete && one.status !== "candidate").map((one) => one.version).toReversed()];

export function versionSlider(listed, onVersion) {
  const versions = kept(listed);
  const told = new Map(listed.versions.map((one) => [one.version, one]));
  const name = (version) => {
    const one = told.get(version);
    return one ? `version ${version}, made by a ${one.origin}, ${at(one.created_at)}` : "version 0, before anything was learned";
  };
  const output = h("output", {}, name(versions.at(-1)));
  let asked = 0;
  const input = h("input", {
    type: "range", min: 0, max: versions.length - 1, step: 1, "aria-valuetext": name(versions.at(-1)),
    oninput: async () => {
      const version = versions[Number(input.value)];
      output.textContent = name(version);
      input.setAttribute("aria-valuetext", name(version));
      const turn = ++asked;
      await new Promise((resolve) => setTimeout(resolve, 60)); // a drag passes many versions: the last one counts
      if (turn === asked) await onVersion(version);
    },
  });
  input.value = versions.length - 1;
  if (versions.length < 2) input.disabled = true;
  return h("label", { class: "slider" }, h("span", {}, "As of ", output), input);
}
