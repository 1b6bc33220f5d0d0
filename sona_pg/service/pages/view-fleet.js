// Fleet: whether the space learns, its servers and how far each is behind, and the cycles.

import { get } from "./api.js";
import { h, panel, table } from "./elements.js";
import { ago, at, count, duration, several } from "./format.js";

function learning(known, now) {
  const waiting = known.waiting_facts ?? 0;
  return h("dl", { class: "pairs" },
    h("dt", {}, "Live version"), h("dd", {}, `${count(known.live_version ?? 0)}${known.learned_at ? `, learned ${ago(known.learned_at, now)}` : ""}`),
    h("dt", {}, "Waiting"), h("dd", {}, waiting ? `${several(waiting, "fact")}, the oldest since ${at(known.waiting_since)}` : "nothing"),
    h("dt", {}, "Failed cycles since"), h("dd", {}, known.failed_cycles
      ? h("span", { class: "state bad" }, `${count(known.failed_cycles)}: ${known.last_error}`) : h("span", { class: "state good" }, "none")),
    h("dt", {}, "Learner now"), h("dd", {}, known.learner ? `server ${known.learner.slice(-12)}` : "none at this moment"));
}

export function fleet() {
  const place = h("div", {});
  async function fill() {
    const [found, listed] = await Promise.all([get("v1/dashboard/fleet"), get("v1/dashboard/cycles", { limit: 30 })]);
    const now = Date.parse(found.learning.now);
    const servers = found.servers.length ? table("Servers that have the space open, or had", [
      { name: "Server", heads: true, kind: "nowrap", of: (one) => `${one.host} · ${one.pid}` },
      { name: "State", of: (one) => h("span", { class: `state ${one.state}` }, one.state) },
      { name: "Serves version", kind: "number", of: (one) => count(one.serving_version) },
      { name: "Behind", kind: "number", of: (one) => (one.versions_behind > 0 ? count(one.versions_behind) : "0") },
      { name: "Last heard", kind: "nowrap", of: (one) => ago(one.seen_at, now) },
      { name: "Recorded", kind: "number", of: (one) => count(one.trajectories) },
      { name: "Feedback", kind: "number", of: (one) => count(one.feedback) },
      { name: "Dropped", kind: "number", of: (one) => count(one.dropped) },
      { name: "Clock skew", kind: "number", of: (one) => (one.skew_ms === null ? null : `${one.skew_ms.toFixed(1)} ms`) },
      { name: "Release", of: (one) => one.release },
    ], found.servers) : h("p", { class: "quiet" }, "No server has it open.");
    const cycles = listed.cycles.length ? table("Latest cycles, newest first", [
      { name: "Version", heads: true, kind: "number", of: (one) => count(one.version) },
      { name: "Kind", of: (one) => one.loop },
      { name: "Began", kind: "when", of: (one) => at(one.started_at) },
      { name: "Took", kind: "number", of: (one) => duration(one.milliseconds / 1000) },
      { name: "Trajectories", kind: "number", of: (one) => count(one.trajectories) },
      { name: "Feedback", kind: "number", of: (one) => count(one.feedback) },
      { name: "Patterns", kind: "number", of: (one) => count(one.patterns) },
      { name: "New / merged / pruned", kind: "nowrap", of: (one) => (one.detail?.patterns_created === undefined ? null
        : `${one.detail.patterns_created} / ${one.detail.patterns_merged} / ${one.detail.patterns_pruned}`) },
      { name: "Result", kind: "words", of: (one) => h("span", { class: `state ${one.error ? "bad" : "good"}` }, one.error ?? "published") },
    ], listed.cycles) : h("p", { class: "quiet" }, "No cycle has run yet.");
    place.replaceChildren(panel("Learning", learning(found.learning, now)), panel("Servers", servers), panel("Cycles", cycles));
  }
  place.className = "stack";
  return {
    async content() {
      await fill();
      return [h("h1", {}, "Fleet and cycles"), place];
    },
    onVersion: fill,
  };
}
