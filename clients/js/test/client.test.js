// The client against a running service: SONA_URL names it. tests/service/test_js_client.py starts one.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { browserStorage, CALLS, FeedbackQueue, LocalModel, memoryStorage, ServiceError, SonaClient, SonaEngine, uuid7 } from "../src/index.js";
import { fileStorage } from "../src/file-storage.js";
import { decodeVector, encodeVector } from "../src/vectors.js";

const url = process.env.SONA_URL;
const DIM = 8;
let made = 0;

const random = (seed) => () => { // mulberry32
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};

async function space() {
  const name = `js ${process.pid} ${Date.now()} ${made++}`;
  await new SonaClient(url).makeSpace({ name, dim: DIM });
  return name;
}

async function taught(client) {
  const draw = random(1);
  const vector = () => Array.from({ length: DIM }, () => draw() - 0.5);
  const trajectories = Array.from({ length: 60 }, (_, place) => {
    const x = vector();
    x[place % 3] += 2;
    return { vector: x, route: "abc"[place % 3], quality: place % 2, steps: [{ activations: vector(), reward: 0.5 }] };
  });
  await client.recordTrajectories({ trajectories });
  await client.learn();
  return trajectories;
}

const close = (one, other, bound) => {
  assert.equal(one.length, other.length);
  one.forEach((value, place) => assert.ok(Math.abs(value - other[place]) <= bound, `${value} is not ${other[place]}`));
};

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

test("every call of /v1 has a method, and every method a call", async () => {
  const { paths } = await (await fetch(`${url}/openapi.json`)).json();
  const served = Object.entries(paths).flatMap(([path, known]) => Object.keys(known).map((method) => `${method.toUpperCase()} ${path}`));
  const ours = Object.values(CALLS).map((call) => call.join(" "));
  const collectors = "/v1/otlp/"; // exporters of OpenTelemetry speak to those
  assert.deepEqual([...ours].sort(), served.filter((call) => call.includes(" /v1/") && !call.includes(collectors)).sort());
  for (const name of Object.keys(CALLS)) assert.equal(typeof SonaClient.prototype[name], "function", name);
  const types = readFileSync(new URL("../src/index.d.ts", import.meta.url), "utf8");
  for (const name of Object.keys(CALLS)) assert.match(types, new RegExp(`\\b${name}\\(`), name);
});

test("the types have the fields that the service documents", async () => {
  const { components: { schemas } } = await (await fetch(`${url}/openapi.json`)).json();
  const types = readFileSync(new URL("../src/index.d.ts", import.meta.url), "utf8").replace(/\/\*\*.*?\*\//gs, "");
  const named = {
    Asked: "RankBody", Decision: "DecisionBody", Ranking: "RankingBody", Step: "StepBody", Candidates: "CandidatesBody", Pattern: "PatternAnswer",
    RouteRecord: "RouteFigures", Found: "FoundAnswer", Cycle: "Cycle", Space: "SpaceAnswer", Budget: "BudgetAnswer", Lora: "LoraAnswer",
    Adapters: "AdaptersAnswer", Recalled: "RecalledItem",
  };
  for (const [type, schema] of Object.entries(named)) {
    const [, told] = new RegExp(`interface ${type}[^{]*\\{(.*?)\\}`, "s").exec(types);
    const fields = [...told.matchAll(/(\w+)\??:/g)].map(([, field]) => field);
    const known = Object.keys(schemas[schema].properties);
    if (type === "Asked") assert.ok(fields.every((field) => known.includes(field)));
    else assert.deepEqual(fields.sort(), known.sort(), type);
  }
});

test("the types of a call's body have the fields that the service takes", async () => {
  const { components: { schemas } } = await (await fetch(`${url}/openapi.json`)).json();
  const types = readFileSync(new URL("../src/index.d.ts", import.meta.url), "utf8").replace(/\/\*\*.*?\*\//gs, "");
  for (const [call, schema] of Object.entries({ recall: "RecallBody", remember: "RememberBody", dropContents: "DropBody", patterns: "PatternsBody" })) {
    const [, told] = new RegExp(`^  ${call}\\(body: (?:Asked & )?\\{(.*?)\\},? options`, "sm").exec(types);
    const asked = types.includes(`  ${call}(body: Asked &`) ? ["vector", "text"] : [];
    assert.deepEqual([...asked, ...[...told.matchAll(/(\w+)\??:/g)].map(([, field]) => field)].sort(), Object.keys(schemas[schema].properties).sort(), call);
  }
});

test("a compiler needs no types of the browser, and finds the file storage by either way of resolving", () => {
  const types = readFileSync(new URL("../src/index.d.ts", import.meta.url), "utf8");
  assert.doesNotMatch(types, /: (?:Storage|Window|HTML\w+|Document)\b/);
  const told = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  assert.equal(told.typesVersions["*"]["file-storage"][0], told.exports["./file-storage"].types);
});

test("adapters and patterns applied here give the service's numbers", async () => {
  const name = await space();
  const client = new SonaClient(url, { space: name });
  const trajectories = await taught(client);
  const engine = await SonaEngine.connect(url, { space: name, syncEvery: 0 });
  const plain = await SonaEngine.connect(url, { space: name, syncEvery: 0, wasm: false });
  let moved = 0;
  for (const { vector } of trajectories.slice(0, 20)) {
    const micro = (await client.adapt({ vector })).vector;
    close(engine.applyMicroLora(vector), micro, 1e-5);
    close(plain.applyMicroLora(vector), micro, 1e-5);
    close(engine.applyBaseLora(0, vector), (await client.adapt({ vector, layer: 0 })).vector, 1e-5);
    moved += micro.reduce((sum, value, place) => sum + Math.abs(value - vector[place]), 0);
    const ours = engine.findPatterns(vector, 3);
    const theirs = (await client.patterns({ vector, k: 3 })).patterns;
    assert.deepEqual(ours.map((one) => one.id), theirs.map((one) => one.id));
    close(ours.map((one) => one.similarity), theirs.map((one) => one.similarity), 1e-5);
    assert.equal(ours[0].clusterSize, theirs[0].size);
  }
  assert.ok(moved > 0.01, "the adapters have learned something");
  assert.equal(await engine.sync(), false); // unchanged: 304
  await engine.close();
  await plain.close();
});

test("the names of @ruvector/sona work on the store", async () => {
  const name = await space();
  const engine = await SonaEngine.connect(url, { space: name, syncEvery: 0 });
  const x = [1, 0, 0, 0, 0, 0, 0, 0.5];
  let id;
  for (let place = 0; place < 6; place++) {
    const trajectory = engine.beginTrajectory(x);
    engine.addTrajectoryStep(trajectory, x, x, 0.8);
    trajectory.addStep(x, null, 0.9);
    engine.setTrajectoryRoute(trajectory, "small-model");
    engine.addTrajectoryContext(trajectory, "user:1");
    id = engine.endTrajectory(trajectory, 0.85);
  }
  engine.feedback(id, { quality: 0 });
  assert.match(await engine.forceLearn(), /^version 1: learned from 6 trajectories and 1 facts/);
  assert.equal(engine.version, 1);
  assert.equal(engine.findPatterns(x, 5)[0].clusterSize, 6);
  const [{ patternType, totalWeight }] = engine.findPatterns(x, 1);
  assert.deepEqual([patternType, totalWeight > 0], ["General", true]);
  const stats = JSON.parse(await engine.getStats());
  assert.deepEqual([stats.totals.trajectories, stats.trajectories_recorded, stats.trajectories_buffered, stats.patterns_learned], [6, 6, 0, 1]);
  assert.equal(stats.background_cycles, 1);
  await engine.client.remember({ ids: ["a"], vectors: [x], contents: [{ text: "known" }] });
  assert.deepEqual((await engine.recall({ vector: x })).recalled.map(({ id, content }) => [id, content.text]), [["a", "known"]]);
  assert.equal(await engine.tick(), null);
  engine.setEnabled(false);
  engine.endTrajectory(engine.beginTrajectory(x), 1);
  assert.equal(engine.queue.length, 0);
  assert.equal(engine.isEnabled(), false);
  assert.throws(() => engine.beginTrajectory([1, 2]), /expected 8 numbers, found 2/);
  await engine.close();
});

test("who makes an engine as with @ruvector/sona is told how it is made here", () => {
  for (const made of [() => new SonaEngine(256), () => SonaEngine.withConfig({ hiddenDim: 256 })]) assert.throws(made, /await SonaEngine.connect/);
});

test("the README's code runs", async () => {
  const folder = new URL("..", import.meta.url);
  const told = readFileSync(new URL("README.md", folder), "utf8");
  const blocks = [...told.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code);
  assert.equal(blocks.length, 3);
  const name = await space();
  const prelude = `
    const [queryEmbedding, activations, attentionWeights, input] = [1, 2, 3, 4].map((value) => Array.from({ length: ${DIM} }, () => value));
    const [url, space, key] = ["${url}", "${name}", undefined];
    globalThis.localStorage = { setItem() {} };
  `;
  for (const code of blocks) {
    const here = code.replaceAll("http://127.0.0.1:8700", url).replaceAll('"support"', `"${name}"`)
      .replace("sona-queue.jsonl", join(mkdtempSync(join(tmpdir(), "sona-")), "queue.jsonl"))
      .replace("client.events()", "client.events({ events: 1 })");
    await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", prelude + here], { cwd: fileURLToPath(folder), timeout: 60_000 });
  }
});

test("a decision goes from the route to the record and its feedback", async () => {
  const client = new SonaClient(url, { space: await space() });
  const decision = await client.route({ vector: new Float32Array(DIM).fill(1), candidates: ["a", "b"] });
  assert.match(decision.candidate_set, /^-?[0-9]{17,19}$/); // a number of 64 bits, whole
  const stored = JSON.parse(JSON.stringify(decision));
  const { id } = await client.recordTrajectory({ vector: new Array(DIM).fill(1), decision: stored, route: decision.route });
  const rounded = { ...decision, candidate_set: Number(decision.candidate_set) };
  await assert.rejects(client.recordTrajectory({ vector: new Array(DIM).fill(1), decision: rounded }), (error) => {
    assert.deepEqual([error.status, error.errors[0].pointer], [422, "/decision/candidate_set"]);
    return true;
  });
  assert.ok((await client.feedback({ trajectory: id, quality: 1 })).sequence > 0);
  const begun = await client.beginTrajectory({ vector: new Array(DIM).fill(1) });
  await client.addStep(begun.id, { reward: 1 });
  assert.equal((await client.endTrajectory(begun.id, { quality: 1 })).id, begun.id);
  assert.equal((await client.learn()).trajectories, 2);
});

test("a refusal names the fields", async () => {
  const client = new SonaClient(url, { space: await space() });
  await assert.rejects(client.recordTrajectory({ vector: [1, 2] }), (error) => {
    assert.ok(error instanceof ServiceError);
    assert.deepEqual([error.status, error.errors[0].pointer, error.isPassing], [422, "/vector", false]);
    return true;
  });
  await assert.rejects(new SonaClient("http://127.0.0.1:9").stats(), (error) => error.status === 0 && error.isPassing);
});

test("events are followed", async () => {
  const client = new SonaClient(url, { space: await space() });
  const seen = [];
  for await (const told of client.events({ events: 1 })) seen.push(told);
  assert.deepEqual(seen, [{ event: "version", data: { version: 0 } }]);
});

test("what is recorded while the service is away is sent once it is back, and counted once", async () => {
  const name = await space();
  const path = join(mkdtempSync(join(tmpdir(), "sona-")), "queue.jsonl");
  const away = new SonaClient("http://127.0.0.1:9", { space: name });
  const queue = new FeedbackQueue(away, { storage: fileStorage(path), delay: 60_000 });
  const ids = Array.from({ length: 5 }, () => uuid7());
  for (const id of ids) queue.add("trajectory", { id, vector: new Array(DIM).fill(0.5), route: "a", quality: 1 }, id);
  queue.add("feedback", { trajectory: ids[0], quality: 0, sequence: 1 }, "1");
  queue.add("trajectory", { id: uuid7(), vector: [1] }, "bad"); // of another dimension
  assert.equal(await queue.flush(), 7);
  queue.close(); // as if the process had ended

  const client = new SonaClient(url, { space: name });
  const refused = [];
  const later = new FeedbackQueue(client, { storage: fileStorage(path), delay: 60_000, onRefused: (body) => refused.push(body) });
  assert.equal(later.length, 7);
  const entries = fileStorage(path).load();
  assert.equal(await later.flush(), 0);
  assert.deepEqual([later.refused, refused.length], [1, 1]);
  assert.deepEqual(fileStorage(path).load(), []);
  later.close();

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

test("entries of a page outlive it in its storage, and the oldest go where there are too many", () => {
  const kept = new Map();
  const storage = new Proxy({}, {
    ownKeys: () => [...kept.keys()], getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }),
    get: (_, name) => ({
      setItem: (key, value) => kept.set(key, value), getItem: (key) => kept.get(key) ?? null, removeItem: (key) => kept.delete(key),
    })[name],
  });
  const client = new SonaClient("http://127.0.0.1:9");
  const queue = new FeedbackQueue(client, { storage: browserStorage("q", storage), most: 3, delay: 60_000 });
  for (let place = 0; place < 4; place++) queue.add("feedback", { trajectory: uuid7(), quality: 1, sequence: place }, `${place}`);
  assert.deepEqual([queue.length, queue.dropped, kept.size], [3, 1, 3]);
  queue.close();
  const again = new FeedbackQueue(client, { storage: browserStorage("q", storage), delay: 60_000 });
  assert.deepEqual(again._entries.map((entry) => entry.body.sequence), [1, 2, 3]);
  again.close();
});

test("ids are of their time, and vectors keep their numbers", () => {
  const at = 1_800_000_000_123;
  const id = uuid7(at);
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(parseInt(id.replaceAll("-", "").slice(0, 12), 16), at);
  const numbers = Float32Array.from({ length: 5000 }, (_, place) => Math.sin(place));
  assert.deepEqual(decodeVector(encodeVector(numbers)), numbers);
});

const nowhere = (adapters = { version: 0, dim: 2, micro: { rank: 1, scale: 1, a: encodeVector([0, 0]), b: encodeVector([0, 0]) }, base: [], patterns: [], centroids: "" }) => {
  const client = new SonaClient("http://127.0.0.1:9");
  return new SonaEngine(client, new FeedbackQueue(client, { delay: 60_000 }), new LocalModel(adapters));
};

test("a record that the service would refuse throws where it is made, and its trajectory stays open", () => {
  const engine = nowhere();
  for (const embedding of [[NaN, 1], [Infinity, 1], [1e6, 0], ["a", 1], new Array(2)]) {
    assert.throws(() => engine.beginTrajectory(embedding), /the embedding\[0\] is .*: expected a finite number within ±65504/);
  }
  assert.throws(() => engine.beginTrajectory("ab"), /the embedding is "ab": expected an array of numbers/);
  const trajectory = engine.beginTrajectory([1, 2]);
  assert.throws(() => trajectory.addStep([NaN], null, 1), /activations\[0\] is NaN/);
  assert.throws(() => trajectory.addStep(null, null, NaN), /reward is NaN/);
  assert.throws(() => trajectory.addStep(null, null), /reward is undefined: expected a number/);
  assert.throws(() => trajectory.setRoute(""), /route has 0 characters: expected 1 to 1000/);
  assert.throws(() => trajectory.addContext(7), /context is 7: expected a text/);
  assert.throws(() => engine.endTrajectory(trajectory, 5), /quality is 5: expected a number from 0 to 1/);
  assert.throws(() => engine.endTrajectory(trajectory, 1, { cost: -1 }), /cost is -1/);
  assert.throws(() => engine.feedback("x", { quality: 1 }), /trajectory is "x": expected the id that endTrajectory returned/);
  for (const empty of [{}, undefined, { retract: false }, { quality: null }]) assert.throws(() => engine.feedback(trajectory.id, empty), TypeError);
  assert.throws(() => engine.feedback(trajectory.id, { qualty: 1 }), /a fact has no qualty: expected some of quality/);
  assert.throws(() => engine.feedback(trajectory.id, { correction: "" }), /correction has 0 characters/);
  assert.equal(engine.queue.length, 0);
  assert.equal(engine.endTrajectory(trajectory, 1), trajectory.id);
  assert.throws(() => engine.endTrajectory(trajectory, 1), /this trajectory has ended/);
  assert.throws(() => trajectory.setRoute("a"), /this trajectory has ended/);
  assert.ok(engine.feedback(trajectory.id, { correction: "b" }) > 0);
  assert.equal(engine.feedback(trajectory.id, { retract: true, sequence: 7 }), 7);
  assert.equal(engine.queue.length, 3);
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

test("a page whose storage is full keeps no adapters", () => {
  const kept = new Map([["q adapters", "old"]]);
  const storage = {
    getItem: (key) => kept.get(key) ?? null, removeItem: (key) => kept.delete(key),
    setItem() { throw Object.assign(new Error("full"), { name: "QuotaExceededError" }); },
  };
  const pages = browserStorage("q", storage);
  pages.saveAdapters("new");
  assert.equal(pages.loadAdapters(), null);
});

test("a call that there is none of is answered with the names of those there are", async () => {
  await assert.rejects(new SonaClient(url).call("nope"), /there is no call nope: expected one of recordTrajectory, .*latestFeedback/);
});
