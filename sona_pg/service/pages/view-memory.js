// Memory graph: its strongest nodes on the plane of the patterns, why they are connected, and a search.

import { get } from "./api.js";
import { between, explained, KINDS, lines as joined, nameOf, reasons, sample, seenFrom, SIGNS, WHY } from "./connections.js";
import { h, panel, problem, s, table } from "./elements.js";
import { ago, count, several, share } from "./format.js";
import { bubbleMap, spread } from "./map.js";
import { help } from "./terms.js";

const LEADING = 10; // connections that are listed at once
const LABELLED = 12; // bubbles with a label
const DRAWN = 60; // connections in the drawing, unless more are wanted

const legendDot = (kind) => s("svg", { width: 14, height: 14, viewBox: "0 0 14 14", "aria-hidden": "true" },
  s("circle", { class: `bubble node ${kind}`, cx: 7, cy: 7, r: 6 }));

const titleOf = (node) => `${KINDS.get(node.kind) ?? node.kind}: ${nameOf(node)}`;

// The chosen node in words: what it is, and what it is connected to, the strongest first.
function detail(node, known, map, choose) {
  const { names, lines } = known;
  const own = lines.filter((line) => line.from === node.id || line.to === node.id);
  const item = (line) => {
    const other = line.from === node.id ? line.to : line.from;
    const light = (on) => () => map.light(on ? lines.indexOf(line) : -1);
    return h("li", { onmouseenter: light(true), onmouseleave: light(false), onfocusin: light(true), onfocusout: light(false) },
      h("button", { type: "button", class: "link", onclick: () => choose(other, true) }, names.get(other)),
      h("span", { class: "quiet" }, seenFrom(node.id, line)));
  };
  const rest = own.slice(LEADING);
  return [
    h("h2", { tabindex: "-1" }, nameOf(node)),
    h("p", { class: "note" }, `A ${KINDS.get(node.kind) ?? node.kind}, used ${several(node.accesses, "time")} `, help("use"), `; importance ${share(node.importance)} `, help("importance")),
    h("h3", {}, own.length ? [`${several(own.length, "connection")}, strongest first `, help("strength")] : "No connection is shown"),
    h("ul", { class: "typed" }, own.slice(0, LEADING).map(item)),
    rest.length > 0 && h("details", {}, h("summary", {}, `${several(rest.length, "more", "more")}`), h("ul", { class: "typed" }, rest.map(item))),
  ].filter(Boolean);
}

function listed(known) {
  const { names, lines } = known;
  const columns = [
    { name: "From", heads: true, kind: "words", of: (line) => names.get(line.from) },
    { name: "To", kind: "words", of: (line) => names.get(line.to) },
    { name: "Why", kind: "words", of: (line) => reasons(line) },
  ];
  const more = lines.slice(LEADING);
  return [
    table("Connections, strongest first; in brackets how strong, from 0 to 100 %", columns, lines.slice(0, LEADING)),
    more.length > 0 && h("details", {}, h("summary", {}, `${several(more.length, "connection")} more`), table("The other connections", columns, more)),
  ].filter(Boolean);
}

// Buttons that show and hide the kinds of connections: the legend as well.
function kindButtons(shown, onChange) {
  return h("ul", { class: "chips", "aria-label": "Kinds of connections that are shown" }, [...WHY].filter(([kind]) => shown.has(kind)).map(([kind, [name, why]]) => h("li", {},
    h("button", {
      type: "button", title: why, "aria-pressed": "true",
      onclick: (event) => {
        const button = event.currentTarget;
        const on = button.getAttribute("aria-pressed") === "false";
        button.setAttribute("aria-pressed", String(on));
        if (on) shown.add(kind);
        else shown.delete(kind);
        onChange();
      },
    }, sample(kind), ` ${name}`))));
}

const NONE_PASSED = "Nothing is broken by that, and nothing needs doing: dreams only propose connections beside those of use. They run again once a week (dreams.interval); "
  + "whoever runs the service can start them at once (sona-pg dream), and set how good one must be (sona-pg space set, dreams.least_quality).";

// What the last dreams came to: where none passed, that they ran at all is seen nowhere else.
function lastDreams({ dreams, dream_edges: edges }) {
  if (!dreams) return "No dreams ran here yet: the learner does so once a week (dreams.interval), and sona-pg dream at once.";
  const { count: all, good, joined } = dreams;
  const passed = joined ? `${count(joined)} of ${several(all, "dream")} passed${edges ? "" : "; what they proposed is confirmed by use by now, or gone"}`
    : `of ${several(all, "dream")} none passed: ${good ? `${count(good)} were good enough, but what they join hangs together too little` : "they were not new, coherent or useful enough"}`;
  return `The last dreams ran ${ago(Date.parse(dreams.ran_at))}: ${passed}.${joined ? "" : ` ${NONE_PASSED}`}`;
}

function drawnGraph(found) {
  const names = new Map(found.nodes.map((node) => [node.id, nameOf(node)]));
  const byId = new Map(found.nodes.map((node) => [node.id, node]));
  const labelled = new Set([...found.matches, ...found.nodes.toSorted((one, other) => other.strength - one.strength).map((node) => node.id)].slice(0, LABELLED));
  const most = Math.max(...found.nodes.map((node) => node.accesses)) || 1;
  const kinds = new Set(found.edges.map((edge) => edge.kind));
  const figure = h("figure", {});
  const about = h("div", { class: "panel flow", "aria-live": "polite" });
  const list = h("div", { class: "flow" });
  const said = h("p", { class: "note", role: "status" });
  let chosen = found.matches[0] ?? found.nodes.reduce((best, node) => (node.strength > best.strength ? node : best)).id;
  let all = false;
  let map = null;

  const choose = (id, focus) => {
    chosen = id;
    map.mark(id);
    about.replaceChildren(...detail(byId.get(id), known, map, choose));
    if (focus) about.querySelector("h2").focus(); // the button that was pressed is gone
  };
  let known = null;
  const draw = () => {
    const whole = joined(found.edges.filter((edge) => kinds.has(edge.kind)));
    known = { names, lines: all ? whole : whole.slice(0, DRAWN) };
    const lines = known.lines.map((line) => ({ ...line, width: 0.75 + 3 * line.weight, sign: SIGNS[line.kind], title: `${between(line, names)}: ${reasons(line)}. ${explained(line)}.` }));
    map = bubbleMap(`Memory graph: ${found.nodes.length} nodes, ${lines.length} connections. All are listed below it in words.`, found.nodes.map((node) => ({
      ...node, r: 4 + 12 * Math.sqrt(node.accesses / most), kind: `node ${node.kind}${found.matches.includes(node.id) ? " match" : ""}`, title: titleOf(node),
      label: labelled.has(node.id) ? nameOf(node) : null,
    })), {
      domains: [spread(found.nodes.map((node) => node.x)), spread(found.nodes.map((node) => node.y))], height: 480, lines,
      chosen: () => chosen, onChoose: (item) => choose(item.id),
      onLine: (line) => {
        said.textContent = line.title;
      },
    });
    figure.replaceChildren(map);
    list.replaceChildren(...listed(known));
    about.replaceChildren(...detail(byId.get(chosen), known, map, choose));
    said.textContent = `The ${count(lines.length)} strongest of ${several(whole.length, "connection")} are drawn. Point at a line, or choose a node, to read why.`;
  };
  draw();
  const many = joined(found.edges).length > DRAWN && h("label", { class: "inline" }, h("input", {
    type: "checkbox", onchange: (event) => {
      all = event.currentTarget.checked;
      draw();
    },
  }), "also the weak ones");
  return [
    h("div", { class: "pair wide" },
      panel(`${several(found.all_nodes, "node")}, ${several(found.all_edges, "connection")}, ${count(found.dream_edges)} proposed by dreams`,
        h("p", { class: "note" }, lastDreams(found)), h("div", { class: "row" }, kindButtons(kinds, draw), many), figure,
        h("ul", { class: "legend" }, [...KINDS].filter(([kind]) => found.nodes.some((node) => node.kind === kind)).map(([kind, name]) => h("li", {}, legendDot(kind), name)), h("li", {}, "area: uses ", help("use"), "; width of a line: strength")), said),
      about),
    panel("Connections in words", list),
  ];
}

export function memory() {
  const place = h("div", { class: "stack" });
  const field = h("input", { type: "search", id: "find", autocomplete: "off", maxlength: 200 });
  const told = h("p", { class: "note", role: "status" });

  async function search(event) {
    event?.preventDefault();
    const find = field.value.trim();
    try {
      const found = await get("v1/dashboard/memory", { find: find || undefined });
      told.textContent = find && (found.matches.length ? `${several(found.matches.length, "node")} with “${find}”, with what ${found.matches.length === 1 ? "it is" : "they are"} connected to.` : `No node has “${find}” in its text.`);
      if (found.nodes.length) place.replaceChildren(...drawnGraph(found));
    } catch (error) {
      told.replaceChildren(problem(error));
    }
  }
  return {
    async content() {
      const found = await get("v1/dashboard/memory");
      const heading = [h("h1", {}, "Memory graph")];
      if (!found.nodes.length) {
        return [...heading, panel("None yet",
          h("p", { class: "quiet" }, "The memory graph connects topics and stored answers that are used together; dreams propose further connections. It is learned from records that name their session in their context (session:…); this space has none yet."))];
      }
      place.replaceChildren(...drawnGraph(found));
      return [
        ...heading,
        h("p", { class: "note" }, "What is used in the same session is connected ", help("memory"), ", and what is alike is near on the map. Dreams ", help("dream"), " propose further connections, which count for little until use confirms them."),
        h("form", { class: "row", role: "search", onsubmit: search }, h("label", { for: "find" }, "Find a question or an answer"), field,
          h("button", { type: "submit" }, "Find"), h("button", { type: "button", onclick: () => {
            field.value = "";
            search();
          } }, "Show the strongest")),
        told,
        place,
      ];
    },
  };
}
