// The queue and the engine while the service is away, and what is lost or refused: SONA_URL names a service.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { nowhere, problem } from "../fixtures/queues.js";
import { DIM, space, taught, url } from "../fixtures/service.js";
import { FeedbackQueue, memoryStorage, ServiceError, SonaClient, SonaEngine, uuid7 } from "../src/index.js";
import { fileStorage } from "../src/file-storage.js";

test("a process that ends by itself sends first what it has recorded, and says what it could not send", async () => {
  const name = await space();
  const source = fileURLToPath(new URL("../src/index.js", import.meta.url));
  const program = (to) => `import { FeedbackQueue, SonaClient, uuid7 } from ${JSON.stringify(source)};
    const queue = new FeedbackQueue(new SonaClient(${JSON.stringify(to)}, { space: ${JSON.stringify(name)} }));
    const id = uuid7();
    queue.add("trajectory", { id, vector: new Array(${DIM}).fill(1), quality: 1 }, id);
    console.log(id);`;
  const run = (to) => promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program(to)]);
  const sent = await run(url);
  assert.equal(sent.stderr, "");
  const client = new SonaClient(url, { space: name });
  assert.equal((await client.learn()).trajectories, 1);
  const lost = await run("http://127.0.0.1:9"); // where nothing listens
  assert.match(lost.stderr, /entries that are not sent: 1/);
});

test("a page of another origin is told how the service lets it in", async () => {
  const away = new SonaClient("http://127.0.0.1:9");
  await assert.rejects(away.stats(), (error) => error.status === 0 && !error.message.includes("--origin"));
  globalThis.location = { origin: "https://app.example" };
  try {
    await assert.rejects(away.stats(), /does not answer: .*sona-pg serve --origin https:\/\/app\.example/);
  } finally {
    delete globalThis.location;
  }
});

test("what is recorded while the service is away is sent once it is back, and counted once", async () => {
  const name = await space();
  const path = join(mkdtempSync(join(tmpdir(), "sona-")), "queue.jsonl");
  const away = new SonaClient(url, { space: name, fetch: () => Promise.reject(new TypeError("fetch failed")) });
  const queue = new FeedbackQueue(away, { storage: fileStorage(path), delay: 60_000 });
  const ids = Array.from({ length: 5 }, () => uuid7());
  for (const id of ids) queue.add("trajectory", { id, vector: new Array(DIM).fill(0.5), route: "a", quality: 1 }, id);
  queue.add("feedback", { trajectory: ids[0], quality: 0, sequence: 1 }, "1");
  queue.add("trajectory", { id: uuid7(), vector: [1] }, "bad"); // of another dimension
  const entries = [...queue._entries];
  assert.equal(await queue.flush(), 7);
  queue.close();

  const client = new SonaClient(url, { space: name });
  const refused = [];
  const later = new FeedbackQueue(client, { storage: fileStorage(path), delay: 60_000, onRefused: (body) => refused.push(body) });
  assert.equal(later.length, 7);
  assert.equal(await later.flush(), 0);
  assert.deepEqual([later.refused, refused.length], [1, 1]);
  later.close();
  const none = new FeedbackQueue(client, { storage: fileStorage(path), delay: 60_000 });
  assert.equal(none.length, 0);
  none.close();

  const twice = new FeedbackQueue(client, { storage: memoryStorage(), delay: 60_000 });
  for (const { kind, body, id } of entries.slice(0, 6)) twice.add(kind, body, id);
  assert.equal(await twice.flush(), 0);
  twice.close();
  const learned = await client.learn();
  assert.deepEqual([learned.trajectories, learned.patterns > 0], [5, true]);
  const { found } = await client.search({ vector: new Array(DIM).fill(0.5), k: 10 });
  assert.equal(found.length, 5);
  assert.equal(found.find((one) => one.id === ids[0]).quality, 0);
});

test("a server that answers 503 is asked again after the pause that it names", async () => {
  let asked = 0;
  const server = createServer((request, response) => {
    request.resume();
    asked += 1;
    response.writeHead(asked === 1 ? 503 : 202, { "Content-Type": "application/json", "Retry-After": "0.05" });
    response.end(JSON.stringify({ detail: "away", ids: [] }));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new SonaClient(`http://127.0.0.1:${server.address().port}`);
  const queue = new FeedbackQueue(client, { delay: 1 });
  queue.add("trajectory", { id: uuid7(), text: "hello" }, "1");
  while (queue.length) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(asked, 2);
  queue.close();
  server.close();
});

test("what is lost is told once on the console, unless onRefused hears it", async (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  const client = new SonaClient(url, { space: await space() });
  const bad = () => ({ id: uuid7(), vector: [1] });
  const queue = new FeedbackQueue(client, { delay: 60_000 });
  for (const id of ["1", "2"]) queue.add("trajectory", bad(), id);
  assert.equal(await queue.flush(), 0);
  queue.close();
  assert.equal(queue.refused, 2);
  const told = warned.mock.calls.map(({ arguments: [text] }) => text);
  assert.equal(told.length, 1);
  assert.match(told[0], /the service refused an entry, which is lost: .*\/trajectories\/0\/vector: .*onRefused hears of each/);
  const heard = [];
  const listened = new FeedbackQueue(client, { delay: 60_000, onRefused: (body) => heard.push(body) });
  listened.add("trajectory", bad(), "1");
  await listened.flush();
  listened.close();
  const left = nowhere();
  left.endTrajectory(left.beginTrajectory([1, 2]));
  assert.equal(await left.close(), 1);
  assert.deepEqual([heard.length, warned.mock.callCount()], [1, 2]);
  assert.match(warned.mock.calls[1].arguments[0], /entries that are not sent: 1/);
});

test("an engine opens with the adapters of its last connection while the service is away", async () => {
  const name = await space();
  const storage = () => fileStorage(path);
  const path = join(mkdtempSync(join(tmpdir(), "sona-")), "queue.jsonl");
  let away = false;
  const options = { space: name, syncEvery: 0, fetch: (...request) => (away ? Promise.reject(new TypeError("fetch failed")) : fetch(...request)) };
  const first = await SonaEngine.connect(url, { ...options, storage: storage() });
  await taught(first.client);
  await first.sync();
  await first.close();
  away = true;
  await assert.rejects(SonaEngine.connect(url, options), (error) => error.status === 0 && error.isPassing);
  await assert.rejects(SonaEngine.connect(url, { ...options, space: "another", storage: storage() }), ServiceError);
  const engine = await SonaEngine.connect(url, { ...options, storage: storage() });
  const x = [2, 0, 0, 0, 0, 0, 0, 0];
  assert.equal(engine.version, 1);
  assert.deepEqual(engine.findPatterns(x, 3), first.findPatterns(x, 3));
  engine.endTrajectory(engine.beginTrajectory(x), 1);
  assert.equal(await engine.flush(), 1);
  away = false;
  assert.equal(await engine.sync(), false); // the same version
  assert.equal(await engine.close(), 0);
});

test("adapters that are damaged in their storage serve nobody, and keep no engine from opening", async () => {
  const name = await space();
  const path = join(mkdtempSync(join(tmpdir(), "sona-")), "queue.jsonl");
  for (const text of ["", '{"of":"http', "null", "[]", "3"]) {
    writeFileSync(`${path}.adapters`, text);
    const isAway = { fetch: () => Promise.reject(new TypeError("fetch failed")) };
    await assert.rejects(SonaEngine.connect(url, { space: name, storage: fileStorage(path), ...isAway }), (error) => error.isPassing);
    const engine = await SonaEngine.connect(url, { space: name, syncEvery: 0, storage: fileStorage(path) });
    assert.equal(engine.version, 0);
    await engine.close();
    assert.notEqual(readFileSync(`${path}.adapters`, "utf8"), text); // the next outage finds them
  }
});

test("a tick never rejects, and asks nothing while the engine looks by itself", async (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  t.mock.method(globalThis, "setInterval", () => ({}));
  let now = 0;
  t.mock.method(performance, "now", () => now);
  let [away, asked] = [false, 0];
  const asks = (...request) => {
    asked += 1;
    return away ? Promise.reject(new TypeError("fetch failed")) : fetch(...request);
  };
  const options = { space: await space(), fetch: asks };
  const looking = await SonaEngine.connect(url, options);
  const idle = await SonaEngine.connect(url, { ...options, syncEvery: 0 });
  asked = 0;
  assert.equal(await idle.tick(), null);
  now = 5000;
  assert.equal(await looking.tick(), null);
  assert.equal(asked, 0);
  await taught(new SonaClient(url, { space: options.space }));
  await looking._look();
  assert.deepEqual([await looking.tick(), await looking.tick()], ["version 1 is applied", null]);
  assert.deepEqual([await idle.tick(), await idle.tick(), asked], ["version 1 is applied", null, 2]);
  away = true;
  now = 10_000;
  assert.deepEqual([await idle.tick(), await idle.tick(), asked, warned.mock.callCount()], [null, null, 3, 0]);
  idle.client._fetch = () => Promise.resolve(problem(401, "the key is revoked"));
  now = 15_000;
  assert.equal(await idle.tick(), null);
  assert.match(warned.mock.calls[0].arguments[0], /learned adapters are not applied here: the key is revoked/);
  for (const engine of [looking, idle]) await engine.close();
});

test("a call that is not awaited never ends a process while the service is away", async () => {
  const source = (name) => JSON.stringify(fileURLToPath(new URL(`../${name}`, import.meta.url)));
  const program = `import { nowhere } from ${source("fixtures/queues.js")};
    const engine = nowhere();
    engine.tick(); engine.forceLearn(); engine.getStats(); engine.flush();
    process.on("exit", () => console.log("ended by itself"));`;
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program]);
  assert.equal(stdout, "ended by itself\n");
  assert.match(stderr, /getStats has failed: the service at .* does not answer/);
  await assert.rejects(nowhere().getStats(), ServiceError);
});
