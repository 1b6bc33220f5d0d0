// Storages of the queue: whose entries are whose, and that none is lost. No service is needed.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { pageStorage } from "../fixtures/page-storage.js";
import { answer, away, lastTold, opened, planned, SERVICE, sequences, tell } from "../fixtures/queues.js";
import { fileStorage } from "../src/file-storage.js";
import { browserStorage, memoryStorage, uuid7 } from "../src/index.js";

const folder = () => join(mkdtempSync(join(tmpdir(), "sona-")), "queue.jsonl");
const killed = (queue) => { // its memory and timers are gone, its storage is as it was
  clearTimeout(queue._timer);
  clearInterval(queue._look);
  queue._closed = true;
};

const KINDS = {
  "two tabs": () => { const page = pageStorage(); return () => browserStorage("q", page); },
  "two queues on one file": () => { const path = folder(); return () => fileStorage(path); },
  "two queues of one process": () => { const storage = memoryStorage(); return () => storage; },
};
for (const [kind, made] of Object.entries(KINDS)) {
  test(`${kind} delete nothing that is the other's, and what a closed one left is adopted once`, async () => {
    const storage = made();
    const [a, b] = [opened(storage(), { fetch: answer }), opened(storage())];
    tell(b, 3);
    tell(a, 2);
    assert.equal(await a.flush(), 0);
    const left = sequences(b);
    b.close();
    const [c, d] = [opened(storage()), opened(storage())];
    assert.deepEqual([sequences(c), d.length], [left, 0]);
    a._adopt();
    assert.equal(a.length, 0); // c lives
    for (const queue of [a, c, d]) queue.close();
    const last = opened(storage(), { fetch: answer });
    assert.deepEqual(sequences(last), left);
    assert.equal(await last.flush(), 0);
    last.close();
    const none = opened(storage());
    assert.equal(none.length, 0);
    none.close();
  });

  test(`${kind} send only what was recorded for their own service and space`, async () => {
    const storage = made();
    const first = opened(storage());
    tell(first, 2);
    first.close();
    for (const other of [{ space: "b" }, { url: "http://127.0.0.1:10" }]) {
      const queue = opened(storage(), { ...other, fetch: answer });
      assert.equal(queue.length, 0);
      tell(queue);
      assert.equal(await queue.flush(), 0);
      queue.close();
    }
    const again = opened(storage());
    assert.equal(again.length, 2);
    again.close();
  });
}

test("entries of a tab that crashed are adopted once its lease has ended", (t) => {
  const kept = new Map();
  const crashed = opened(browserStorage("q", pageStorage(kept)));
  tell(crashed, 2);
  killed(crashed);
  const early = opened(browserStorage("q", pageStorage(kept)));
  assert.equal(early.length, 0);
  for (const [key] of kept) if (key.startsWith("q lease/")) kept.set(key, `${Date.now() - 1}`);
  early._adopt();
  assert.deepEqual(sequences(early), sequences(crashed));
  early.close();
});

test("entries of a process that was killed are there for the next one, at once", async () => {
  const path = folder();
  const [files, queue] = ["file-storage.js", "index.js"].map((name) => fileURLToPath(new URL(`../src/${name}`, import.meta.url)));
  const program = `import { fileStorage } from ${JSON.stringify(files)};
    import { FeedbackQueue, SonaClient, uuid7 } from ${JSON.stringify(queue)};
    const queue = new FeedbackQueue(new SonaClient("${SERVICE}", { space: "a" }), { storage: fileStorage(${JSON.stringify(path)}), delay: 60_000 });
    for (let place = 0; place < 3; place++) queue.add("feedback", { trajectory: uuid7(), quality: 1, sequence: place }, String(place));
    process.kill(process.pid, "SIGKILL");`;
  await assert.rejects(promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program]), { signal: "SIGKILL" });
  const next = opened(fileStorage(path));
  assert.deepEqual(sequences(next), [0, 1, 2]);
  next.close();
});

test("files of another machine's process are adopted once it has not renewed them", () => {
  const path = folder();
  const queue = opened(fileStorage(path));
  tell(queue, 2);
  killed(queue);
  const [name] = readdirSync(join(path, ".."));
  const parts = name.split(".");
  parts[3] = "another-machine";
  const theirs = join(path, "..", parts.join("."));
  writeFileSync(theirs, readFileSync(join(path, "..", name)));
  const early = opened(fileStorage(path));
  assert.equal(early.length, 0);
  utimesSync(theirs, 1, 1);
  early._adopt();
  assert.equal(early.length, 2);
  early.close();
  const [left] = readdirSync(join(path, "..")).filter((file) => file.includes(".0.")).map((file) => join(path, "..", file));
  const ahead = theirs.replace("another-machine", "a-third");
  writeFileSync(ahead, readFileSync(left));
  const nextYear = Date.now() / 1000 + 365 * 86_400;
  utimesSync(ahead, nextYear, nextYear); // renewed when its clock was ahead
  const late = opened(fileStorage(path));
  assert.equal(late.length, 4);
  late.close();
});

test("a torn line is left out and counted, and later entries are found", (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  const path = folder();
  const first = opened(fileStorage(path));
  tell(first, 2);
  const [segment] = readdirSync(join(path, ".."));
  appendFileSync(join(path, "..", segment), '{"id":"01a205a3-12f8'); // a kill while it wrote
  first.close();
  const second = opened(fileStorage(path));
  tell(second, 10);
  assert.deepEqual([second.length, second.torn], [12, 1]);
  assert.match(warned.mock.calls.at(-1).arguments[0], /stored entries that cannot be read are left out: 1/);
  second.close();
  const third = opened(fileStorage(path));
  assert.equal(third.length, 12);
  third.close();
});

test("entries of 0.1.0's first builds are sent by the space that wrote them", () => {
  const path = folder();
  const entry = JSON.stringify({ id: "7", kind: "feedback", body: { trajectory: uuid7(), quality: 1, sequence: 7 } });
  writeFileSync(path, `${entry}\n{"id`);
  const adapters = JSON.stringify({ of: `${SERVICE} a` });
  writeFileSync(`${path}.adapters`, adapters);
  const page = pageStorage(new Map([["q/7", entry], ["q adapters", adapters]]));
  for (const storage of [() => fileStorage(path), () => browserStorage("q", page)]) {
    const counts = ["b", "a", "a"].map((space) => {
      const queue = opened(storage(), { space });
      queue.close();
      return queue.length;
    });
    assert.deepEqual(counts, [0, 1, 1]);
  }
});

test("a full storage stops nobody: the entry waits in memory, is sent, and the loss is told once", async (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  const kept = new Map([["q adapters", JSON.stringify({ of: `${SERVICE} a` })]]);
  const queue = opened(browserStorage("q", pageStorage(kept, { left: 4 })), { fetch: answer, delay: 1 });
  tell(queue, 5); // with the lease three have room, and the third where the adapters were
  assert.deepEqual([queue.length, queue.unstored, kept.has("q adapters")], [5, 2, false]);
  assert.deepEqual(warned.mock.calls.map(({ arguments: [text] }) => /wait in memory only.*exceeded the quota/.test(text)), [true]);
  while (queue.length) await new Promise((resolve) => setTimeout(resolve, 1)); // the timer of the first add sends
  assert.deepEqual([...kept.keys()].filter((key) => key.startsWith("q/")), []);
  queue.close();
});

const DENIED = Object.assign(new Error("Access is denied for this document"), { name: "SecurityError" });
const NO_STORAGE = {
  "a browser that forbids site data": [() => { throw DENIED; }, /wait in memory only.*Access is denied/],
  "a WebView that has no localStorage": [() => null, /wait in memory only.*there is no localStorage/],
};
for (const [browser, [get, told]] of Object.entries(NO_STORAGE)) test(`${browser} stops nobody: entries wait in memory, are sent, and the loss is told once`, async (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  const before = Object.getOwnPropertyDescriptor(globalThis, "localStorage");
  Object.defineProperty(globalThis, "localStorage", { configurable: true, get });
  t.after(() => (before ? Object.defineProperty(globalThis, "localStorage", before) : delete globalThis.localStorage));
  const storage = browserStorage();
  storage.saveAdapters("new");
  assert.equal(storage.loadAdapters(), null);
  const queue = opened(storage, { fetch: answer });
  tell(queue, 2);
  assert.deepEqual([queue.length, queue.unstored], [2, 2]);
  assert.deepEqual(warned.mock.calls.map(({ arguments: [text] }) => told.test(text)), [true]);
  assert.equal(await queue.flush(), 0);
  queue.close();
});

test("a page whose storage is full keeps no adapters", () => {
  const kept = new Map([["q adapters", JSON.stringify({ of: "" })]]);
  const full = pageStorage(kept);
  const pages = browserStorage("q", new Proxy(full, { get: (_, name) => (name === "setItem" ? () => { throw Object.assign(new Error("full"), { name: "QuotaExceededError" }); } : full[name]) }));
  pages.saveAdapters("new");
  assert.equal(pages.loadAdapters(), null);
});

test("beyond the most entries the oldest are dropped, told once, and no other entry is written again", (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  const path = folder();
  const queue = opened(fileStorage(path), { most: 600 });
  tell(queue, 600);
  const files = () => readdirSync(join(path, "..")).sort();
  assert.equal(files().length, 3);
  tell(queue, 260);
  assert.equal(files().length, 3); // the first segment went, and one was begun
  assert.deepEqual([queue.length, queue.dropped, warned.mock.callCount()], [600, 260, 1]);
  assert.match(warned.mock.calls[0].arguments[0], /more than 600 entries wait: the oldest are dropped/);
  queue.close();
});

test("of a closed queue's entries and one's own the oldest are dropped", (t) => {
  t.mock.method(console, "warn", () => {});
  const page = pageStorage();
  const [closed, lasting] = [0, 1].map(() => opened(browserStorage("q", page), { most: 4 }));
  tell(closed, 3);
  tell(lasting, 3);
  const kept = [...sequences(closed).slice(2), ...sequences(lasting)];
  closed.close();
  lasting._adopt();
  assert.deepEqual([sequences(lasting), lasting.dropped], [kept, 2]);
  lasting.close();
});

test("facts of several trajectories with one sequence number are all kept", () => {
  const page = pageStorage();
  const first = opened(browserStorage("q", page));
  for (const trajectory of ["a", "b", "c"]) first.add("feedback", { trajectory, quality: 1, sequence: 1 }, "1");
  first.close();
  const next = opened(browserStorage("q", page));
  assert.deepEqual(next._entries.map(({ body }) => body.trajectory).sort(), ["a", "b", "c"]);
  next.close();
});

test("a page opens its queue on a storage that is full, with the entries of a closed tab", (t) => {
  t.mock.method(console, "warn", () => {});
  const [kept, room] = [new Map(), { left: Infinity }];
  const closed = opened(browserStorage("q", pageStorage(kept, room)));
  tell(closed, 2);
  closed.close();
  room.left = 0;
  const next = opened(browserStorage("q", pageStorage(kept, room)));
  assert.deepEqual(sequences(next), sequences(closed));
  next._store.renew();
  next.close();
  assert.equal(kept.size, 2);
});

test("a folder that goes away is told once, and the queue goes on in memory", async (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  const timers = planned(t, "setInterval");
  const path = folder();
  const queue = opened(fileStorage(path), { fetch: answer });
  tell(queue);
  rmSync(dirname(path), { recursive: true });
  timers().at(-1)[0](); // the look for others' files
  tell(queue);
  assert.deepEqual([queue.length, queue.unstored], [2, 1]);
  assert.equal(await queue.flush(), 0);
  queue.close();
  assert.deepEqual(warned.mock.calls.map(({ arguments: [text] }) => /the storage fails.*ENOENT/.test(text)), [true]);
});

test("more entries than a call has arguments are adopted", (t) => {
  t.mock.method(console, "warn", () => {});
  const count = 200_000;
  const entries = Array.from({ length: count }, (_, at) => ({ of: `${SERVICE} a`, id: `${at}`, kind: "feedback", at, body: { sequence: at } }));
  const told = memoryStorage();
  const left = told.open(`${SERVICE} a`);
  entries.forEach(left.append);
  left.close();
  const queue = opened(told);
  assert.deepEqual([queue.length, queue.dropped, queue._entries[0].body.sequence], [10_000, count - 10_000, count - 10_000]);
  queue.close();
});

test("an entry that is being sent is not dropped", async (t) => {
  t.mock.method(console, "warn", () => {});
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  const sent = [];
  const fetch = async (_, { body }) => { sent.push(...JSON.parse(body).feedback.map((one) => one.sequence)); await held; return answer(); };
  const queue = opened(memoryStorage(), { most: 3, fetch, atOnce: 2 });
  tell(queue, 3);
  const [first, second, third] = sequences(queue);
  const flushed = queue.flush();
  while (!sent.length) await new Promise((resolve) => setTimeout(resolve, 1)); // until it is asked
  tell(queue, 1);
  release();
  assert.equal(await flushed, 0);
  assert.deepEqual([sent, queue.dropped], [[first, second, lastTold()], 1]);
  assert.ok(!sent.includes(third));
  queue.close();
});

test("ids need no global crypto, which Node 18 lacks", (t) => {
  const known = Object.getOwnPropertyDescriptor(globalThis, "crypto");
  delete globalThis.crypto;
  t.after(() => known && Object.defineProperty(globalThis, "crypto", known));
  assert.match(uuid7(), /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.notEqual(uuid7(5), uuid7(5));
});

test("where the disk is full, adapters of an earlier version stay and nothing half written is left", async () => {
  const path = folder();
  fileStorage(path).saveAdapters("earlier");
  const source = fileURLToPath(new URL("../src/file-storage.js", import.meta.url));
  const code = `import { fileStorage } from ${JSON.stringify(source)}; fileStorage(${JSON.stringify(path)}).saveAdapters("x".repeat(100_000)); console.log("goes on")`;
  const limited = 'ulimit -f 1; exec "$0" --input-type=module --eval "$1"'; // files of one block at most
  const { stdout } = await promisify(execFile)("bash", ["-c", limited, process.execPath, code]);
  assert.equal(stdout, "goes on\n");
  assert.equal(readFileSync(`${path}.adapters`, "utf8"), "earlier");
  assert.deepEqual(readdirSync(dirname(path)), ["queue.jsonl.adapters"]);
});
