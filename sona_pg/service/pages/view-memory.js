// Memory graph: its heaviest nodes on the plane of the patterns; edges that dreams proposed are drawn apart.

import { get } from "./api.js";
import { asTable, h, panel, s } from "./elements.js";
import { count, number, several, share } from "./format.js";
import { bubbleMap, spread } from "./map.js";
import { help } from "./terms.js";

const legendLine = (kind) => s("svg", { width: 34, height: 10, viewBox: "0 0 34 10", "aria-hidden": "true" },
  s("line", { class: `edge ${kind}`, x1: 0, x2: 34, y1: 5, y2: 5, "stroke-width": 2.5 }));

const legendDot = (kind) => s("svg", { width: 14, height: 14, viewBox: "0 0 14 14", "aria-hidden": "true" },
  s("circle", { class: `bubble node ${kind}`, cx: 7, cy: 7, r: 6 }));

const nodeKinds = [["pattern", "pattern"], ["candidate", "stored answer"], ["query", "question"], ["abstraction", "group of patterns"]];

export function memory() {
  return {
    async content() {
      const found = await get("v1/dashboard/memory");
      if (!found.nodes.length) {
        return [h("h1", {}, "Memory graph"), panel("None yet",
          h("p", { class: "quiet" }, "The memory graph connects patterns and stored answers that are used together; dreams propose further connections. It is learned from trajectories with a session in their context (session:…); this space has none yet."))];
      }
      const about = h("p", { "aria-live": "polite" }, "Choose a node, with the mouse or the arrow keys.");
      let chosen = null;
      const most = Math.max(...found.nodes.map((node) => node.accesses)) || 1;
      const labels = new Map(found.nodes.map((node) => [node.id, node.label ?? node.id]));
      const items = found.nodes.map((node) => ({
        ...node, r: 4 + 12 * Math.sqrt(node.accesses / most), kind: `node ${node.kind}`,
        title: `${node.kind}: ${node.label ?? node.id}; used ${several(node.accesses, "time")}, importance ${share(node.importance)}`,
      }));
      const lines = found.edges.map((edge) => ({ from: edge.source, to: edge.target, kind: edge.kind, width: 0.75 + 3 * edge.weight }));
      const near = (id) => found.edges.filter((edge) => edge.source === id || edge.target === id);
      const drawing = bubbleMap(`Memory graph: ${items.length} nodes, ${lines.length} edges`, items, {
        domains: [spread(items.map((item) => item.x)), spread(items.map((item) => item.y))], height: 460, lines,
        chosen: () => chosen,
        onChoose: (item) => {
          chosen = item.id;
          const edges = near(item.id);
          about.textContent = `${item.title}; ${several(edges.length, "connection")} shown, ${edges.filter((edge) => edge.kind === "dream").length} of them proposed by dreams.`;
        },
      });
      return [
        h("h1", {}, "Memory graph"),
        h("p", { class: "note" }, "What is used in the same session is connected, and what is alike is near on the map. Dreams ", help("dream"), " propose further connections, which count for little until use confirms them."),
        panel(`${several(found.all_nodes, "node")}, ${several(found.all_edges, "connection")}, ${count(found.dream_edges)} proposed by dreams`,
          h("figure", {}, drawing),
          h("ul", { class: "legend" }, nodeKinds.map(([kind, name]) => h("li", {}, legendDot(kind), name)), h("li", {}, legendLine("co_activation"), "used together"), h("li", {}, legendLine("sequence"), "used one after the other"),
            h("li", {}, legendLine("similarity"), "alike"), h("li", {}, legendLine("dream"), "proposed by a dream"), h("li", {}, "area: uses")),
          about,
          asTable("Connections", [
            { name: "From", heads: true, kind: "words", of: (edge) => labels.get(edge.source) },
            { name: "To", kind: "words", of: (edge) => labels.get(edge.target) },
            { name: "Kind", of: (edge) => edge.kind.replace("_", "-") }, { name: "Weight", kind: "number", of: (edge) => number(edge.weight) },
          ], found.edges)),
      ];
    },
  };
}
