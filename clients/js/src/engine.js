// SonaEngine: the names of @ruvector/sona on top of the store. Recording and applying are synchronous, as there: records
// are queued and sent in the background, adapters and patterns are applied here. What asks the service is awaited.

import * as checks from "./checks.js";
import { SonaClient } from "./client.js";
import { noteSequence } from "./clock.js";
import { LocalModel } from "./local.js";
import { FeedbackQueue } from "./queue.js";
import { kept } from "./storage.js";
import { begun, Trajectory } from "./trajectory.js";

const SYNC_EVERY = 1000; // milliseconds between two looks for changed adapters
const KEEP_CLOCK_EVERY = 60_000; // milliseconds between two times that a storage keeps
const TICK_EVERY = 1000; // milliseconds between two looks of `tick`, where the engine does not look by itself
const PATTERN_TYPES = { // @ruvector/sona's names of our kinds
  general: "General", reasoning: "Reasoning", factual: "Factual", creative: "Creative", code: "CodeGen", conversational: "Conversational",
};
const UNRATED = 0.5; // `avgQuality` of a pattern without ratings, as Python's; `quality` is null
const NOT_HERE = "the store is on a service: await SonaEngine.connect(\"http://127.0.0.1:8700\", { space })";

// Unix seconds as text, by pattern, as @ruvector/sona has them: made, and found last. A pattern that was never found has been used
// when it was made, as there; an unknown time is 0.
const seconds = (time) => String(time ? Math.floor(Date.parse(time) / 1000) : 0);
const timesOf = ({ patterns }) => new Map(patterns.map(({ id, created_at, last_accessed }) => [
  id, [seconds(created_at), seconds(last_accessed ?? created_at)],
]));

export class SonaEngine {
  constructor(client, queue, model, { wasm = true, storage } = {}) {
    if (!(client instanceof SonaClient)) throw new TypeError(NOT_HERE); // new SonaEngine(256) of @ruvector/sona
    this.client = client;
    this.queue = queue;
    this._model = model;
    this._times = model && timesOf(model);
    this._wasm = wasm;
    this._storage = storage; // of the adapters
    this._tag = null;
    this._enabled = true;
    this._timer = null;
    this._clockKept = -Infinity; // when the storage was given the service's time
    this._looked = -Infinity; // when a look for changed adapters began
    this._isNew = false; // whether `tick` has to tell what is applied
  }

  /** Open a space of a service: `await SonaEngine.connect("http://127.0.0.1:8700", {space: "support"})`.
   *  With the service away, a storage that has the adapters of an earlier connection serves them. */
  static async connect(url, { storage, syncEvery = SYNC_EVERY, onRefused, most, wasm, ...options } = {}) {
    const client = new SonaClient(url, options);
    const engine = new SonaEngine(client, null, null, { wasm, storage });
    try {
      await engine.sync();
    } catch (error) {
      if (!error.isPassing || !engine._restore()) throw error;
    }
    engine._isNew = false;
    engine.queue = new FeedbackQueue(client, { storage, onRefused, most });
    if (syncEvery > 0) {
      engine._timer = setInterval(() => engine._look(), syncEvery);
      engine._timer.unref?.();
    }
    return engine;
  }

  /** @ruvector/sona's way to make an engine: here it throws and names `connect`. Settings are the space's: `sona-pg space set`. */
  static withConfig() {
    throw new TypeError(`${NOT_HERE}; settings are the space's: sona-pg space set`);
  }

  /** The version that is applied here. */
  get version() {
    return this._model.version;
  }

  get dim() {
    return this._model.dim;
  }

  /** Take the adapters and patterns of the service if they have changed; return whether they had. */
  async sync() {
    this._looked = performance.now();
    const headers = this._tag ? { "If-None-Match": this._tag } : {};
    const response = await this.client.send("adapters", undefined, { headers });
    this._keepClock();
    if (response.status === 304) return false;
    const told = await this.client.read(response);
    this._serve(told, response.headers.get("etag"));
    const { connection: of, clock } = this.client;
    this._save(() => this._storage?.saveAdapters?.(JSON.stringify({ of, tag: this._tag, clock: clock.kept(), told })));
    return true;
  }

  _save(save) {
    if (this.queue) this.queue._stored(save); // its failure is told there; one of connect is thrown: the path is wrong
    else save();
  }

  /** Keep the service's time, now and then: a start while the service is away goes on from there. */
  _keepClock() {
    if (performance.now() - this._clockKept < KEEP_CLOCK_EVERY) return;
    const { connection: of, clock } = this.client;
    this._save(() => this._storage?.saveClock?.(JSON.stringify({ of, ...clock.kept() })));
    this._clockKept = performance.now();
  }

  /** Look for changed adapters; never rejects: while the service is away the last ones serve, and another refusal is warned of. */
  async _look() {
    try {
      await this.sync();
    } catch (error) {
      if (!error.isPassing) this.queue._warn("look", `learned adapters are not applied here: ${error.message}`);
    }
  }

  /** Serve the stored adapters of this space; return whether there are any. */
  _restore() {
    const { of, tag, clock, told } = kept(this._storage?.loadAdapters?.());
    if (of !== this.client.connection) return false;
    const last = kept(this._storage.loadClock?.());
    this.client.clock.restore(last.of === of ? last : clock);
    this._serve(told, tag);
    return true;
  }

  _serve(told, tag) {
    this._model = new LocalModel(told, { wasm: this._wasm });
    this._times = timesOf(this._model);
    this._tag = tag;
    this._isNew = true;
  }

  /** Begin a trajectory; `addStep` and the calls below go on with it, `endTrajectory` queues it. */
  beginTrajectory(queryEmbedding) {
    return new Trajectory(queryEmbedding, this.dim, this.client.clock.now());
  }

  addTrajectoryStep(trajectory, activations, attentionWeights, reward) {
    begun(trajectory).addStep(activations, attentionWeights, reward);
  }

  setTrajectoryRoute(trajectory, route) {
    begun(trajectory).setRoute(route);
  }

  addTrajectoryContext(trajectory, contextId) {
    begun(trajectory).addContext(contextId);
  }

  /** End a trajectory and queue it; returns its id, which feedback names, now or weeks later.
   *  Values that the service would refuse throw here. While recording is switched off they are checked and forgotten. */
  endTrajectory(trajectory, quality, more) {
    const body = begun(trajectory)._end(quality, more);
    if (this._enabled) this.queue.add("trajectory", body, trajectory.id);
    return trajectory.id;
  }

  /** Queue a fact: `{quality}` from 0 to 1, `{correction}` the id that would have been right, `{cost}`, or `{retract: true}`. */
  feedback(trajectoryId, fact) {
    const body = { trajectory: checks.trajectoryId(trajectoryId), ...checks.fact(fact) };
    const { sequence } = body;
    if (sequence !== undefined) noteSequence(trajectoryId, sequence);
    const numbered = sequence === undefined ? this.client.clock.nextSequence(trajectoryId) : { sequence };
    body.sequence = numbered.sequence;
    if (this._enabled) this.queue.add("feedback", body, `${body.sequence}`, numbered.made);
    return body.sequence;
  }

  /** Where the kernels of the served version read: a query that is written here and handed over is not copied. */
  get input() {
    return this._model.input;
  }

  /** Where its adapters write: handed over as `out`, nothing is copied. The next call overwrites it. */
  get output() {
    return this._model.output;
  }

  applyMicroLora(input, out) {
    return this._model.applyMicroLora(input, out);
  }

  applyBaseLora(layerIdx, input, out) {
    return this._model.applyBaseLora(layerIdx, input, out);
  }

  /** Return the nearest patterns, with @ruvector/sona's names of their fields beside ours. */
  findPatterns(queryEmbedding, k = 5) {
    const found = this._model.findPatterns(queryEmbedding, k);
    for (const pattern of found) {
      pattern.clusterSize = pattern.size;
      pattern.avgQuality = pattern.quality ?? UNRATED;
      pattern.totalWeight = pattern.size * (pattern.quality ?? 0);
      pattern.patternType = PATTERN_TYPES[pattern.kind] ?? pattern.kind;
      pattern.accessCount = pattern.access_count ?? 0; // stored adapters of an earlier release have none
      [pattern.createdAt, pattern.lastAccessed] = this._times.get(pattern.id);
    }
    return found;
  }

  rank(body) {
    return this.client.rank(body);
  }

  recall(body) {
    return this.client.recall(body);
  }

  route(body) {
    return this.client.route(body);
  }

  /** Send everything that is queued; resolves to the number of entries that are left. */
  flush() {
    return this._outlived("flush", this.queue.flush());
  }

  /** Send everything, run a cycle of learning, and apply its result here. Resolves to a line that says what was learned. */
  forceLearn() {
    return this._outlived("forceLearn", this._learn());
  }

  async _learn() {
    await this.queue.flush();
    const made = await this.client.learn();
    await this.sync();
    this._isNew = false;
    return `version ${made.version}: learned from ${made.trajectories} trajectories and ${made.feedback} facts, ${made.patterns} patterns`;
  }

  /** Tell what has been applied here since the last `tick`: the store's learners run when they are due. Resolves to a line, or null.
   *  It never rejects. It asks the service only if `syncEvery` is 0, and then at most once a second. */
  async tick() {
    if (this._timer === null && performance.now() - this._looked >= TICK_EVERY) await this._look();
    if (!this._isNew) return null;
    this._isNew = false;
    return `version ${this.version} is applied`;
  }

  /** Resolves to the service's figures of the space as JSON, with @ruvector/sona's names of some beside ours. */
  getStats() {
    return this._outlived("getStats", this._stats());
  }

  async _stats() {
    const told = await this.client.stats();
    const { trajectories: recorded, waiting, dropped } = told.totals;
    const lost = this.queue.dropped + dropped;
    return JSON.stringify({
      ...told, trajectories_recorded: recorded, trajectories_buffered: this.queue.length + waiting, // not learned from yet
      trajectories_dropped: lost, buffer_success_rate: lost ? recorded / (recorded + lost) : 1,
      patterns_stored: told.patterns, patterns_learned: told.patterns,
      micro_updates: told.server.instant_updates, background_cycles: told.version, ewc_tasks: null,
      instant_enabled: true, background_enabled: told.server.automatic ?? null, // an earlier service does not tell
    });
  }

  // Code for @ruvector/sona awaits none of its calls, and Node ends a process at a rejection that nobody handles.
  _outlived(name, promise) {
    promise.catch((error) => this.queue._warn(name, `${name} has failed: ${error.message}`));
    return promise;
  }

  setEnabled(enabled) {
    this._enabled = Boolean(enabled);
  }

  isEnabled() {
    return this._enabled;
  }

  /** Send what is queued and stop; resolves to the number of entries that are left. */
  async close() {
    clearInterval(this._timer);
    this._clockKept = -Infinity;
    this._keepClock();
    try {
      return await this.queue.flush();
    } catch {
      return this.queue.length; // the key is refused
    } finally {
      this.queue.close();
    }
  }
}
