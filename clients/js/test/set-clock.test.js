// A device whose clock is set, or which sleeps, while the service is away. No service is needed: a function answers.

import assert from "node:assert/strict";
import fs, { mkdtempSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { pageStorage } from "../fixtures/page-storage.js";
import { opened, response, SERVICE, tell } from "../fixtures/queues.js";
import { DAY, HOUR, MINUTE, timeOf, World, YEAR } from "../fixtures/world.js";
import { fileStorage } from "../src/file-storage.js";
import { browserStorage, SonaClient, SonaEngine, uuid7 } from "../src/index.js";

const X = [1, 0];
const STORAGES = {
  files: () => { const path = join(mkdtempSync(join(tmpdir(), "sona-")), "queue.jsonl"); return () => fileStorage(path); },
  "a page's storage": () => { const page = pageStorage(); return () => browserStorage("q", page); },
};
const connected = (world, storage, options) => SonaEngine.connect(SERVICE, {
  space: "a", syncEvery: 0, storage, fetch: world.fetch, onRefused: (_, error) => assert.fail(error), ...options,
});
const recorded = (engine) => engine.endTrajectory(engine.beginTrajectory(X), 1);
const isNear = (at, time) => assert.ok(Math.abs(at - time) <= 5000, `${new Date(at).toISOString()} is not ${new Date(time).toISOString()}`);
const killed = (engine) => { // its timers are gone, its storage is as it was
  clearTimeout(engine.queue._timer);
  clearInterval(engine.queue._look);
  engine.queue._closed = true;
};

for (const step of [YEAR, -YEAR]) {
  test(`a page goes on with the service's time when its clock is set by ${step / DAY} days while the service is away`, async (t) => {
    const world = new World(t);
    const engine = await connected(world);
    world.is = "away";
    world.pass(HOUR);
    world.wrong = step;
    const at = world.time;
    const id = recorded(engine);
    const sequence = engine.feedback(id, { quality: 0 });
    for (const told of [timeOf(id), sequence / 1000]) isNear(told, at);
    world.pass(HOUR);
    world.is = "here";
    assert.equal(await engine.flush(), 0);
    assert.deepEqual(world.facts().map((fact) => [fact.trajectory, fact.sequence]), [[id, sequence]]);
    isNear(engine.feedback(id, { quality: 1 }) / 1000, world.time);
    await engine.close();
  });
}

test("a page goes on with its device's clock after a night's sleep", async (t) => {
  const world = new World(t);
  const engine = await connected(world);
  world.is = "away";
  world.sleep(9 * HOUR);
  const id = recorded(engine);
  const sequence = engine.feedback(id, { quality: 0 });
  for (const told of [timeOf(id), sequence / 1000]) isNear(told, world.time);
  world.is = "here";
  await engine.close();
  assert.equal(world.facts()[0].sequence, sequence);
});

for (const [kind, made] of Object.entries(STORAGES)) {
  test(`a start with a clock a year ahead loses no record, and its thumb stands for no year: ${kind}`, async (t) => {
    const world = new World(t);
    const storage = made();
    const before = await connected(world, storage());
    const first = recorded(before);
    await before.close();
    world.pass(10 * MINUTE);
    [world.is, world.wrong] = ["away", YEAR];
    const engine = await connected(world, storage());
    const id = recorded(engine);
    const told = [engine.feedback(first, { quality: 0 }), engine.feedback(first, { quality: 0.5 })];
    assert.ok(timeOf(id) <= world.time + DAY);
    world.pass(10 * MINUTE);
    [world.is, world.wrong] = ["here", 0];
    assert.equal(await engine.close(), 0);
    const sent = world.facts().map(({ sequence }) => sequence);
    assert.ok(sent[0] < sent[1] && sent[1] < told[0], `${sent}`);
    for (const sequence of sent) isNear(sequence / 1000, world.time - 10 * MINUTE);
    assert.equal(world.taken.filter((body) => body.id === id).length, 1);
    const next = await connected(world, storage());
    assert.ok(next.feedback(first, { quality: 1 }) > sent[1]);
    await next.close();
  });

  test(`a start with a clock a year behind goes on from the last known time: ${kind}`, async (t) => {
    const world = new World(t);
    const storage = made();
    const before = await connected(world, storage());
    world.pass(DAY);
    await before.sync(); // 20 hours later its adapters are as they were
    killed(before);
    [world.is, world.wrong] = ["away", -YEAR];
    const engine = await connected(world, storage());
    const id = recorded(engine);
    for (const told of [timeOf(id), engine.feedback(id, { quality: 0 }) / 1000]) isNear(told, world.time);
    killed(engine);
  });

  test(`a number of a page that ended is corrected once, before it may have been sent: ${kind}`, async (t) => {
    const world = new World(t);
    const storage = made();
    await (await connected(world, storage())).close();
    [world.is, world.wrong] = ["away", YEAR];
    const ended = await connected(world, storage());
    ended.feedback(uuid7(), { quality: 1 });
    const at = world.time;
    await ended.close();
    world.pass(HOUR); // its device's clock is still ahead
    world.is = "here";
    const sending = await connected(world, storage());
    world.is = "mute";
    await sending.sync().catch(() => {});
    world.is = (headers) => { world.is = "mute"; return response(200, "{}", "application/json", headers); }; // tells its time
    assert.equal(await sending.flush(), 1);
    killed(sending);
    const [{ sequence }] = world.facts();
    isNear(sequence / 1000, at);
    [world.is, world.wrong] = ["here", 0];
    world.pass(HOUR); // the lease of a page has ended
    const last = await connected(world, kind === "files" ? adopting(storage(), sending) : storage());
    assert.equal(await last.close(), 0);
    assert.deepEqual(world.facts().map((fact) => fact.sequence), [sequence, sequence]);
  });

  test(`the last word of a page that ended stands, though its clock was ahead for the word before: ${kind}`, async (t) => {
    const world = new World(t);
    const storage = made();
    const ended = await connected(world, storage());
    world.is = "away";
    world.pass(10 * MINUTE);
    const id = uuid7();
    world.wrong = HOUR;
    ended.feedback(id, { quality: 1 });
    world.pass(10 * MINUTE);
    world.wrong = 0;
    const last = world.time;
    ended.feedback(id, { quality: 0 });
    await ended.close();
    world.pass(3 * MINUTE);
    const sending = await connected(world, storage());
    world.is = "here";
    assert.equal(await sending.close(), 0);
    const [word] = world.facts().sort((one, other) => other.sequence - one.sequence);
    assert.equal(word.quality, 0);
    isNear(word.sequence / 1000, last);
  });
}

test("two tabs number what one of them made in doubt once, though its lease looked ended to the other", async (t) => {
  for (const first of [0, 1]) {
    const world = new World(t);
    const storage = STORAGES["a page's storage"]();
    const tabs = [await connected(world, storage()), await connected(world, storage())];
    world.is = "away";
    recorded(tabs[0]); // it has an entry, and so a lease
    world.wrong = HOUR;
    tabs[0].feedback(uuid7(), { quality: 1 });
    world.pass(MINUTE);
    for (const { queue } of [tabs[1], tabs[0]]) queue._adopt();
    assert.deepEqual(tabs.map(({ queue }) => queue.length), [2, 2]);
    world.is = "here";
    await tabs[first].flush();
    world.pass(1234);
    await tabs[1 - first].flush();
    const numbers = new Set(world.facts().map((fact) => fact.sequence));
    assert.equal(numbers.size, 1);
    assert.ok(Math.abs([...numbers][0] / 1000 - (world.time - MINUTE)) <= 2 * MINUTE);
    for (const tab of tabs) await tab.close();
    t.mock.restoreAll();
  }
});

test("a number that was corrected while the disk is full stays after a kill", async (t) => {
  const world = new World(t);
  const path = join(mkdtempSync(join(tmpdir(), "sona-")), "queue.jsonl");
  const engine = await connected(world, fileStorage(path));
  world.is = "away";
  world.pass(10 * MINUTE);
  world.wrong = HOUR;
  engine.feedback(uuid7(), { quality: 1 });
  world.pass(10 * MINUTE);
  const write = fs.writeFileSync;
  t.mock.method(fs, "writeFileSync", (file, ...rest) => {
    if (file.endsWith(".new")) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
    return write(file, ...rest);
  });
  syncBuiltinESMExports();
  world.is = (headers) => { world.is = "mute"; return response(200, "{}", "application/json", headers); }; // tells its time
  assert.equal(await engine.flush(), 1);
  killed(engine);
  world.pass(5 * MINUTE);
  [world.is, world.wrong] = ["here", 0];
  const next = await connected(world, adopting(fileStorage(path), engine));
  assert.equal(await next.close(), 0);
  t.mock.restoreAll();
  syncBuiltinESMExports();
  const [one, other] = world.facts().map((fact) => fact.sequence);
  assert.equal(one, other);
});

// A storage for whose queues the owner of another is dead: it is of this process.
function adopting(storage, { queue }) {
  queue._store.close();
  return storage;
}

test("a thumb after one that waits in doubt stands above it, and both are of their time", async (t) => {
  const world = new World(t);
  const storage = STORAGES["a page's storage"]();
  await (await connected(world, storage())).close();
  [world.is, world.wrong] = ["away", YEAR];
  const engine = await connected(world, storage());
  const id = uuid7();
  engine.feedback(id, { quality: 0 });
  world.pass(MINUTE);
  world.is = "here";
  await engine.sync();
  engine.feedback(id, { quality: 1 });
  const chosen = 2000 * world.time;
  engine.feedback(id, { quality: 0.5, sequence: chosen });
  assert.equal(engine.feedback(id, { quality: 0 }), chosen + 1);
  await engine.flush();
  const sent = world.facts().map(({ sequence }) => sequence);
  isNear(sent[0] / 1000, world.time - MINUTE);
  isNear(sent[1] / 1000, world.time);
  assert.deepEqual(sent.slice(2), [chosen, chosen + 1]);
  await engine.close();
});

test("what waits in doubt is sent once the service has answered, whatever it says, and by no proxy's clock", async (t) => {
  const world = new World(t);
  const engine = await connected(world);
  world.is = "away";
  world.sleep(9 * HOUR);
  engine.feedback(uuid7(), { quality: 0 });
  const old = { Date: new Date(0).toUTCString() };
  world.is = () => response(200, "<html>", "text/html", old);
  assert.equal(await engine.flush(), 1);
  isNear(engine.client.clock.now(), world.time);
  world.is = (headers) => { world.is = "here"; return response(503, "{}", "application/problem+json", headers); };
  assert.equal(await engine.flush(), 0);
  isNear(world.facts()[0].sequence / 1000, world.time);
  await engine.close();
});

test("a service that tells no time gets numbers as they were made", async (t) => {
  const world = new World(t);
  world.is = () => response(200);
  const client = new SonaClient(SERVICE, { space: "a", fetch: world.fetch });
  const { sequence, made } = client.clock.nextSequence("t");
  const queue = opened(undefined, { fetch: world.fetch });
  const body = { trajectory: "t", quality: 1, sequence };
  queue.add("feedback", body, "1", made);
  assert.ok(made);
  assert.equal(await queue.flush(), 0);
  assert.equal(sequence, 1000 * world.time);
  queue.close();
});

test("a lease of a clock that was ahead holds nobody up once the clock is right", (t) => {
  const world = new World(t);
  const storage = STORAGES["a page's storage"]();
  world.wrong = YEAR;
  const crashed = opened(storage());
  tell(crashed, 2);
  killed({ queue: crashed });
  world.wrong = 0;
  const next = opened(storage());
  assert.equal(next.length, 2);
  const other = opened(storage());
  assert.equal(other.length, 0); // next lives
  for (const queue of [next, other]) queue.close();
});
