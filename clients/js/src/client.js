// SonaClient: every call of /v1, one method each.

import { shown } from "./checks.js";
import { ServiceClock } from "./clock.js";
import { answerOf, isOfService, refusalOf, ServiceError } from "./service-error.js";
import { encoded } from "./vectors.js";

/** The calls by method name: HTTP method and path. */
export const CALLS = Object.freeze({
  recordTrajectory: ["POST", "/v1/trajectories"],
  recordTrajectories: ["POST", "/v1/trajectories/batch"],
  recordColumns: ["POST", "/v1/trajectories/columns"],
  beginTrajectory: ["POST", "/v1/trajectories/begin"],
  addStep: ["POST", "/v1/trajectories/{trajectory}/steps"],
  endTrajectory: ["POST", "/v1/trajectories/{trajectory}/end"],
  feedback: ["POST", "/v1/feedback"],
  feedbacks: ["POST", "/v1/feedback/batch"],
  adapt: ["POST", "/v1/adapt"],
  rank: ["POST", "/v1/rank"],
  recall: ["POST", "/v1/recall"],
  route: ["POST", "/v1/route"],
  patterns: ["POST", "/v1/patterns"],
  search: ["POST", "/v1/search"],
  storeCandidates: ["POST", "/v1/candidates"],
  retireCandidates: ["POST", "/v1/candidates/retire"],
  restoreCandidates: ["POST", "/v1/candidates/restore"],
  knownCandidates: ["POST", "/v1/candidates/known"],
  retiredCandidates: ["GET", "/v1/candidates/retired"],
  remember: ["POST", "/v1/remember"],
  dropContents: ["POST", "/v1/contents/drop"],
  learn: ["POST", "/v1/learn"],
  learnDeep: ["POST", "/v1/learn/deep"],
  stats: ["GET", "/v1/stats"],
  versions: ["GET", "/v1/versions"],
  diff: ["GET", "/v1/versions/diff"],
  rollback: ["POST", "/v1/versions/rollback"],
  promote: ["POST", "/v1/versions/promote"],
  forget: ["POST", "/v1/forget"],
  forgetPlan: ["POST", "/v1/forget/plan"],
  verifyReceipt: ["POST", "/v1/forget/verify"],
  budget: ["GET", "/v1/budget"],
  setBudget: ["POST", "/v1/budget"],
  evaluate: ["POST", "/v1/evaluate"],
  topics: ["GET", "/v1/topics"],
  nameTopic: ["POST", "/v1/topics"],
  spaces: ["GET", "/v1/spaces"],
  makeSpace: ["POST", "/v1/spaces"],
  events: ["GET", "/v1/events"],
  adapters: ["GET", "/v1/adapters"],
  chatCompletions: ["POST", "/v1/chat/completions"],
  models: ["GET", "/v1/models"],
  figures: ["GET", "/v1/dashboard/figures"],
  comparedSpaces: ["GET", "/v1/dashboard/spaces"],
  changes: ["GET", "/v1/dashboard/changes"],
  changeReasons: ["GET", "/v1/dashboard/change"],
  quality: ["GET", "/v1/dashboard/quality"],
  learningCurve: ["GET", "/v1/dashboard/learning"],
  routes: ["GET", "/v1/dashboard/routes"],
  patternMap: ["GET", "/v1/dashboard/patterns"],
  rollbackPlan: ["GET", "/v1/versions/rollback/plan"],
  labelQuality: ["GET", "/v1/dashboard/labels"],
  topicCosts: ["GET", "/v1/dashboard/topic-costs"],
  topicPeriods: ["GET", "/v1/dashboard/topics"],
  memoryGraph: ["GET", "/v1/dashboard/memory"],
  fleet: ["GET", "/v1/dashboard/fleet"],
  cycles: ["GET", "/v1/dashboard/cycles"],
  requests: ["GET", "/v1/dashboard/requests"],
  ratedBad: ["GET", "/v1/dashboard/rated-bad"],
  findCandidates: ["GET", "/v1/dashboard/candidates"],
  latestFeedback: ["GET", "/v1/dashboard/feedback"],
  answers: ["POST", "/v1/dashboard/answers"],
  factsNear: ["POST", "/v1/dashboard/facts"],
});

const OF_NO_SPACE = new Set(["spaces", "makeSpace"]);

// A browser does not tell a page why a request to another origin fails; most often that origin was not let in.
function hintOf(url) {
  const page = globalThis.location?.origin;
  if (!page || page === "null" || new URL(url, page).origin === page) return "";
  return ` (if it runs, it may refuse pages of ${page}: start it with sona-pg serve --origin ${page})`;
}

// Without the check "127.0.0.1:8700" fails as "Invalid URL", and "localhost:8700" as a scheme, in the first call only.
function addressOf(url) {
  const address = String(url).replace(/\/+$/, "");
  if (!/^https?:\/\/[^/]/i.test(address)) throw new TypeError(`the service's address is ${shown(url)}: expected one as "http://127.0.0.1:8700"`);
  return address;
}

export class SonaClient {
  constructor(url, { space, key, fetch = globalThis.fetch, timeout = 60_000 } = {}) {
    this.url = addressOf(url);
    this.space = space;
    this.timeout = timeout;
    this.clock = new ServiceClock();
    this._key = key;
    this._fetch = (...request) => fetch(...request);
  }

  /** Service and space, as one text: stored entries belong to it. */
  get connection() {
    return `${this.url} ${this.space ?? ""}`;
  }

  /** Send one call by its name in `CALLS`; the methods of this class do so. */
  async call(name, body, { query, trajectory, idempotencyKey, signal, headers } = {}) {
    const response = await this.send(name, body, { query, trajectory, idempotencyKey, signal, headers });
    return this.read(response, signal);
  }

  /** Return the answer of a response; rejects with a ServiceError if it is none of the service, or is cut short. */
  async read(response, signal) {
    try {
      return await answerOf(response, this.url);
    } catch (error) {
      throw signal?.aborted ? error.cause ?? error : error;
    }
  }

  /** Send one call and return the response, which is not read yet; 304 is no error. */
  async send(name, body, { query, trajectory, idempotencyKey, signal, headers = {}, timeout = this.timeout } = {}) {
    if (!Object.hasOwn(CALLS, name)) throw new TypeError(`there is no call ${name}: expected one of ${Object.keys(CALLS).join(", ")}`);
    const [method, path] = CALLS[name];
    const url = new URL(this.url + path.replace("{trajectory}", encodeURIComponent(trajectory ?? "")));
    if (this.space !== undefined && !OF_NO_SPACE.has(name)) url.searchParams.set("space", this.space);
    for (const [field, value] of Object.entries(query ?? {})) if (value !== undefined) url.searchParams.set(field, value);
    const sent = { ...headers };
    if (this._key !== undefined) sent.Authorization = `Bearer ${this._key}`;
    if (idempotencyKey !== undefined) sent["Idempotency-Key"] = idempotencyKey;
    if (method === "POST") sent["Content-Type"] = "application/json";
    const text = method === "POST" ? JSON.stringify(encoded(body ?? {})) : undefined;
    const limit = AbortSignal.timeout && timeout ? AbortSignal.timeout(timeout) : undefined;
    const asked = this.clock.device();
    let response;
    try {
      response = await this._fetch(url, { method, headers: sent, body: text, signal: signal ?? limit });
    } catch (cause) {
      if (signal?.aborted) throw cause;
      throw new ServiceError(0, `the service at ${this.url} does not answer: ${cause.message}${hintOf(this.url)}`, { cause });
    }
    if (isOfService(response)) this.clock.tell(response.headers.get("date"), asked); // a refusal tells the time, too
    if (response.ok || response.status === 304) return response;
    throw await refusalOf(response, this.url);
  }

  /** Ask for the service's time, unless it has answered after `since`, a time of performance.now(). Rejects if it does not answer. */
  async hear(since) {
    if (this.clock.answered > since) return;
    try {
      await this.spaces();
    } catch (error) {
      if (!error.fromService) throw error;
    }
  }

  /** Yield the events of the space until `signal` is aborted: `{event: "version" | "recorded", data}`. */
  async *events({ events, signal } = {}) {
    const response = await this.send("events", undefined, { query: { events }, signal, timeout: 0 });
    const decoder = new TextDecoder();
    let text = "";
    for await (const piece of pieces(response.body)) {
      text += decoder.decode(piece, { stream: true });
      const parts = text.split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const event = /^event: (.*)$/m.exec(part)?.[1];
        const data = /^data: (.*)$/m.exec(part)?.[1];
        if (event && data) yield { event, data: JSON.parse(data) };
      }
    }
  }

  /** Add a step to a trajectory that was begun before. */
  addStep(trajectory, step, options) {
    return this.call("addStep", step, { ...options, trajectory });
  }

  /** End a trajectory that was begun before. */
  endTrajectory(trajectory, outcome, options) {
    return this.call("endTrajectory", outcome, { ...options, trajectory });
  }
}

// All other calls: POST takes a body, GET a query.
for (const [name, [method]] of Object.entries(CALLS)) {
  if (name in SonaClient.prototype) continue;
  SonaClient.prototype[name] = method === "POST"
    ? function post(body, options) { return this.call(name, body, options); }
    : function get(query, options) { return this.call(name, undefined, { ...options, query }); };
}

async function* pieces(body) {
  const reader = body.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
