// Fleet: whether the space learns, its servers and how far each is behind, and the cycles.

import { get } from "./api.js";
import { h, panel, table } from "./elements.js";
import { ago, at, count, duration, fine, several } from "./format.js";

const judgements = {
  open: ["", "is being judged"], accepted: ["good", "accepted: not worse"], promoted: ["good", "promoted: not worse"], rejected: ["bad", "rejected"],
  "rolled back": ["bad", "worse: rolled back"], undecided: ["", "not decided"], ended: ["", "not finished"],
};

// `open`: the oldest version whose gate is still judging; it judges those after it as well.
function judged(one, open) {
  if (one.judgement === null) return open < one.version ? `judged together with version ${count(open)}` : null;
  const [state, words] = judgements[one.judgement] ?? ["", one.judgement];
  const apart = one.difference === null ? "" : ` (${one.difference < 0 ? "−" : "+"}${fine(Math.abs(one.difference))})`;
  return h("span", { class: state && `state ${state}` }, words + apart);
}

function learning(known, now) {
  const waiting = known.waiting_facts ?? 0;
  return h("dl", { class: "pairs" },
    h("dt", {}, "Live version"), h("dd", {}, `${count(known.live_version ?? 0)}${known.learned_at ? `, learned ${ago(known.learned_at, now)}` : ""}`),
    h("dt", {}, "Waiting to be learned"), h("dd", {}, waiting ? `${several(waiting, "fact")}, the oldest since ${at(known.waiting_since)}` : "nothing"),
    h("dt", {}, "Cycles failed since"), h("dd", {}, known.failed_cycles
      ? h("span", { class: "state bad" }, `${count(known.failed_cycles)}: ${known.last_error}`) : h("span", { class: "state good" }, "none")),
    h("dt", {}, "Learner now"), h("dd", {}, known.learner ? `server ${known.learner.slice(-12)}` : "none at this moment"));
}

export function fleet() {
  const place = h("div", {});
  async function fill() {
    const [found, listed, made] = await Promise.all([
      get("v1/dashboard/fleet"), get("v1/dashboard/cycles", { limit: 30 }), get("v1/versions", { limit: 12 }),
    ]);
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
    const open = Math.min(...made.versions.filter((one) => one.judgement === "open").map((one) => one.version));
    const versions = made.versions.length ? table("Latest versions, newest first", [
      { name: "Version", heads: true, kind: "number", of: (one) => count(one.version) },
      { name: "Status", of: (one) => h("span", { class: one.status === "live" && "state good" }, one.status) },
      { name: "Its gate says", kind: "words", of: (one) => judged(one, open) },
      { name: "Made by a", of: (one) => one.origin },
      { name: "When", kind: "when", of: (one) => at(one.created_at) },
    ], made.versions) : h("p", { class: "quiet" }, "No version yet: the first cycle makes it.");
    place.replaceChildren(
      panel("Learning", learning(found.learning, now)), panel("Servers", servers),
      panel("Versions and their gate", versions, h("p", { class: "note" },
        "The gate compares a version with the one before it by the decisions that come, and rolls it back if it is worse. In brackets: difference in quality.")),
      panel("Cycles", cycles));
  }
  place.className = "stack";
  return {
    async content() {
      await fill();
      return [h("h1", {}, "Fleet and cycles"),
        h("p", { class: "note" }, "Servers answer and record; a learner runs the cycles that make versions, and every server takes the newest within about a second."),
        place];
    },
    onVersion: fill,
  };
}
