// Types of the sona-pg client.

export type VectorLike = ArrayLike<number>;
/** A vector of the space: numbers, or base64 of little-endian float32. */
export type WireVector = VectorLike | string;

/** What is asked: a vector, or a text that the space's embedder makes one of. */
export interface Asked { vector?: WireVector | null; text?: string | null }

export interface Decision {
  route: string; propensity: number; scores: Record<string, number>; version: number; reason: string;
  /** Text, for it has 64 bits: send it back as it is. */
  candidate_set: string | null; cost: number | null; features: number[] | null;
}
export interface Ranking {
  ids: string[]; scores: number[]; version: number; candidate_set: string | null;
  /** Calibrated probability that the first answer is right; null while the space knows too little. */
  confidence: number | null;
  /** Probability that any candidate fits. */
  fit: number | null;
}
/** What was decided, for the record: the answer of `route`, or as much of one as is known. */
export interface DecisionBody {
  route: string; propensity: number; version: number; scores?: Record<string, number>; reason?: string;
  candidate_set?: string | null; cost?: number | null; features?: number[] | null;
}
/** What was ranked, for the record: the answer of `rank`, or as much of one as is known. */
export interface RankingBody {
  ids: string[]; scores: number[]; version: number; candidate_set?: string | null; confidence?: number | null; fit?: number | null;
}
export interface Step { activations?: WireVector | null; attention_weights?: WireVector | null; reward?: number }
export interface Begun extends Asked {
  query?: string | null; decision?: DecisionBody | null; ranking?: RankingBody | null; id?: string | null; started_at?: string | null;
  context?: string[];
}
export interface Outcome { quality?: number | null; route?: string | null; latency?: number | null; cost?: number | null }
export interface TrajectoryBody extends Begun, Outcome { steps?: Step[]; parameters?: Record<string, number> }
export interface Fact {
  quality?: number | null; correction?: string | null; cost?: number | null; retract?: boolean;
  /** Of a retraction: whose word, by default the key's own; another's takes the scope admin. */
  source?: string | null;
  sequence?: number | null;
}
export interface FeedbackBody extends Fact { trajectory: string }
/** What a retraction took back: the word of the key that asked, or of the source that it named; `others` still count. */
export interface Retracted {
  source: string; found: boolean; quality: number | null; correction: string | null; cost: number | null; later: number | null; others: string[];
}
export interface Candidates { ids: string[]; vectors?: WireVector[] | null; texts?: string[] | null }
export interface RouteRecord { size: number; quality: number | null }
export interface Pattern {
  id: string; similarity: number; size: number; quality: number | null; kind: string; verdict: string | null;
  typical_queries: string[]; routes: Record<string, RouteRecord>;
  created_at: string | null; access_count: number; last_accessed: string | null;
}
/** Something remembered; `content` is null if it was not asked for or there is none. */
export interface Recalled { id: string; score: number; content: Record<string, any> | null }
export interface Found { id: string; similarity: number; route: string | null; query: string | null; quality: number | null; started_at: string }
export interface Cycle {
  loop: string; cycle_id: string; base_version: number; version: number; trajectories: number; feedback: number; revised: number;
  set_aside: number; patterns: number; patterns_created: number; patterns_merged: number; patterns_pruned: number; milliseconds: number;
  candidates: number; without_route: number; cycles: number; followed: boolean; learned: boolean;
}
export interface DeepCycle {
  loop: string; cycle_id: string; base_version: number; version: number; patterns: number; milliseconds: number; learned: boolean;
  finished: boolean; nodes: number; edges: number; dreams: Record<string, any>; [figure: string]: any;
}
export interface StoredVersion {
  version: number; parent: number; status: "candidate" | "live" | "retired" | "rejected"; origin: "cycle" | "rebuild" | "rollback" | "load";
  created_at: string; cycle_id: string; server_id: string | null; trajectories: number | null; feedback: number | null;
  patterns: number | null; routes: number | null; complete: boolean;
  judgement: "open" | "accepted" | "promoted" | "rejected" | "rolled back" | "undecided" | "ended" | null; difference: number | null;
}
export interface Subject { user?: string | null; session?: string | null; trajectories?: string[] | null }
export interface Receipt {
  erasure: string; space: string; kind: string; removed: Record<string, number>; version: number; versions_dropped: number[];
  signature: { algorithm: string; key: string; value: string }; [fact: string]: any;
}
export interface Space { name: string; dim: number; live_version: number; trajectories: number; feedback: number; waiting: number }
/** The budget of the space and its spending; a space without one has null, and 0. */
export interface Budget {
  space: string; amount: number | null; per: "request" | "day" | null; set_at: string | null; requests: number; spent: number;
  requests_today: number; spent_today: number; pace: number | null; cost_unit: string | null;
  share_of_day: number | null; used_up_at: string | null;
}
export interface Topic {
  name: string; pattern: string | null; size: number | null; rated: number | null; quality: number | null; typical_query: string | null;
  named_pattern: string; named_by: string; named_at: string;
}
export interface Lora { rank: number; scale: number; a: string; b: string }
export interface Adapters { version: number; dim: number; micro: Lora; base: Lora[]; patterns: Pattern[]; centroids: string }
export type ServiceEvent =
  | { event: "version"; data: { version: number } }
  | { event: "recorded"; data: { records: number; total: number } };

/** Estimate of one policy, per decision; null where there is none, and `refused` says why. */
export interface PolicyEstimate {
  policy: string; budget: number | null; quality: number | null; low: number | null; high: number | null; cost: number | null;
  ips: number | null; snips: number | null; effective_size: number; largest_weight: number; uncovered: number; decisions: number;
  routes: Record<string, number>; refused: string;
}
export interface PolicyEvaluation {
  estimates: PolicyEstimate[]; refused: string; decisions: number; learned_from: number; left_out: number;
  since: string | null; until: string | null; not_offered: string[]; least_size: number;
  /** Mean real cost of the decisions that told one; `cost` of every policy is by its routes' prices. */
  paid: number | null;
}

export interface CallOptions {
  /** The same request with the same key is done once, and answered alike for a day. */
  idempotencyKey?: string;
  signal?: AbortSignal;
  headers?: Record<string, string>;
}
export interface ClientOptions {
  space?: string;
  /** API key; without one only the service's own machine may ask. */
  key?: string;
  fetch?: typeof fetch;
  /** Milliseconds of a request; 60,000 by default. */
  timeout?: number;
}

export const CALLS: Readonly<Record<string, readonly [method: "GET" | "POST", path: string]>>;

/** A refusal of the service (RFC 9457), or an answer that is not the service's; `status` 0: none, or one that was cut short. */
export class ServiceError extends Error {
  constructor(status: number, detail: string, more?: {
    errors?: { pointer: string; detail: string }[]; retryAfter?: number | null; fromService?: boolean; cause?: unknown;
  });
  readonly status: number;
  readonly errors: { pointer: string; detail: string }[];
  readonly retryAfter: number | null;
  /** Whether the service says so, as problem details: otherwise a proxy has answered, or nobody. */
  readonly fromService: boolean;
  /** Whether the same request may succeed later: nothing the service said, its 429, or its 500 and above. */
  readonly isPassing: boolean;
}

/** Every call of /v1, one method each. */
export class SonaClient {
  constructor(url: string | URL, options?: ClientOptions);
  readonly url: string;
  space?: string;
  /** The service's time, as its answers tell it; `uuid7(client.clock.now())` is an id that it takes whatever this device's clock says. */
  readonly clock: { now(): number };
  /** `url` and `space` as one text. */
  readonly connection: string;
  call(name: string, body?: unknown, options?: CallOptions & { query?: Record<string, unknown>; trajectory?: string }): Promise<any>;
  send(name: string, body?: unknown, options?: CallOptions & { query?: Record<string, unknown>; trajectory?: string; timeout?: number }): Promise<Response>;
  /** Read the JSON of a response of `send`; rejects with a ServiceError if it is not the service's, or is cut short. */
  read(response: Response, signal?: AbortSignal): Promise<any>;

  recordTrajectory(body: TrajectoryBody, options?: CallOptions): Promise<{ id: string }>;
  recordTrajectories(body: { trajectories: TrajectoryBody[] }, options?: CallOptions): Promise<{ ids: string[] }>;
  recordColumns(body: { vectors: WireVector[]; qualities?: (number | null)[] | null; routes?: (string | null)[] | null }, options?: CallOptions): Promise<{ ids: string[] }>;
  beginTrajectory(body: Begun, options?: CallOptions): Promise<{ id: string }>;
  addStep(trajectory: string, step: Step, options?: CallOptions): Promise<{ id: string }>;
  endTrajectory(trajectory: string, outcome: Outcome, options?: CallOptions): Promise<{ id: string }>;
  feedback(body: FeedbackBody, options?: CallOptions):
    Promise<{ sequence: number; retracted?: { source: string; found: boolean; quality?: number | null; correction?: string | null; cost?: number | null; later?: number | null; others: string[] } | null }>;
  feedbacks(body: { feedback: FeedbackBody[] }, options?: CallOptions): Promise<{ sequences: number[] }>;

  adapt(body: Asked & { vectors?: WireVector[] | null; layer?: number | null; encoding?: "json" | "base64" }, options?: CallOptions):
    Promise<{ vector?: number[] | string; vectors?: (number[] | string)[]; version: number }>;
  rank(body: Asked & { candidates?: Candidates | null; k?: number; exploration?: number }, options?: CallOptions): Promise<Ranking>;
  recall(body: Asked & { ids?: string[] | null; k?: number; contents?: boolean; context?: string[]; context_vectors?: WireVector[] | null }, options?: CallOptions):
    Promise<{ recalled: Recalled[]; ranking: Ranking }>;
  route(body: Asked & {
    candidates: string[]; query?: string | null; features?: number[] | null; costs?: Record<string, number> | null; budget?: number | null;
    cost_weight?: number; latency_weight?: number;
  }, options?: CallOptions): Promise<Decision>;
  patterns(body: Asked & { k?: number; min_quality?: number; kind?: string | null; route?: string | null; verdict?: string | null; graph?: boolean;
    context?: string[]; context_vectors?: WireVector[] | null }, options?: CallOptions):
    Promise<{ patterns: Pattern[]; version: number }>;
  search(body: Asked & { k?: number; route?: string | null; min_quality?: number | null; since?: string | null; exact?: boolean }, options?: CallOptions):
    Promise<{ found: Found[]; complete: boolean }>;
  storeCandidates(body: Candidates, options?: CallOptions): Promise<{ candidates: number }>;
  /** Answers with them no more, on any server, until they are restored. */
  retireCandidates(body: { ids: string[] }, options?: CallOptions): Promise<{ retired: number }>;
  restoreCandidates(body: { ids: string[] }, options?: CallOptions): Promise<{ restored: number }>;
  /** Which of the ids are stored, the retired ones as well. */
  knownCandidates(body: { ids: string[] }, options?: CallOptions): Promise<{ known: string[] }>;
  retiredCandidates(query?: undefined, options?: CallOptions): Promise<{ retired: { id: string; since: string }[] }>;
  /** Texts, or `ids` with `vectors`; ids of texts are made of them unless given. */
  remember(body: { texts?: string[] | null; ids?: string[] | null; vectors?: WireVector[] | null; contents?: Record<string, unknown>[] | null; group?: string | null }, options?: CallOptions):
    Promise<{ ids: string[] }>;
  dropContents(body: { ids: string[] }, options?: CallOptions): Promise<{ dropped: number }>;

  learn(body?: undefined, options?: CallOptions): Promise<Cycle>;
  learnDeep(body?: { seconds?: number }, options?: CallOptions): Promise<DeepCycle>;
  stats(query?: undefined, options?: CallOptions): Promise<Record<string, any>>;
  versions(query?: { limit?: number }, options?: CallOptions): Promise<{ versions: StoredVersion[]; serving: number }>;
  diff(query: { a: number; b: number }, options?: CallOptions): Promise<{ a: number; b: number; differences: Record<string, any>[] }>;
  rollback(body: { version: number; keep_facts?: boolean }, options?: CallOptions): Promise<{ version: number }>;
  promote(body: { version: number; keep_facts?: boolean }, options?: CallOptions): Promise<{ version: number }>;
  forget(body: Subject & { drop_expired?: boolean; drop_contents?: boolean }, options?: CallOptions): Promise<Receipt>;
  forgetPlan(body: Subject, options?: CallOptions): Promise<{
    trajectories: number; steps: number; feedback: number; first_version: number | null; versions: number[]; expired: number;
    candidates: string[];
  }>;
  verifyReceipt(body: { receipt: Receipt }, options?: CallOptions): Promise<{ genuine: boolean }>;
  budget(query?: undefined, options?: CallOptions): Promise<Budget>;
  setBudget(body: { amount: number | null; per?: "request" | "day" }, options?: CallOptions): Promise<Budget>;
  evaluate(body?: { days?: number; /** Begin of the period, in place of `days`. */ since?: string | null; budgets?: number[]; budget_shares?: number[];
    versions?: number[]; costs?: Record<string, number> | null; limit?: number }, options?: CallOptions): Promise<PolicyEvaluation>;
  topics(query?: undefined, options?: CallOptions): Promise<{ topics: Topic[] }>;
  nameTopic(body: { pattern: string; name: string | null }, options?: CallOptions): Promise<{ topics: Topic[] }>;
  spaces(query?: undefined, options?: CallOptions): Promise<{ spaces: Space[]; source: string; scopes: string[] }>;
  makeSpace(body: { name: string; dim: number }, options?: CallOptions): Promise<{ name: string; dim: number }>;
  events(options?: { events?: number; signal?: AbortSignal }): AsyncGenerator<ServiceEvent, void, void>;
  adapters(query?: undefined, options?: CallOptions): Promise<Adapters>;
  chatCompletions(body: Record<string, unknown>, options?: CallOptions): Promise<any>;
  models(query?: undefined, options?: CallOptions): Promise<any>;

  figures(query?: { days?: number; until?: string }, options?: CallOptions): Promise<any>;
  comparedSpaces(query?: { days?: number; until?: string }, options?: CallOptions): Promise<any>;
  changes(query?: { days?: number; until?: string }, options?: CallOptions): Promise<any>;
  changeReasons(query: { day: string; days?: number; until?: string }, options?: CallOptions): Promise<any>;
  quality(query?: { days?: number; until?: string }, options?: CallOptions): Promise<any>;
  learningCurve(query?: undefined, options?: CallOptions): Promise<any>;
  routes(query?: { days?: number; until?: string; find?: string; order?: string; descending?: boolean }, options?: CallOptions): Promise<any>;
  patternMap(query?: { version?: number; topics?: number }, options?: CallOptions): Promise<any>;
  rollbackPlan(query: { version: number }, options?: CallOptions): Promise<any>;
  labelQuality(query?: { days?: number; until?: string }, options?: CallOptions): Promise<any>;
  topicCosts(query?: { topics?: number }, options?: CallOptions): Promise<any>;
  topicPeriods(query?: { days?: number; until?: string; topics?: number }, options?: CallOptions): Promise<any>;
  memoryGraph(query?: { find?: string }, options?: CallOptions): Promise<any>;
  fleet(query?: { limit?: number }, options?: CallOptions): Promise<any>;
  cycles(query?: { limit?: number }, options?: CallOptions): Promise<any>;
  requests(query: { find: string }, options?: CallOptions): Promise<any>;
  ratedBad(query: { route: string; days?: number; until?: string }, options?: CallOptions): Promise<any>;
  findCandidates(query: { find: string }, options?: CallOptions): Promise<any>;
  latestFeedback(query?: { limit?: number; since?: string; until?: string; asked_since?: string; asked_until?: string; bad?: boolean; source?: string; standing?: boolean }, options?: CallOptions): Promise<any>;
  answers(body: Asked & { versions?: number[]; k?: number }, options?: CallOptions): Promise<any>;
  factsNear(body: Asked & { k?: number }, options?: CallOptions): Promise<any>;
}

/** An entry that waits; `of` is the `connection` of the client that it was recorded for, and only such a queue sends it. */
export interface QueueEntry {
  of: string; id: string; kind: "trajectory" | "feedback"; body: Record<string, unknown>;
  /** Milliseconds since 1970 when it was added: beyond the most entries the oldest are dropped. */
  at?: number;
  /** Of a fact whose sequence number was made while the time was in doubt, until it is corrected, before it is sent. */
  made?: object;
}
/** A storage as one queue has it open. No other queue sees what it appends, unless it is closed, or its page or process ends. */
export interface OpenStorage {
  /** Return the entries of queues that have ended, which are this one's from now on, and the number of those that cannot be read. */
  adopt(): { entries: QueueEntry[]; torn: number };
  append(entry: QueueEntry): void;
  /** Let go of those entries that another queue has adopted meanwhile, and return them. Without it both send them. */
  taken?(entries: QueueEntry[]): QueueEntry[];
  /** Write entries again that were corrected in place. Without it one that was sent by a page that ended then may be numbered anew. */
  rewrite?(entries: QueueEntry[]): void;
  /** Forget entries, by identity, that are sent or dropped. */
  remove(entries: QueueEntry[]): void;
  /** Called every minute: whoever does not renew for three minutes has ended. */
  renew(): void;
  close(): void;
}
export interface QueueStorage {
  /** Open it for a `connection`; `heard` is called where another queue has ended. */
  open(of: string, heard: () => void): OpenStorage;
  /** Return the adapters that were saved last: `connect` serves them while the service is away. */
  loadAdapters?(): string | null;
  saveAdapters?(text: string): void;
  /** Return the service's time as it was saved last, once a minute: a start while the service is away goes on from there. */
  loadClock?(): string | null;
  saveClock?(text: string): void;
}
export function memoryStorage(): QueueStorage;
/** The part of a browser's `Storage` that is used. */
export interface KeyedStorage { getItem(key: string): string | null; setItem(key: string, value: string): void; removeItem(key: string): void }
/** Storage in localStorage, which all tabs of an origin share; its keys begin with `name`, "sona-pg queue" by default. Entries are kept
 *  apart by service and space; adapters are those of the last connection of a name: give spaces that one origin uses in turn names of their own. */
export function browserStorage(name?: string, storage?: KeyedStorage): QueueStorage;

/** Queue of trajectories and facts: adding never waits; what cannot be sent now is kept and sent later, once. */
export class FeedbackQueue {
  constructor(client: SonaClient, options?: {
    storage?: QueueStorage; most?: number; atOnce?: number; delay?: number;
    onRefused?: (body: Record<string, unknown>, error: ServiceError) => void;
  });
  readonly length: number;
  /** Entries beyond `most` (10,000), the oldest, which are lost. */
  readonly dropped: number;
  /** Entries that the service refused, which are lost. */
  readonly refused: number;
  /** Entries that the storage had no room for: they are sent unless this page or process ends before. */
  readonly unstored: number;
  /** Stored entries that could not be read. */
  readonly torn: number;
  add(kind: "trajectory" | "feedback", body: Record<string, unknown>, id: string): void;
  /** Send what is here; resolves to the number of entries that are left. Rejects where the service refuses the key, or has no such space. */
  flush(): Promise<number>;
  close(): void;
}

export interface LocalPattern extends Pattern { centroid: Float32Array }

/** Adapters and patterns of one version, applied without a request. */
export class LocalModel {
  /** `wasm: false` computes in plain JavaScript, as happens by itself where WebAssembly SIMD cannot be used. */
  constructor(told: Adapters, options?: { wasm?: boolean });
  readonly computes: "wasm" | "javascript";
  readonly version: number;
  readonly dim: number;
  readonly layers: number;
  readonly patterns: Pattern[];
  /** Where the kernels read: a query that is written here and handed over is not copied. Any call may overwrite it. */
  readonly input: Float32Array;
  /** Where the adapters write: handed over as `out`, nothing is copied. The next call overwrites it. */
  readonly output: Float32Array;
  applyMicroLora(x: VectorLike, out?: Float32Array): Float32Array;
  applyBaseLora(layer: number, x: VectorLike, out?: Float32Array): Float32Array;
  findPatterns(x: VectorLike, k?: number): LocalPattern[];
}

export class Trajectory {
  readonly id: string;
  /** `activations`: the vector of what was answered or chosen, of the space's length: adapters learn to move such queries towards it. */
  addStep(activations: VectorLike | null, attentionWeights: VectorLike | null, reward: number): this;
  /** The id. */
  toJSON(): string;
  setRoute(route: string): this;
  addContext(label: string): this;
  setChoice(choice: { decision?: DecisionBody | null; ranking?: RankingBody | null }): this;
}

/** A pattern with @ruvector/sona's names beside ours. Its use is that of all servers, as of the version that is applied here. */
export interface LearnedPattern extends LocalPattern {
  clusterSize: number; patternType: string; accessCount: number;
  /** 0.5 where nothing has been rated: `quality` is null then, and `totalWeight` 0. */
  avgQuality: number;
  totalWeight: number;
  /** Unix seconds, as text; "0": unknown. */
  createdAt: string;
  lastAccessed: string;
}

/** The service's figures of the space, with @ruvector/sona's names of some. */
export interface SonaStats {
  trajectories_recorded: number;
  /** Of this queue, and those of the space that no cycle has learned from yet. */
  trajectories_buffered: number;
  trajectories_dropped: number;
  /** Share of the trajectories that were not dropped; 1 where there are none. */
  buffer_success_rate: number;
  patterns_stored: number;
  patterns_learned: number;
  micro_updates: number;
  /** Number of the version, which each cycle that learned raises. */
  background_cycles: number;
  /** Null: the service does not tell how many tasks EWC++ protects. */
  ewc_tasks: null;
  /** True: a service always runs loop A. */
  instant_enabled: true;
  /** Whether the service that answers runs cycles by itself; where it does not, a `sona-pg worker` may. Null: an earlier release does not tell. */
  background_enabled: boolean | null;
  [figure: string]: any;
}

/** The names of @ruvector/sona on top of the store. */
export class SonaEngine {
  constructor(client: SonaClient, queue: FeedbackQueue, model: LocalModel | null, options?: { wasm?: boolean; storage?: QueueStorage });
  /** Rejects with a ServiceError if the service does not answer and `storage` has no adapters of this space from before. */
  static connect(url: string | URL, options?: ClientOptions & {
    storage?: QueueStorage;
    /** Milliseconds between two looks for changed adapters; 1,000 by default, 0: only when asked. */
    syncEvery?: number;
    /** Whether WebAssembly may compute; true by default. */
    wasm?: boolean;
    /** Entries that may wait; 10,000 by default. Beyond it the oldest are dropped, and `queue.dropped` counts them. */
    most?: number;
    /** Called for each entry that the service refused, which is lost; without it the first one is told by console.warn. */
    onRefused?: (body: Record<string, unknown>, error: ServiceError) => void;
  }): Promise<SonaEngine>;
  readonly client: SonaClient;
  readonly queue: FeedbackQueue;
  readonly version: number;
  readonly dim: number;
  /** Where the kernels of the served version read: a query that is written here and handed over is not copied. */
  readonly input: Float32Array;
  /** Where its adapters write: handed over as `out`, nothing is copied. The next call overwrites it. */
  readonly output: Float32Array;
  sync(): Promise<boolean>;
  beginTrajectory(queryEmbedding: VectorLike): Trajectory;
  addTrajectoryStep(trajectory: Trajectory, activations: VectorLike | null, attentionWeights: VectorLike | null, reward: number): void;
  setTrajectoryRoute(trajectory: Trajectory, route: string): void;
  addTrajectoryContext(trajectory: Trajectory, contextId: string): void;
  /** Queue the trajectory; return its id. Throws if the service would refuse a value; while switched off it is checked and forgotten. */
  endTrajectory(trajectory: Trajectory, quality?: number | null, more?: { cost?: number; latency?: number }): string;
  /** Queue a fact; return its sequence number, which is corrected before it is sent if this device's clock proves wrong. Throws if the
   *  service would refuse it. */
  feedback(trajectoryId: string, fact: Fact): number;
  applyMicroLora(input: VectorLike, out?: Float32Array): Float32Array;
  applyBaseLora(layerIdx: number, input: VectorLike, out?: Float32Array): Float32Array;
  findPatterns(queryEmbedding: VectorLike, k?: number): LearnedPattern[];
  rank(body: Parameters<SonaClient["rank"]>[0]): Promise<Ranking>;
  recall(body: Parameters<SonaClient["recall"]>[0]): ReturnType<SonaClient["recall"]>;
  route(body: Parameters<SonaClient["route"]>[0]): Promise<Decision>;
  flush(): Promise<number>;
  forceLearn(): Promise<string>;
  /** Tells what has been applied here since the last call, else null. Never rejects; asks the service only if `syncEvery` is 0, once a second at most. */
  tick(): Promise<string | null>;
  /** JSON of `SonaStats`. */
  getStats(): Promise<string>;
  setEnabled(enabled: boolean): void;
  isEnabled(): boolean;
  /** Send what is queued and stop; resolves to the number of entries that are left. */
  close(): Promise<number>;
}

/** Return a UUIDv7 of now, or of `at` milliseconds since 1970. */
export function uuid7(at?: number): string;
