// Queue of trajectories and feedback: adding never waits; what cannot be sent now is kept, also beyond the end of the
// page or process where the storage lasts. Every entry carries its own id or sequence number, so that one that is sent
// twice counts once.

import { encoded } from "./vectors.js";

/** Storage in memory: entries are lost with the process. */
export function memoryStorage() {
  let kept = [];
  return { load: () => kept, append: () => {}, save: (entries) => { kept = entries; } };
}

/** Storage in a browser's localStorage, under keys that begin with `name`; each tab has entries of its own. */
export function browserStorage(name = "sona-pg queue", storage = globalThis.localStorage) {
  const keys = () => Object.keys(storage).filter((key) => key.startsWith(`${name}/`)).sort();
  const adapters = `${name} adapters`; // no key of an entry
  const write = (entry) => storage.setItem(`${name}/${entry.id}`, JSON.stringify(entry));
  return {
    load: () => keys().map((key) => JSON.parse(storage.getItem(key))),
    append: write,
    save(entries) {
      const left = new Set(entries.map((entry) => `${name}/${entry.id}`));
      for (const key of keys()) if (!left.has(key)) storage.removeItem(key);
    },
    loadAdapters: () => storage.getItem(adapters),
    saveAdapters(text) {
      try {
        storage.setItem(adapters, text);
      } catch (error) {
        if (error.name !== "QuotaExceededError") throw error;
        storage.removeItem(adapters); // the room is for entries
      }
    },
  };
}

const BATCHES = { trajectory: ["recordTrajectories", "trajectories"], feedback: ["feedbacks", "feedback"] };
const waiting = new Set(); // queues with entries: a Node process that ends by itself sends these first
globalThis.process?.on?.("beforeExit", () => waiting.forEach((queue) => queue._end()));

const PAUSE = [500, 60_000]; // milliseconds between two attempts: the least, and the most

export class FeedbackQueue {
  constructor(client, { storage = memoryStorage(), most = 10_000, atOnce = 250, delay = 50, onRefused } = {}) {
    this.client = client;
    this.most = most; // entries; the oldest go first beyond it, and are counted in `dropped`
    this.dropped = 0;
    this.refused = 0; // entries that the service will never take
    this._storage = storage;
    this._atOnce = atOnce;
    this._delay = delay; // milliseconds that entries are gathered for one request
    this._onRefused = onRefused;
    this._entries = [...storage.load()];
    this._warned = new Set();
    this._pause = PAUSE[0];
    this._timer = null;
    this._sending = null;
    this._online = () => { this._pause = PAUSE[0]; this._later(0); };
    globalThis.addEventListener?.("online", this._online);
    if (this._entries.length) {
      waiting.add(this);
      this._later(this._delay);
    }
  }

  /** The number of entries that are not sent yet. */
  get length() {
    return this._entries.length;
  }

  /** Add a trajectory (`kind` "trajectory") or a fact ("feedback"). Never waits. */
  add(kind, body, id) {
    const entry = { id, kind, body: encoded(body) };
    this._entries.push(entry);
    this._storage.append(entry);
    if (this._entries.length > this.most) {
      this._entries.splice(0, this._entries.length - this.most);
      this.dropped += 1;
      this._storage.save(this._entries);
    }
    if (!this._closed) waiting.add(this);
    this._later(this._delay);
  }

  /** Send what is here; resolves to the number of entries that are left. Rejects only where the key is refused. */
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
    this._closed = true;
    waiting.delete(this);
    this._warnOfLeft();
    globalThis.removeEventListener?.("online", this._online);
  }

  /** The process ends: try once more. Entries that are left stay in the storage. */
  _end() {
    waiting.delete(this);
    this.flush().then(() => this._warnOfLeft(), (error) => this._warn("stopped", `sending has stopped, entries wait: ${error.message}`));
  }

  _warnOfLeft() {
    const { length } = this;
    if (length) this._warn("left", `entries that are not sent: ${length}; they can be sent later if the storage outlives this process`);
  }

  _later(delay) {
    if (this._timer !== null || this._closed) return;
    this._timer = setTimeout(() => {
      this._timer = null;
      this.flush().catch((error) => this._warn("stopped", `sending has stopped, entries wait: ${error.message}`));
    }, delay);
    this._timer.unref?.(); // a Node process may end meanwhile: it sends first
  }

  async _send() {
    while (this._entries.length) {
      const { kind } = this._entries[0];
      const batch = [];
      for (const entry of this._entries) {
        if (entry.kind !== kind || batch.length === this._atOnce) break;
        batch.push(entry);
      }
      try {
        await this._deliver(kind, batch);
      } catch (error) {
        if (!error.isPassing) throw error; // the key: it may be replaced, and the entries sent then
        this._pause = Math.min(2 * this._pause, PAUSE[1]);
        this._later(error.retryAfter ? 1000 * error.retryAfter : this._pause);
        return;
      }
      this._pause = PAUSE[0];
      const done = new Set(batch);
      this._entries = this._entries.filter((entry) => !done.has(entry));
      this._storage.save(this._entries);
    }
  }

  /** Write a warning; one of a kind is enough. */
  _warn(kind, told) {
    if (!this._warned.has(kind)) console.warn(`sona-pg: ${told}`);
    this._warned.add(kind);
  }

  async _deliver(kind, batch) {
    const [call, field] = BATCHES[kind];
    try {
      await this.client.call(call, { [field]: batch.map((entry) => entry.body) });
    } catch (error) {
      if (error.isPassing || error.status === 401 || error.status === 403 || error.status >= 500 || error.status === undefined) throw error;
      if (batch.length === 1) {
        this.refused += 1;
        if (this._onRefused) this._onRefused(batch[0].body, error);
        else this._warn("refused", `the service refused an entry, which is lost: ${reason(error)}. onRefused hears of each; queue.refused counts them`);
        return;
      }
      for (const entry of batch) await this._deliver(kind, [entry]); // one of them is refused: the others are not lost
    }
  }
}

const reason = ({ message, errors }) => [message, ...errors.map(({ pointer, detail }) => `${pointer}: ${detail}`)].join("; ");
