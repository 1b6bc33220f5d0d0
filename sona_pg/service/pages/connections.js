// Connections of the memory graph in words: why each is there, between which two, and how strong it is.

import { s } from "./elements.js";
import { share } from "./format.js";

// In the order in which they name a line that stands for several connections of the same two.
export const WHY = new Map(Object.entries({
  sequence: ["one after the other", "in the same sessions the second came after the first"],
  co_activation: ["used together", "both were used in the same session or for the same question"],
  abstraction: ["part of a group", "the second stands for a group of alike topics that the first belongs to"],
  similarity: ["alike", "they mean nearly the same"],
  dream: ["proposed by a dream", "no use has shown it yet: it counts for little, and goes unless use confirms it"],
}));

export const KINDS = new Map(Object.entries({ pattern: "topic", candidate: "stored answer", query: "question", abstraction: "group of topics" }));

export const nameOf = (node) => node.label ?? `${KINDS.get(node.kind) ?? node.kind} without texts`;

const words = (edge) => `${WHY.get(edge.kind)[0]} (strength ${share(edge.weight)})`;

// Several connections of the same two nodes are one line, the strongest first; it looks like the kind that tells most.
export function lines(edges) {
  const found = new Map();
  for (const edge of edges) {
    const key = [edge.source, edge.target].sort().join("\n");
    const known = found.get(key);
    if (known) known.edges.push(edge);
    else found.set(key, { edges: [edge], weight: edge.weight });
  }
  const order = [...WHY.keys()];
  return [...found.values()].map(({ edges: of, weight }) => {
    const first = of.toSorted((one, other) => order.indexOf(one.kind) - order.indexOf(other.kind))[0];
    return { edges: of, weight, kind: first.kind, from: first.source, to: first.target };
  });
}

export const between = (line, names) =>
  `“${names.get(line.from)}” ${line.kind === "sequence" || line.kind === "abstraction" ? "→" : "and"} “${names.get(line.to)}”`;

export const reasons = (line) => line.edges.map(words).join(", ");

export const explained = (line) => line.edges.map((edge) => `${WHY.get(edge.kind)[0]}: ${WHY.get(edge.kind)[1]}`).join("; ");

// What a line says of the node at its other end.
export function seenFrom(id, line) {
  if (line.kind !== "sequence") return reasons(line);
  return `${line.from === id ? "comes after it" : "comes before it"}; ${reasons(line)}`;
}

// Signs in the middle of a line: they tell directions and dreams without colour.
export const SIGNS = { sequence: "M-5 -4.5L5 0L-5 4.5Z", abstraction: "M-5 -4.5L5 0L-5 4.5Z", dream: "M0 -5.5L5.5 0L0 5.5L-5.5 0Z" };

export const sample = (kind) => s("svg", { width: 38, height: 14, viewBox: "0 0 38 14", "aria-hidden": "true" },
  s("line", { class: `edge ${kind}`, x1: 0, x2: 38, y1: 7, y2: 7, "stroke-width": 2.5 }),
  SIGNS[kind] && s("path", { class: `sign ${kind}`, d: SIGNS[kind], transform: "translate(19 7)" }));
