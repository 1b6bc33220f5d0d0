// Patterns: a map of their centroids as of any version, and what is known of the chosen one.

import { get } from "./api.js";
import { tone, toneLegend } from "./charts.js";
import { asTable, h, panel, table } from "./elements.js";
import { bubbleMap, spread } from "./map.js";
import { versionSlider } from "./slider.js";
import { count, share } from "./format.js";

const titleOf = (pattern) =>
  `${pattern.typical_queries[0] ?? "a pattern without texts"}: ${count(pattern.size)} trajectories, quality ${share(pattern.quality)}`;

function detail(pattern) {
  if (!pattern) return [h("p", { class: "quiet" }, "Choose a pattern on the map, with the mouse or the arrow keys.")];
  const routes = Object.entries(pattern.routes).map(([route, known]) => ({ route, ...known }));
  return [
    h("dl", { class: "pairs" },
      h("dt", {}, "Quality"), h("dd", {}, share(pattern.quality)),
      h("dt", {}, "Trajectories"), h("dd", {}, count(pattern.size)),
      h("dt", {}, "Kind"), h("dd", {}, pattern.kind),
      h("dt", {}, "Mostly"), h("dd", {}, pattern.verdict ?? "not judged"),
      h("dt", {}, "Best route"), h("dd", {}, pattern.best_route ?? "none is rated")),
    h("h3", {}, "Typical queries"),
    pattern.typical_queries.length
      ? h("ul", { class: "typical" }, pattern.typical_queries.map((query) => h("li", {}, query)))
      : h("p", { class: "quiet" }, "Their trajectories came without texts."),
    routes.length > 0 && table("Routes tried in it", [
      { name: "Route", heads: true, kind: "words", of: (route) => route.route },
      { name: "Quality", kind: "number", of: (route) => share(route.quality) },
      { name: "Tried", kind: "number", of: (route) => count(route.size) },
    ], routes),
  ].filter(Boolean);
}

export function patterns() {
  const drawing = h("figure", {});
  const about = h("div", { "aria-live": "polite", class: "panel" });
  const note = h("p", { class: "note" });
  const list = h("div", {});
  let chosen = null;
  let domains = null;

  function draw(found) {
    const items = found.patterns;
    if (!items.length) {
      drawing.replaceChildren(h("p", { class: "quiet" }, `Version ${found.version} has no patterns: a cycle makes them from what was recorded.`));
      about.replaceChildren(h("h2", {}, "No pattern"), ...detail(null));
      return;
    }
    const largest = Math.max(...items.map((item) => item.size));
    // The axes stay as they are while the slider moves, unless a pattern lies outside.
    const [dx, dy] = [spread(items.map((item) => item.x)), spread(items.map((item) => item.y))];
    domains = domains ? [join(domains[0], dx), join(domains[1], dy)] : [dx, dy];
    const [first, second] = found.explained;
    const choose = (item) => {
      chosen = item?.id ?? null;
      about.replaceChildren(h("h2", {}, item ? item.typical_queries[0] ?? "Pattern" : "Pattern"), ...detail(item));
    };
    drawing.replaceChildren(bubbleMap(`Map of ${items.length} patterns`, items.map((item) => ({
      ...item, r: 5 + 20 * Math.sqrt(item.size / largest), kind: tone(item.quality), title: titleOf(item),
    })), {
      domains, height: 420, onChoose: choose, chosen: () => chosen,
      names: [`first principal component (${share(first)} of the variance)`, `second principal component (${share(second)})`],
    }));
    choose(items.find((item) => item.id === chosen) ?? items[0]);
    note.textContent = `${items.length} patterns of version ${found.version}, on the plane of version ${found.basis}.`
      + (found.left_out ? ` ${found.left_out} smaller ones are left out.` : "");
    list.replaceChildren(asTable("Patterns", [
      { name: "Typical query", heads: true, kind: "words", of: (item) => item.typical_queries[0] ?? "–" },
      { name: "Quality", kind: "number", of: (item) => share(item.quality) },
      { name: "Trajectories", kind: "number", of: (item) => count(item.size) },
      { name: "Kind", of: (item) => item.kind },
      { name: "Best route", of: (item) => item.best_route },
    ], items));
  }
  const show = async (version) => draw(await get("v1/dashboard/patterns", { version }));

  return {
    async content() {
      const [found, listed] = await Promise.all([get("v1/dashboard/patterns"), get("v1/versions", { limit: 50 })]);
      draw(found);
      return [
        h("h1", {}, "Patterns"),
        h("p", { class: "note" }, "A pattern is a cluster of trajectories: what was asked alike. Near on the map is alike in the embedding, as far as two dimensions can show."),
        h("div", { class: "pair wide" },
          panel("Map", drawing, toneLegend(), versionSlider(listed, show), note, list), about),
      ];
    },
    onVersion: () => show(),
  };
}

const join = ([a, b], [c, d]) => [Math.min(a, c), Math.max(b, d)];
