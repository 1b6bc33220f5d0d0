// Storage of a FeedbackQueue in files, for Node: a line an entry, written before `add` returns. Each process appends to files
// of its own beside `path`, segments of SEGMENT entries that are deleted once all of theirs are sent.
// A segment that was sent in part by a process that was killed is sent again: the service stores each id once.

import { createHash } from "node:crypto";
import {
  appendFileSync, closeSync, existsSync, fstatSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync, writeSync,
} from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { threadId } from "node:worker_threads";

import { connectionOf, LEASE, readable } from "./storage.js";

const SEGMENT = 250; // entries
const FULL = ["ENOSPC", "EDQUOT", "EFBIG"]; // no room: of the disk, of this user, of a file
const HOST = hostname().replace(/[^\w-]/g, "_") || "_";
const NAME = /^\.([0-9a-f]{16})\.([\w-]+)\.(\d+)\.(\d+)\.(\d+)-(\d+)$/; // connection, host, process, thread, owner, segment
const living = new Set(); // owners of this thread
let opened = 0;

export function fileStorage(path) {
  const adapters = `${path}.adapters`;
  const clock = `${path}.clock`;
  const loadAdapters = () => (existsSync(adapters) ? readFileSync(adapters, "utf8") : null);
  const before = connectionOf(loadAdapters()); // it wrote the file of 0.1.0's first builds, whose lines name none
  return {
    loadAdapters,
    saveAdapters: (text) => replaced(adapters, text),
    loadClock: () => (existsSync(clock) ? readFileSync(clock, "utf8") : null),
    saveClock: (text) => replaced(clock, text),
    open: (of) => new FileStore(path, of, before === null || before === of),
  };
}

// Write a file at once or not at all; where the disk is full the one before stays. Return whether it was written.
function replaced(file, text) {
  const made = `${file}.${process.pid}.new`;
  try {
    writeFileSync(made, text);
    renameSync(made, file);
    return true;
  } catch (error) {
    rmSync(made, { force: true });
    if (!FULL.includes(error.code)) throw error;
    return false;
  }
}

// Write a text over a longer one in its own room: the disk is full. Lines without anything are none.
function overwritten(file, text) {
  const opened = openSync(file, "r+");
  try {
    writeSync(opened, text.padEnd(fstatSync(opened).size, "\n"), 0);
  } finally {
    closeSync(opened);
  }
}

class FileStore {
  constructor(path, of, takesOlder) {
    this._path = path;
    this._older = takesOlder;
    this._connection = createHash("sha256").update(of).digest("hex").slice(0, 16);
    this._owner = `${Date.now()}${(opened += 1)}`;
    living.add(this._owner);
    this._made = 0; // segments
    this._segment = null; // the one that is appended to
    this._segments = new Map(); // of each entry: { file, left, written }
  }

  /** Take the segments whose process has ended: a file is renamed by one process only. */
  adopt() {
    const found = readdirSync(dirname(this._path))
      .filter((file) => file.startsWith(basename(this._path)))
      .filter((file) => this._adoptable(file.slice(basename(this._path).length), file)).sort();
    const told = found.map((file) => this._take(join(dirname(this._path), file)));
    return { entries: told.flatMap((one) => one.entries), torn: told.reduce((sum, one) => sum + one.torn, 0) };
  }

  append(entry) {
    if (!this._segment || this._segment.written === SEGMENT) this._segment = this._new();
    const segment = this._segment;
    try {
      appendFileSync(segment.file, `${JSON.stringify(entry)}\n`);
    } catch (error) {
      this._segment = null; // its last line may be torn
      throw error;
    }
    segment.written += 1;
    this._hold(entry, segment);
  }

  /** Let go of the entries that another process has taken, and return them. */
  taken(entries) {
    const gone = entries.filter((entry) => this._segments.has(entry) && !existsSync(this._segments.get(entry).file));
    for (const entry of gone) this._segments.delete(entry);
    return gone;
  }

  /** Write the segments of entries that were corrected again. */
  rewrite(entries) {
    for (const segment of new Set(entries.map((entry) => this._segments.get(entry)))) {
      if (!segment) continue;
      const held = [...this._segments].filter(([, own]) => own === segment);
      const text = held.map(([entry]) => `${JSON.stringify(entry)}\n`).join("");
      if (!replaced(segment.file, text)) overwritten(segment.file, text);
    }
  }

  remove(entries) {
    for (const entry of entries) {
      const segment = this._segments.get(entry);
      if (!segment || !this._segments.delete(entry)) continue;
      segment.left -= 1;
      if (segment.left) continue;
      rmSync(segment.file, { force: true }); // it may be another's by now
      if (segment === this._segment) this._segment = null;
    }
  }

  /** Say that this process is alive, to those of other machines. */
  renew() {
    const now = new Date();
    for (const { file } of this._held()) present(() => utimesSync(file, now, now)); // else another process has it by now
  }

  close() {
    living.delete(this._owner);
    for (const segment of this._held()) {
      const file = this._name(0, (this._made += 1));
      if (present(() => renameSync(segment.file, file))) segment.file = file;
    }
    this._segment = null;
  }

  _held() {
    return new Set(this._segments.values());
  }

  _name(process, number) {
    return `${this._path}.${this._connection}.${HOST}.${process}.${threadId}.${this._owner}-${number}`;
  }

  _new() {
    this._made += 1;
    return { file: this._name(process.pid, this._made), left: 0, written: 0 };
  }

  _hold(entry, segment) {
    segment.left += 1;
    this._segments.set(entry, segment);
  }

  _adoptable(rest, file) {
    if (rest === "") return this._older;
    const [, connection, host, process, thread, owner] = NAME.exec(rest) ?? [];
    if (connection !== this._connection) return false;
    return process === "0" || !lives({ host, process: Number(process), thread: Number(thread), owner }, join(dirname(this._path), file));
  }

  _take(file) {
    const segment = this._new();
    if (!present(() => renameSync(file, segment.file))) return { entries: [], torn: 0 }; // another process was faster, or sent it
    const told = readable(readFileSync(segment.file, "utf8").split("\n").filter(Boolean));
    for (const entry of told.entries) this._hold(entry, segment);
    if (!told.entries.length) rmSync(segment.file);
    return told;
  }
}

// Whether the owner of a segment is alive. Another machine's process, or a thread's, is as long as it renews its files.
function lives({ host, process: pid, thread, owner }, file) {
  if (host === HOST && pid === process.pid && thread === threadId) return living.has(owner); // else of a process before with this number
  if (host === HOST && pid !== process.pid && !runs(pid)) return false;
  const { mtimeMs } = statSync(file, { throwIfNoEntry: false }) ?? { mtimeMs: 0 };
  return Math.abs(Date.now() - mtimeMs) < LEASE; // a time further ahead is of a clock that was set back since
}

function runs(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

function present(call) {
  try {
    call();
    return true;
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
    return false;
  }
}
