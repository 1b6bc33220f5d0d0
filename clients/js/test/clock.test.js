// Ids and sequence numbers of pages whose device has a wrong clock. SONA_URL names a service.

import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { nowhere } from "../fixtures/queues.js";
import { DIM, space, url } from "../fixtures/service.js";
import { ServiceClock } from "../src/clock.js";
import { fileStorage } from "../src/file-storage.js";
import { SonaClient, SonaEngine, uuid7 } from "../src/index.js";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const X = new Array(DIM).fill(1);
const timeOf = (id) => parseInt(id.replaceAll("-", "").slice(0, 12), 16);
const right = Date.now;
/** Set this device's clock ahead by so many milliseconds, until the test ends. */
const setAhead = (t, milliseconds) => t.mock.method(Date, "now", () => right() + milliseconds);
const header = (at) => new Date(at).toUTCString();

test("records of a device whose clock is years wrong are of the service's time", async (t) => {
  for (const wrong of [400 * DAY, -400 * DAY]) {
    const name = await space();
    const ahead = setAhead(t, wrong);
    const engine = await SonaEngine.connect(url, { space: name, syncEvery: 0, onRefused: (_, error) => assert.fail(error) });
    const id = engine.endTrajectory(engine.beginTrajectory(X), 1);
    const sequence = engine.feedback(id, { quality: 0 });
    assert.equal(await engine.close(), 0);
    ahead.mock.restore();
    for (const at of [timeOf(id), sequence / 1000]) assert.ok(Math.abs(at - Date.now()) < 10 * MINUTE, `${new Date(at)}`);
    assert.equal((await engine.client.learn()).trajectories, 1);
  }
});

test("a start while the service is away goes on with the time that was known before", async (t) => {
  const path = join(mkdtempSync(join(tmpdir(), "sona-")), "queue.jsonl");
  const name = await space();
  let isAway = false;
  const started = () => SonaEngine.connect(url, {
    space: name, syncEvery: 0, storage: fileStorage(path), fetch: (...request) => (isAway ? Promise.reject(new TypeError("away")) : fetch(...request)),
  });
  setAhead(t, 400 * DAY);
  await (await started()).close();
  isAway = true;
  const engine = await started();
  const id = engine.endTrajectory(engine.beginTrajectory(X), 1);
  assert.ok(Math.abs(timeOf(id) - right()) < 10 * MINUTE);
  isAway = false;
  assert.equal(await engine.close(), 0);
  assert.equal(engine.queue.refused, 0);
});

test("what was known is not used on a device whose clock was set back, or was behind", (t) => {
  const [then, behind] = [{ offset: -DAY, at: right() }, { offset: DAY, at: right() }];
  const set = right() - DAY + MINUTE;
  const mended = right() + DAY + MINUTE;
  for (const [kept, at] of [[then, set], [behind, mended], [undefined, 1000]]) {
    const now = t.mock.method(Date, "now", () => at);
    const clock = new ServiceClock();
    clock.restore(kept);
    assert.equal(clock.now(), at);
    now.mock.restore();
  }
});

test("a thumb from a device whose clock is ahead can be taken back elsewhere", async (t) => {
  const name = await space();
  const client = new SonaClient(url, { space: name });
  const { id } = await client.recordTrajectory({ vector: X, quality: 0.5 });
  const ahead = setAhead(t, 20 * MINUTE);
  const engine = await SonaEngine.connect(url, { space: name, syncEvery: 0 });
  const sequence = engine.feedback(id, { quality: 1 });
  await engine.close();
  ahead.mock.restore();
  const taken = await client.feedback({ trajectory: id, retract: true });
  assert.ok(taken.sequence > sequence);
  assert.equal(taken.retracted.quality, 1);
});

test("sequence numbers of a trajectory rise, whatever the clock and the caller say", (t) => {
  const engine = nowhere();
  const id = uuid7();
  const told = [engine.feedback(id, { quality: 1 })];
  const ahead = setAhead(t, DAY);
  told.push(engine.feedback(id, { quality: 0 }));
  ahead.mock.restore();
  engine.client.clock.tell(header(right()), right()); // the clock was set back, and an answer says so
  told.push(engine.feedback(id.toUpperCase(), { quality: 1 }));
  told.push(engine.feedback(id, { quality: 1, sequence: 2 * told[2] }), engine.feedback(id, { retract: true }));
  assert.deepEqual(told.map((number, place) => place === 0 || number > told[place - 1]), [true, true, true, true, true]);
  engine.feedback(id, { quality: 1, sequence: Number.MAX_SAFE_INTEGER });
  assert.throws(() => engine.feedback(id, { quality: 1 }), /no sequence number is left/);
});

test("numbers that were of a time ahead do not put others ahead", (t) => {
  const engine = nowhere();
  const ahead = setAhead(t, DAY);
  engine.client.clock.tell(header(Date.now()), Date.now());
  assert.ok(engine.feedback(uuid7(), { quality: 1 }) > 1000 * (right() + DAY - MINUTE));
  engine.client.clock.tell(header(right()), Date.now());
  assert.ok(engine.feedback(uuid7(), { quality: 1 }) <= 1000 * right());
  ahead.mock.restore();
});

test("a clock that may be right is left alone, and a wrong one is corrected to no time ahead of the service", (t) => {
  let device;
  t.mock.method(Date, "now", () => device);
  for (const [off, step] of [[0, 0], [900, 0], [-5 * MINUTE, 1], [5 * MINUTE, 1]]) {
    device = 1e12 + off;
    const clock = new ServiceClock();
    for (let at = 1e12; at < 1e12 + 20_000; at += 733) { // answers after 40 milliseconds
      device = at + off + 40;
      clock.tell(header(at + 20), at + off);
      const error = clock.now() - (at + 40);
      assert.ok(step ? error <= 0 && error >= -1100 : error === off, `${off}: ${error}`);
    }
  }
  const clock = new ServiceClock();
  device += 1000;
  for (const none of [null, undefined, "", "soon"]) clock.tell(none, 0);
  assert.equal(clock.now(), device);
});

test("a number that a caller has chosen puts those of no other trajectory ahead", () => {
  const engine = nowhere();
  const id = uuid7();
  engine.feedback(id, { quality: 1, sequence: 2000 * right() });
  engine.feedback(id, { quality: 0 });
  assert.ok(engine.feedback(uuid7(), { quality: 1 }) < 1000 * (right() + 5 * DAY));
});
