// Memory graph: its heaviest nodes on the plane of the patterns; edges that dreams proposed are drawn apart.

import { get } from "./api.js";
import { asTable, h, panel, s } from "./elements.js";
import { count, number } from "./format.js";
import { bubbleMap, spread } from "./map.js";

const legendLine = (kind) => s("svg", { width: 34, height: 10, viewBox: "0 0 34 10", "aria-hidden": "true" },
  s("line", { class: `edge ${kind}`, x1: 0, x2: 34, y1: 5, y2: 5, "stroke-width": 2.5 }));

export function memory() {
  return {
    async content() {
      const found = await get("v1/dashboard/memory");
      if (!found.nodes.length) {
        return [h("h1", {}, "Memory graph"), panel("None yet",
          h("p", { class: "quiet" }, "The memory graph connects patterns and recurrent queries that are used together; dreams propose further edges. This space has no nodes yet."))];
      }
      const about = h("p", { "aria-live": "polite" }, "Choose a node, with the mouse or the arrow keys.");
      let chosen = null;
      const heaviest = Math.max(...found.nodes.map((node) => node.weight)) || 1;
      const items = found.nodes.map((node) => ({
        ...node, r: 4 + 12 * Math.sqrt(node.weight / heaviest), kind: `node ${node.kind}`,
        title: `${node.kind} ${node.id.slice(-12)}: weight ${number(node.weight)}, ${count(node.visits)} visits`,
      }));
      const lines = found.edges.map((edge) => ({ from: edge.source, to: edge.target, kind: edge.kind, width: 0.75 + 3 * edge.weight }));
      const near = (id) => found.edges.filter((edge) => edge.source === id || edge.target === id);
      const drawing = bubbleMap(`Memory graph: ${items.length} nodes, ${lines.length} edges`, items, {
        domains: [spread(items.map((item) => item.x)), spread(items.map((item) => item.y))], height: 460, lines,
        names: ["first principal component", "second principal component"], chosen: () => chosen,
        onChoose: (item) => {
          chosen = item.id;
          const edges = near(item.id);
          about.textContent = `${item.title}; ${edges.length} edges, ${edges.filter((edge) => edge.kind === "dream").length} of them dreamt.`;
        },
      });
      return [
        h("h1", {}, "Memory graph"),
        panel(`${count(found.all_nodes)} nodes, ${count(found.all_edges)} edges, ${count(found.dream_edges)} of them dreamt`,
          h("figure", {}, drawing),
          h("ul", { class: "legend" }, h("li", {}, legendLine("co-activation"), "used together"), h("li", {}, legendLine("dream"), "proposed by a dream"),
            h("li", {}, "area: weight")),
          about,
          asTable("Edges", [
            { name: "From", heads: true, of: (edge) => edge.source.slice(-12) }, { name: "To", of: (edge) => edge.target.slice(-12) },
            { name: "Kind", of: (edge) => edge.kind }, { name: "Weight", kind: "number", of: (edge) => number(edge.weight) },
          ], found.edges)),
      ];
    },
  };
}
