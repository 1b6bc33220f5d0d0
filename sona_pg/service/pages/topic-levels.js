// How many topics: each pattern one, or patterns put together; kept in the address.

import { h } from "./elements.js";
import { count } from "./format.js";

const AS_RATED = 0; // as many as have enough ratings, until somebody chooses
const asked = () => new URLSearchParams(location.search).get("topics");

// What to ask for: a number, or null for all.
export function wantedTopics() {
  const known = asked();
  if (known === "all") return null;
  return /^[1-9]\d{0,3}$/.test(known ?? "") ? Number(known) : AS_RATED;
}

export function keepTopics(value) {
  const url = new URL(location.href);
  url.searchParams.set("topics", value);
  history.replaceState(null, "", url);
}

// The choice for a map; nothing where there are too few to put together.
export function levelChoice({ levels, topics, all_patterns: all }, onChange) {
  const numbers = [...new Set([...levels, ...(topics ? [topics] : [])])].toSorted((a, b) => b - a);
  if (!numbers.length) return [];
  const choices = [["all", `all ${count(all)}`], ...numbers.map((one) => [String(one), `about ${count(one)}`])];
  const select = h("select", {
    onchange: () => {
      keepTopics(select.value);
      onChange();
    },
  }, choices.map(([value, name]) => h("option", { value, selected: value === String(topics ?? "all") }, name)));
  return [h("label", { class: "inline" }, "Topics", select)];
}

// What was put together, and why so many.
export function levelNote({ topics, all_patterns: all, patterns }) {
  if (topics === null) return null;
  const why = asked() === null ? " So many were chosen because most requests are then of topics with a route that has 10 ratings and was tried in half of their questions." : "";
  return `${count(all)} topics are put together into ${count(patterns.length)} of like questions; their ratings are counted together.${why}`;
}
