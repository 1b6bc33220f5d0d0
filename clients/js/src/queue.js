// Queue of trajectories and feedback: adding never waits; what cannot be sent now is kept, also beyond the end of the
// page or process where the storage lasts. Every entry carries its own id or sequence number, so that one that is sent
// twice counts once.

import { memoryStorage } from "./storage.js";
import { encoded } from "./vectors.js";

const BATCHES = { trajectory: ["recordTrajectories", "trajectories"], feedback: ["feedbacks", "feedback"] };
const waiting = new Set(); // queues with entries: a Node process that ends by itself sends these first
globalThis.process?.on?.("beforeExit", () => waiting.forEach((queue) => queue._end()));

const PAUSE = [500, 60_000]; // milliseconds between two attempts: the least, and the most
const MOST_PAUSE = 3_600_000; // that an answer's Retry-After can ask for
const LOOK = 60_000; // milliseconds between two looks for entries of tabs and processes that ended
const OF_CONNECTION = [401, 403, 404]; // refusals of the key or the space, which may be mended: no entry is lost by them
const OF_ONE = [413, 500]; // passing, or about one entry of a batch: the others need not wait for it

export class FeedbackQueue {
  constructor(client, { storage = memoryStorage(), most = 10_000, atOnce = 250, delay = 50, onRefused } = {}) {
    this.client = client;
    this.most = most; // entries; the oldest go first beyond it
    this.dropped = 0; // entries that went so
    this.refused = 0; // entries that the service will never take
    this.unstored = 0; // entries that the storage had no room for: they are sent, if this page or process lives until then
    this.torn = 0; // stored entries that could not be read
    this._atOnce = atOnce;
    this._delay = delay; // milliseconds that entries are gathered for one request
    this._onRefused = onRefused;
    this._entries = [];
    this._inFlight = 0; // of the first entries
    this._warned = new Set();
    this._pause = PAUSE[0];
    this._timer = null;
    this._sending = null;
    this._online = () => { this._pause = PAUSE[0]; this._again(0); };
    globalThis.addEventListener?.("online", this._online);
    this._store = storage.open(client.connection, () => this._adopt());
    this._look = setInterval(() => { this._stored(() => this._store.renew()); this._adopt(); }, LOOK);
    this._look.unref?.();
    this._adopt();
  }

  /** The number of entries that are not sent yet. */
  get length() {
    return this._entries.length;
  }

  /** Add a trajectory (`kind` "trajectory") or a fact ("feedback"). Never waits. `made`: of a fact whose number the clock made in doubt. */
  add(kind, body, id, made) {
    const entry = { of: this.client.connection, id, kind, at: Date.now(), body: encoded(body), made };
    this._entries.push(entry);
    if (!this._stored(() => { this._store.append(entry); return true; })) this.unstored += 1;
    this._added();
  }

  // Whatever the storage is, and however it fails: the entries are here, and the caller's own work goes on.
  _stored(call) {
    try {
      return call();
    } catch (error) {
      this._warn("unstored", `the storage fails, so entries wait in memory only, and are lost with this page or process unless they are sent before: ${error.message}. queue.unstored counts them`);
      return undefined;
    }
  }

  _adopt() {
    const { entries, torn } = this._stored(() => this._store.adopt()) ?? { entries: [], torn: 0 };
    this.torn += torn;
    if (torn) this._warn("torn", `stored entries that cannot be read are left out: ${torn}. queue.torn counts them`);
    if (!entries.length) return;
    for (const { made } of entries) if (made) made.passed = performance.now(); // another page's monotonic clock: they were made before now
    const later = entries.concat(this._entries.slice(this._inFlight)).sort((one, other) => (one.at ?? 0) - (other.at ?? 0));
    this._entries = this._entries.slice(0, this._inFlight).concat(later);
    this._added();
  }

  _added() {
    const over = this._entries.length - this.most;
    if (over > 0) {
      const oldest = this._entries.splice(this._inFlight, over);
      this.dropped += oldest.length;
      this._stored(() => this._store.remove(oldest));
      this._warn("dropped", `more than ${this.most} entries wait: the oldest are dropped. queue.dropped counts them`);
    }
    if (!this._closed) waiting.add(this);
    this._later(this._delay);
  }

  /** Send what is here; resolves to the number of entries that are left. Rejects only where the service refuses the key, or has no such space. */
  async flush() {
    clearTimeout(this._timer);
    this._timer = null;
    this._sending ??= this._send().finally(() => { this._sending = null; });
    await this._sending;
    if (!this._entries.length) waiting.delete(this);
    return this._entries.length;
  }

  /** Stop sending by itself; entries stay in the storage. */
  close() {
    clearTimeout(this._timer);
    this._timer = null;
    clearInterval(this._look);
    this._closed = true;
    waiting.delete(this);
    this._warnOfLeft();
    this._stored(() => this._store.close());
    globalThis.removeEventListener?.("online", this._online);
  }

  /** The process ends: try once more. Entries that are left stay in the storage. */
  _end() {
    waiting.delete(this);
    this.flush().then(() => this._warnOfLeft(), (error) => this._warnOfRefusal(error));
  }

  _warnOfLeft() {
    const { length } = this;
    if (length) this._warn("left", `entries that are not sent: ${length}; they can be sent later if the storage outlives this process`);
  }

  _warnOfRefusal(error) {
    this._warn("refusal", `entries wait, and are tried again: ${error.message}`);
  }

  _later(delay) {
    if (this._timer === null) this._again(delay);
  }

  /** Send after `delay` milliseconds, whatever was planned before. */
  _again(delay) {
    clearTimeout(this._timer);
    if (this._closed) return;
    this._timer = setTimeout(() => {
      this._timer = null;
      this.flush().catch((error) => this._warnOfRefusal(error));
    }, delay);
    this._timer.unref?.(); // a Node process may end meanwhile: it sends first
  }

  async _send() {
    while (this._entries.length) {
      try {
        await this._correct();
        const batch = this._next();
        this._inFlight = batch.length;
        if (batch.length) await this._deliver(batch[0].kind, batch);
      } catch (error) {
        if (!error.isPassing) {
          this._again(PAUSE[1]);
          throw error;
        }
        this._pause = Math.min(2 * this._pause, PAUSE[1]);
        this._again(error.retryAfter ? Math.min(1000 * error.retryAfter, MOST_PAUSE) : this._pause);
        return;
      } finally {
        this._inFlight = 0;
      }
    }
  }

  /** The entries that are sent next, all of one kind. */
  _next() {
    const end = this._entries.findIndex(({ kind }) => kind !== this._entries[0].kind);
    return this._entries.slice(0, Math.min(this._atOnce, end < 0 ? Infinity : end));
  }

  /** Correct all numbers that were made in doubt, before the first of them is sent. From then on they stay, in the storage too: what may
   *  have been sent is sent again as it was. Entries that another tab or process has by now are its own: it numbers them. */
  async _correct() {
    const since = Math.max(...this._next().map(({ made }) => made?.passed ?? -Infinity));
    if (since === -Infinity) return;
    await this.client.hear(since);
    const open = this._entries.filter(({ made }) => made);
    const taken = new Set(this._stored(() => this._store.taken?.(open)));
    this._entries = this._entries.filter((entry) => !taken.has(entry));
    const ours = open.filter((entry) => !taken.has(entry));
    this.client.clock.correct(ours);
    for (const entry of ours) delete entry.made;
    this._stored(() => this._store.rewrite?.(ours));
  }

  async _deliver(kind, batch) {
    const [call, field] = BATCHES[kind];
    try {
      await this.client.call(call, { [field]: batch.map((entry) => entry.body) });
    } catch (error) {
      if (error.isPassing ? !OF_ONE.includes(error.status) : isOfConnection(error)) throw error;
      if (batch.length > 1) {
        for (const entry of batch) await this._deliver(kind, [entry]); // one of them is refused: the others are not lost
        return;
      }
      if (error.isPassing) {
        this._entries.push(this._entries.shift());
        throw error;
      }
      this._settle(batch);
      this._tellRefused(batch[0].body, error);
      return;
    }
    this._pause = PAUSE[0];
    this._settle(batch);
  }

  /** Forget the first entries, `batch`, which are sent or refused. */
  _settle(batch) {
    this._entries.splice(0, batch.length);
    this._inFlight -= batch.length;
    this._stored(() => this._store.remove(batch));
  }

  _tellRefused(body, error) {
    this.refused += 1;
    if (this._onRefused) this._onRefused(body, error);
    else this._warn("refused", `the service refused an entry, which is lost: ${reason(error)}. onRefused hears of each; queue.refused counts them`);
  }

  /** Write a warning; one of a kind is enough. */
  _warn(kind, told) {
    if (!this._warned.has(kind)) console.warn(`sona-pg: ${told}`);
    this._warned.add(kind);
  }
}

// An error without a status is one of this program, not of an entry: it is thrown, and nothing is lost.
const isOfConnection = ({ status }) => status === undefined || OF_CONNECTION.includes(status);
const reason = ({ message, errors }) => [message, ...errors.map(({ pointer, detail }) => `${pointer}: ${detail}`)].join("; ");
