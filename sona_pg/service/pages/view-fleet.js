// Versions and servers: whether the space learns, its servers and how far each is behind, and the cycles.

import { get } from "./api.js";
import { momentColumn, timeColumn } from "./columns.js";
import { h, panel, problem, table } from "./elements.js";
import { erasures } from "./erasures.js";
import { ago, at, count, fine, madeBy, several } from "./format.js";
import { listed } from "./quality-charts.js";
import { term } from "./terms.js";
import { goBack } from "./version-undo.js";

const judgements = {
  open: ["", "is being judged"], accepted: ["good", "accepted: not worse"], promoted: ["good", "made live: not worse"], rejected: ["bad", "rejected"],
  "rolled back": ["bad", "worse: taken back"], undecided: ["", "not decided"], ended: ["", "not finished"],
};

// `open`: the oldest version whose gate is still judging; it judges those after it as well.
function judged(one, open) {
  if (one.judgement === null) return open < one.version ? term(`its choices count in the check of version ${count(open)}, which goes on`, "judged") : null;
  if (one.judgement === "open" && one.status !== "live" && one.status !== "candidate") return "not decided while it was live: choices of later versions count as well";
  const [state, words] = judgements[one.judgement] ?? ["", one.judgement];
  const apart = one.difference === null ? "" : ` (${one.difference < 0 ? "−" : "+"}${fine(Math.abs(one.difference))})`;
  return h("span", { class: state && `state ${state}` }, words + apart);
}

const statuses = { candidate: "waits for its check", retired: "earlier" };
const WORSE = ["rejected", "rolled back"];

// What the gate's judgements come to, in a sentence.
function verdict(versions) {
  const worse = versions.filter((one) => WORSE.includes(one.judgement)).map((one) => one.version).toReversed();
  if (worse.length) return `${worse.length === 1 ? "Version" : "Versions"} ${listed(worse)} ${worse.length === 1 ? "was" : "were"} worse and ${worse.length === 1 ? "is" : "are"} not served any more.`;
  const unjudged = versions.filter((one) => one.judgement === null || one.judgement === "open").length;
  if (unjudged === versions.length) return "No version is judged yet.";
  return `No version that was judged was worse${unjudged ? `; ${count(unjudged)} of these ${count(versions.length)} are not judged` : ""}.`;
}

// When and how the live version came to be.
function origin(live, known, now) {
  if (!known.learned_at) return "";
  if (live?.origin !== "rollback") return `, ${madeIn(live)} ${ago(known.learned_at, now)}`;
  return ` is version ${count(live.parent)} again, as of ${ago(known.learned_at, now)}: what was learned in between is set aside`;
}

const madeIn = (live) => (!live || live.origin === "cycle" ? "learned" : `made by ${madeBy(live.origin)}`);

// Who ran the latest cycle: a server of the space by its name; a worker has none.
function lastRun(cycle, servers, now) {
  if (!cycle) return "none yet";
  const server = servers.find((one) => one.server_id === cycle.server_id);
  const by = server ? `server ${server.host} · ${server.pid}, which is ${states[server.state] ?? server.state}` : `a worker, or a server forgotten since (${cycle.server_id.slice(-12)})`;
  return `${ago(cycle.started_at, now)}, by ${by}`;
}

const states = { gone: "gone: killed or cut off", silent: "silent for 15 s", ended: "closed in order" };

const RUNS = "Longest time of a day (UTC) that records waited while none were learned, by when it ended. As long as the interval of learning is usual; longer ones "
  + "tell that no server and no worker learned, or that too little had come to learn from.";

// What happened last night: outages of learning that are over leave no other trace than these times.
const waits = (rows) => (rows.length ? [
  table("Longest waits for learning, last seven days", [
    { name: "Day", heads: true, kind: "nowrap", of: (one) => one.day },
    { ...timeColumn((one) => one.seconds), name: "Longest wait" },
    { name: "From", ...momentColumn((one) => one.waited_from) },
    { name: "Until", ...momentColumn((one) => one.waited_until, "it goes on") },
    { name: "Failed runs meanwhile", kind: "number", of: (one) => count(one.failed_cycles) },
    { name: "Waits that ended that day", kind: "number", of: (one) => count(one.cycles) },
  ], rows), h("p", { class: "note" }, RUNS)] : [h("p", { class: "quiet" }, "Nothing waited for learning in the last seven days.")]);

// Feedback that teaches nothing, because this space has no record of its request.
function strayed(found) {
  const { facts = 0, since, expired = 0, before_erasure: early = 0 } = found ?? {};
  const late = expired ? `${several(expired, "piece")} came after retention had removed the request, as late feedback may` : "";
  if (!facts) return h("span", { class: "state good" }, late ? `none but ${late}` : "none");
  const unknown = "their ids were never recorded here, or belong to another space, where the requests were recorded";
  const whose = !early ? unknown : `${early < facts ? `${count(early)} may be of erased requests` : "the requests may have been erased"}; else ${unknown}`;
  return h("span", { class: early < facts && "state bad" }, `${several(facts, "piece")} since ${at(since)}: ${whose}${late && `. ${late}`}`);
}

function learning(known, now, live, cycle, servers, workers, lost) {
  const waiting = known.waiting_facts ?? 0;
  return h("dl", { class: "pairs" },
    h("dt", {}, term("Live version", "version")), h("dd", {}, `${count(known.live_version ?? 0)}${origin(live, known, now)}`),
    h("dt", {}, term("Not learned yet", "waiting")), h("dd", {}, waiting ? `${several(waiting, "record")}, the oldest since ${at(known.waiting_since)}` : "nothing"),
    h("dt", {}, term("Failures of learning since", "cycle")), h("dd", {}, known.failed_cycles
      ? h("span", { class: "state bad" }, `${count(known.failed_cycles)}: ${known.last_error}`) : h("span", { class: "state good" }, "none")),
    h("dt", {}, "Feedback on unknown requests, last seven days"), h("dd", {}, strayed(lost)),
    h("dt", {}, "Last run of learning"), h("dd", {}, lastRun(cycle, servers, now)),
    h("dt", {}, "Workers connected"), h("dd", {}, workers.length ? workers.map((one) => `${one.worker}, since ${at(one.connected_since)}`).join("; ") : "none: servers learn in the spaces that they have open"),
    h("dt", {}, "Learning now"), h("dd", {}, known.learner ? `on server ${known.learner.slice(-12)}` : "no server at this moment"));
}

export function fleet() {
  const place = h("div", {});
  let showsEnded = false;
  let mayUndo = false;
  const refused = h("div", {});
  const undo = (version) => goBack(version, fill).catch((error) => refused.replaceChildren(problem(error)));
  async function fill() {
    const [found, cycleLog, made] = await Promise.all([
      get("v1/dashboard/fleet"), get("v1/dashboard/cycles", { limit: 30 }), get("v1/versions", { limit: 12 }),
    ]);
    const now = Date.parse(found.learning.now);
    const columns = [
      { name: "Server", heads: true, kind: "nowrap", of: (one) => `${one.host} · ${one.pid}` },
      { name: "State", of: (one) => h("span", { class: `state ${one.state}` }, one.state === "ended" ? "ended" : states[one.state] ?? one.state) },
      { name: "Serves version", kind: "number", of: (one) => count(one.serving_version) },
      { name: "Behind", kind: "number", of: (one) => (one.versions_behind > 0 ? count(one.versions_behind) : "0") },
      { name: "Up since", ...momentColumn((one) => one.started_at) },
      { name: "Last heard", ...momentColumn((one) => one.seen_at), kind: "nowrap", of: (one) => ago(one.seen_at, now) },
      { name: "Recorded", kind: "number", of: (one) => count(one.trajectories) },
      { name: "Feedback", kind: "number", of: (one) => count(one.feedback) },
      { name: "Dropped", kind: "number", of: (one) => count(one.dropped) },
      { name: "Clock", title: () => term("Clock", "skew"), kind: "number", value: (one) => one.skew_ms, unit: () => "ms", of: (one) => (one.skew_ms === null ? null : `${one.skew_ms.toFixed(1)} ms`) },
      { name: "Release", of: (one) => one.release },
    ];
    const running = found.servers.filter((one) => one.state !== "ended");
    const ended = found.servers.filter((one) => one.state === "ended");
    const servers = [
      running.length ? table("Servers that have the space open", columns, running) : h("p", { class: "quiet" }, "No server has it open."),
      ended.length > 0 && h("details", { open: showsEnded, ontoggle: (event) => (showsEnded = event.target.open) },
        h("summary", {}, `${several(ended.length, "server")} that ended, calls of the command line among them`), table("Servers that ended", columns, ended)),
    ].filter(Boolean);
    const cycles = cycleLog.cycles.length ? table("Latest runs of learning, newest first", [
      { name: "Version", heads: true, kind: "number", of: (one) => count(one.version) },
      { name: "Kind", title: () => term("Kind", "cycle"), of: (one) => one.loop },
      { name: "Began", ...momentColumn((one) => one.started_at) },
      { ...timeColumn((one) => one.milliseconds / 1000), name: "Took" },
      { name: "Requests", kind: "number", of: (one) => count(one.trajectories) },
      { name: "Feedback", kind: "number", of: (one) => count(one.feedback) },
      { name: "Topics", kind: "number", of: (one) => count(one.patterns) },
      { name: "Changes of topics", title: () => term("Changes of topics", "groups"), kind: "words", of: (one) => (one.detail?.patterns_created === undefined ? null
        : `${count(one.detail.patterns_created)} new, ${count(one.detail.patterns_merged)} joined, ${count(one.detail.patterns_pruned)} dropped`) },
      { name: "Result", kind: "words", of: (one) => h("span", { class: `state ${one.error ? "bad" : "good"}` }, one.error ?? "published") },
    ], cycleLog.cycles) : h("p", { class: "quiet" }, "Nothing was learned yet.");
    const open = Math.min(...made.versions.filter((one) => one.judgement === "open").map((one) => one.version));
    const versions = made.versions.length ? table("Latest versions, newest first", [
      { name: "Version", heads: true, kind: "number", of: (one) => count(one.version) },
      { name: "Status", of: (one) => h("span", { class: one.status === "live" && "state good" }, statuses[one.status] ?? one.status) },
      { name: "Check says", title: () => term("Check says", "gate"), kind: "words", of: (one) => judged(one, open) },
      { name: "Made by", of: (one) => madeBy(one.origin) },
      { name: "When", ...momentColumn((one) => one.created_at) },
      mayUndo && { name: "Undo", of: (one) => (one.complete && one.status === "retired" && h("button", { type: "button", class: "link", onclick: () => undo(one.version), "aria-label": `Go back to version ${one.version} …` }, "Go back …")) || null },
    ].filter(Boolean), made.versions) : h("p", { class: "quiet" }, "No version yet: the first run of learning makes it.");
    place.replaceChildren(
      panel("Learning", learning(found.learning, now, made.versions.find((one) => one.version === found.learning.live_version), cycleLog.cycles[0], found.servers, found.workers, found.strayed)), panel("Servers", ...servers),
      panel("Versions and their check", made.versions.length > 0 && h("p", {}, verdict(made.versions)), versions, refused, h("p", { class: "note" },
        "Each new version is judged by the choices that come: one that is worse than the one before is taken back by itself. In brackets: difference in quality.", mayUndo && " “Go back” says first what it would undo.")),
      panel("Learning so far", cycles), panel("How long records waited", ...waits(found.waits)));
  }
  place.className = "stack";
  return {
    async content() {
      mayUndo = (await get("v1/spaces")).scopes.includes("admin");
      await fill();
      return [h("h1", {}, "Versions and servers"),
        h("p", { class: "note" }, "Servers answer and record; one of them learns and makes versions, and every server takes the newest within about a second."),
        place, erasures()];
    },
    onVersion: fill,
  };
}
