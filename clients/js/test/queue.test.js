// What the queue does with each kind of answer. No service is needed: a function answers.

import assert from "node:assert/strict";
import { test } from "node:test";

import { answer, away, opened, planned, problem, response, sequences, tell } from "../fixtures/queues.js";
import { SonaClient, SonaEngine } from "../src/index.js";
import { encodeVector } from "../src/vectors.js";

const page = (status) => response(status, "<html>", "text/html");
const torn = () => new Response(new ReadableStream({ start: (body) => body.error(new DOMException("timed out", "TimeoutError")) }), { headers: { "Content-Type": "application/json" } });
const facts = (body) => JSON.parse(body).feedback.map(({ sequence }) => sequence);
/** Wait until `is` holds: timers of the queue are real. */
const until = async (is) => { while (!is()) await new Promise((resolve) => setTimeout(resolve, 5)); };

const PASSING = {
  "a proxy's 502": () => page(502), "a proxy's 504": () => page(504), "a proxy's 500": () => page(500), "a proxy's 404": () => page(404),
  "a proxy's 413": () => page(413), "a proxy's page with status 200": () => page(200), "the service's 500": () => problem(500, "its log says why"),
  "the service's 503": () => problem(503, "later"), "the service's 429": () => problem(429, "slower"), "an answer that is cut short": torn,
};
for (const [kind, told] of Object.entries(PASSING)) {
  test(`after ${kind} the queue tries again by itself, and loses nothing`, async () => {
    let isBack = false;
    const queue = opened(undefined, { fetch: async () => (isBack ? answer() : told()), onRefused: (_, error) => assert.fail(error) });
    tell(queue, 3);
    assert.equal(await queue.flush(), 3);
    isBack = true;
    await until(() => !queue.length);
    assert.equal(queue.refused, 0);
    queue.close();
  });

  test(`connect succeeds with stored adapters after ${kind}`, async () => {
    const adapter = { rank: 1, scale: 1, a: encodeVector([0, 0]), b: encodeVector([0, 0]) };
    const stored = JSON.stringify({ of: "http://service.example a", tag: "t", told: { version: 7, dim: 2, micro: adapter, base: [], patterns: [], centroids: "" } });
    const empty = { adopt: () => ({ entries: [], torn: 0 }), append() {}, remove() {}, renew() {}, close() {} };
    const storage = { open: () => empty, loadAdapters: () => stored };
    const engine = await SonaEngine.connect("http://service.example", { space: "a", storage, fetch: async () => told(), syncEvery: 0 });
    assert.equal(engine.version, 7);
    await engine.close();
  });
}

test("a refusal of the key or the space loses no entry, is told, and is tried again", async (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  const timers = planned(t, "setTimeout");
  for (const status of [401, 403, 404]) {
    let isMended = false;
    const queue = opened(undefined, { fetch: async () => (isMended ? answer() : problem(status, `no: ${status}`)) });
    tell(queue, 2);
    await assert.rejects(queue.flush(), { status, fromService: true });
    isMended = true;
    const [call, pause] = timers().at(-1);
    call();
    await queue._sending;
    assert.deepEqual([pause, queue.length, queue.refused], [60_000, 0, 0]);
    queue.close();
  }
  assert.equal(warned.mock.callCount(), 0);
});

test("an entry that is refused while the others wait is heard of once", async () => {
  const heard = [];
  const fetch = async (_, { body }) => (facts(body).includes(1) ? problem(422, "no") : problem(503, "later"));
  const queue = opened(undefined, { fetch, onRefused: ({ sequence }) => heard.push(sequence) });
  for (const sequence of [1, 2, 3]) queue.add("feedback", { trajectory: "t", quality: 1, sequence }, `${sequence}`);
  for (const _ of [1, 2]) assert.equal(await queue.flush(), 2);
  assert.deepEqual([heard, queue.refused, sequences(queue)], [[1], 1, [2, 3]]);
  queue.close();
});

test("an entry that makes a proxy or the service fail does not hold up the others", async () => {
  for (const failed of [page(413), problem(500, "its log says why")]) {
    const sent = [];
    const fetch = async (_, { body }) => (facts(body).includes(1) ? failed.clone() : (sent.push(...facts(body)), answer()));
    const queue = opened(undefined, { fetch });
    for (const sequence of [1, 2, 3]) queue.add("feedback", { trajectory: "t", quality: 1, sequence }, `${sequence}`);
    for (const _ of [1, 2]) await queue.flush();
    assert.deepEqual([sent, sequences(queue)], [[2, 3], [1]]);
    queue.close();
  }
});

test("entries that are added during an attempt do not shorten the pause after it", async (t) => {
  const timers = planned(t, "setTimeout");
  const queue = opened(undefined, { delay: 1, fetch: async () => { tell(queue); return problem(503, "later", { "Retry-After": "5" }); } });
  tell(queue);
  await queue.flush();
  tell(queue);
  assert.deepEqual(timers().map(([, pause]) => pause), [1, 1, 5000]);
  queue.close();
});

test("the browser's word that it is online ends the pause", async (t) => {
  const timers = planned(t, "setTimeout");
  let isBack = false;
  const queue = opened(undefined, { fetch: () => (isBack ? answer() : away()) });
  tell(queue);
  await queue.flush();
  isBack = true;
  queue._online();
  const [call, pause] = timers().at(-1);
  assert.equal(pause, 0);
  call();
  await queue._sending;
  assert.equal(queue.length, 0);
  queue.close();
});

test("what is not of the service says so, and what the caller aborts rejects with its reason", async () => {
  const client = (told) => new SonaClient("http://service.example", { fetch: async () => told() });
  await assert.rejects(client(() => page(404)).stats(), { status: 404, fromService: false, isPassing: true, message: /404 .* no answer of the service: a proxy/ });
  await assert.rejects(client(() => page(200)).stats(), { status: 200, isPassing: true, message: /answers with text\/html/ });
  await assert.rejects(client(() => problem(404, "no space")).stats(), { status: 404, fromService: true, isPassing: false, message: "no space" });
  await assert.rejects(client(torn).stats(), { status: 0, isPassing: true, message: /cannot be read: timed out/ });
  const aborted = AbortSignal.abort();
  await assert.rejects(client(torn).stats(undefined, { signal: aborted }), { name: "TimeoutError" });
});
