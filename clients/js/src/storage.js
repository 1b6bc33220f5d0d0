// Storages of a FeedbackQueue. Each queue opens one for its connection (`of`: URL and space of the service), and owns the
// entries that it appends. Entries of an owner that has ended are adopted by another queue of the same connection; an owner
// that is only slow may lose its entries to another: both send them then, and the service stores them once, by their ids, or
// one that has no firm number yet leaves them to the other.

import { uuid7 } from "./ids.js";

export const LEASE = 180_000; // milliseconds for which an owner that is not heard of is taken for alive
const SLACK = 1000; // milliseconds by which two pages' clocks may differ

/** Return the entries among stored texts, and how many texts are torn: a process was killed while it wrote. */
export function readable(texts) {
  const entries = [];
  let torn = 0;
  for (const text of texts) {
    try {
      entries.push(JSON.parse(text));
    } catch {
      torn += 1;
    }
  }
  return { entries, torn };
}

/** Return what a storage kept of an earlier connection (`of`, and of adapters `tag`, `clock`, `told`), or {}: nothing, or a text that is damaged. */
export function kept(text) {
  const { entries: [found] } = readable(text ? [text] : []);
  return found && typeof found === "object" ? found : {};
}

/** Return the connection whose adapters a storage has, or null. */
export const connectionOf = (adapters) => kept(adapters).of ?? null;

/** Storage in memory: entries are lost with the process. */
export function memoryStorage() {
  let left = []; // entries of closed queues
  return {
    open(of) {
      const own = new Set();
      return {
        adopt() {
          const entries = left.filter((entry) => entry.of === of);
          left = left.filter((entry) => entry.of !== of);
          for (const entry of entries) own.add(entry);
          return { entries, torn: 0 };
        },
        append: (entry) => own.add(entry),
        taken: () => [],
        rewrite() {},
        remove: (entries) => entries.forEach((entry) => own.delete(entry)),
        renew() {},
        close() {
          left = left.concat([...own]);
          own.clear();
        },
      };
    },
  };
}

/** Storage in a browser's localStorage, under keys that begin with `name`: all tabs of an origin share it. Where the browser forbids
 *  site data it keeps nothing, as one that is full: queues warn once and count `unstored`. */
export function browserStorage(name = "sona-pg queue", storage = localStorageIfAllowed()) {
  const adapters = `${name} adapters`; // no key of an entry
  const before = connectionOf(storage.getItem(adapters)); // it wrote the entries of 0.1.0's first builds, which name none
  const clock = `${name} clock`;
  const saved = {
    loadClock: () => storage.getItem(clock),
    saveClock: (text) => fits(() => storage.setItem(clock, text)), // without room the one before stays
    loadAdapters: () => storage.getItem(adapters),
    saveAdapters(text) {
      if (!fits(() => storage.setItem(adapters, text))) storage.removeItem(adapters); // the room is for entries
    },
  };
  const write = (key, text) => {
    if (fits(() => storage.setItem(key, text))) return;
    storage.removeItem(adapters);
    storage.setItem(key, text);
  };
  return { ...saved, open: (of, heard) => new TabStore({ name, storage, of, heard, write, old: before === null || before === of }) };
}

const NO_ROOM = ["QuotaExceededError", "SecurityError"]; // storage is full, or the browser forbids it

function fits(call) {
  try {
    call();
    return true;
  } catch (error) {
    if (!NO_ROOM.includes(error.name)) throw error;
    return false;
  }
}

function localStorageIfAllowed() {
  try {
    return globalThis.localStorage ?? forbidden(new DOMException("there is no localStorage here", "SecurityError")); // none: a WebView, or Node
  } catch (error) {
    if (error.name !== "SecurityError") throw error;
    return forbidden(error);
  }
}

const forbidden = (error) => ({ getItem: () => null, removeItem() {}, setItem() { throw error; } });

// Keys: NAME/CONNECTION/OWNER/NUMBER of an entry, for callers choose ids that are alike; NAME lease/CONNECTION/OWNER of the time until which its owner is alive.
class TabStore {
  constructor({ name, storage, of, heard, write, old }) {
    this._storage = storage;
    this._write = write;
    this._entry = `${name}/${encodeURIComponent(of)}/`;
    this._lease = `${name} lease/${encodeURIComponent(of)}/`;
    this._old = old ? `${name}/` : null; // keys of entries that name no connection and no owner
    this._owner = uuid7();
    this._leased = false;
    this._gone = false; // the page: what it still records is another's at once
    this._keys = new Map(); // key of each entry
    this._made = 0; // keys
    const own = this._lease + this._owner;
    this._listeners = {
      pagehide: () => { this._gone = true; this._release(); },
      pageshow: ({ persisted }) => { this._gone = false; if (persisted) this.renew(); }, // back from the browser's cache of pages
      storage: ({ key, newValue }) => newValue === null && key?.startsWith(this._lease) && key !== own && heard(), // a tab was closed
    };
    for (const [event, listener] of Object.entries(this._listeners)) globalThis.addEventListener?.(event, listener);
  }

  /** Take the entries whose owner has ended. */
  adopt() {
    const held = new Set(this._keys.values());
    const keys = [...this._left(), ...this._older()].filter((key) => !held.has(key));
    if (keys.length) fits(() => this._extend()); // without room for a lease another tab takes them too, and the service stores them once
    const told = keys.map((key) => this._take(key)).filter((one) => one !== null);
    return { entries: told.flatMap((one) => one.entries), torn: told.reduce((sum, one) => sum + one.torn, 0) };
  }

  append(entry) {
    if (!this._leased && !this._gone) this._extend();
    const key = this._newKey();
    this._write(key, JSON.stringify(entry));
    this._keys.set(entry, key);
  }

  /** Let go of the entries that another tab has taken, as it may where the device's clock was set, and return them. */
  taken(entries) {
    const gone = entries.filter((entry) => this._keys.has(entry) && this._storage.getItem(this._keys.get(entry)) === null);
    for (const entry of gone) this._keys.delete(entry);
    return gone;
  }

  /** Write entries that were corrected. */
  rewrite(entries) {
    for (const entry of entries) if (this._keys.has(entry)) this._write(this._keys.get(entry), JSON.stringify(entry));
  }

  remove(entries) {
    for (const entry of entries) {
      if (this._keys.has(entry)) this._storage.removeItem(this._keys.get(entry));
      this._keys.delete(entry);
    }
  }

  /** Say that this owner is alive; called every minute, as a browser lets a hidden page's timers run. */
  renew() {
    for (const key of this._found(this._lease)) if (!this._lives(key)) this._storage.removeItem(key);
    if (this._keys.size) fits(() => this._extend());
    else this._release();
  }

  close() {
    this._release();
    for (const [event, listener] of Object.entries(this._listeners)) globalThis.removeEventListener?.(event, listener);
  }

  _found(start) {
    return Object.keys(this._storage).filter((key) => key.startsWith(start));
  }

  // One that ends later than it could is of a clock that was ahead, and is none: its tab, if it lives, renews it within a minute.
  _lives(lease) {
    const left = Number(this._storage.getItem(lease)) - Date.now();
    return left > 0 && left <= LEASE + SLACK;
  }

  _newKey() {
    this._made += 1;
    return `${this._entry}${this._owner}/${this._made}`;
  }

  _left() {
    const lives = new Map([[this._owner, true]]);
    return this._found(this._entry).filter((key) => {
      const [owner] = key.slice(this._entry.length).split("/", 1);
      if (!lives.has(owner)) lives.set(owner, this._lives(this._lease + owner));
      return !lives.get(owner);
    });
  }

  _older() {
    return this._old ? this._found(this._old).filter((key) => !key.includes("/", this._old.length)) : [];
  }

  // Under a key of ours if there is room, so that no other tab takes it too; a moment under both keys, so that none is lost.
  _take(key) {
    const text = this._storage.getItem(key);
    if (text === null) return null; // another tab was faster
    const told = readable([text]);
    const [entry] = told.entries;
    const ours = this._newKey();
    if (entry && fits(() => this._storage.setItem(ours, text))) {
      this._keys.set(entry, ours);
      this._storage.removeItem(key);
    } else if (entry) this._keys.set(entry, key);
    else this._storage.removeItem(key);
    return told;
  }

  _extend() {
    this._write(this._lease + this._owner, `${Date.now() + LEASE}`);
    this._leased = true;
  }

  _release() {
    this._leased = false;
    this._storage.removeItem(this._lease + this._owner);
  }
}
