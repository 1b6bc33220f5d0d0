// The client against a running service: SONA_URL names it. tests/service/test_js_client.py starts one.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { close, DIM, space, taught, url } from "../fixtures/service.js";
import { CALLS, ServiceError, SonaClient, SonaEngine, uuid7 } from "../src/index.js";
import { decodeVector, encoded, encodeVector } from "../src/vectors.js";

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

// Fields of a type's text: [name, whether it may be null]; tests/service/test_docs_http.py sees that none is missing in an answer.
const fieldsOf = (text) => [...text.matchAll(/(\w+)\??: ([^;]*)/g)].map(([, name, type]) => [name, /\| null\b/.test(type)]);
const declared = ({ properties }) => Object.fromEntries(
  Object.entries(properties).map(([name, { anyOf = [] }]) => [name, anyOf.some(({ type }) => type === "null")]),
);

test("the types of answers have the fields that the service documents", async () => {
  const { components: { schemas }, paths } = await (await fetch(`${url}/openapi.json`)).json();
  const types = readFileSync(new URL("../src/index.d.ts", import.meta.url), "utf8").replace(/\/\*\*.*?\*\//gs, "").replaceAll(/\[\w+: string\]: any;?/g, "");
  const answers = {
    Pattern: "PatternAnswer", RouteRecord: "RouteFigures", Found: "FoundAnswer", Cycle: "Cycle", DeepCycle: "DeepCycle", Space: "SpaceAnswer",
    Budget: "BudgetAnswer", Lora: "LoraAnswer", Adapters: "AdaptersAnswer", Recalled: "RecalledItem", StoredVersion: "VersionAnswer",
    PolicyEstimate: "PolicyAnswer", PolicyEvaluation: "EvaluateAnswer", Topic: "TopicRow", Retracted: "Retracted",
  };
  const textOf = (type) => new RegExp(`interface ${type}[^{]*\\{(.*?)\\n?\\}\n`, "s").exec(types)[1];
  for (const [type, schema] of Object.entries({ Decision: "DecisionBody", Ranking: "RankingBody" })) {
    assert.deepEqual(fieldsOf(textOf(type)).map(([field]) => field).sort(), Object.keys(schemas[schema].properties).sort(), type);
  }
  for (const [type, schema] of Object.entries(answers)) assert.deepEqual(Object.fromEntries(fieldsOf(textOf(type))), declared(schemas[schema]), type);
  let inline = 0;
  for (const [, call, told] of types.matchAll(/^  (\w+)\([^;]*?Promise<\{([^{}]*)\}>;/gm)) {
    const [method, path] = CALLS[call];
    const { responses } = paths[path][method.toLowerCase()];
    const [{ content }] = Object.entries(responses).filter(([status]) => status < 300).map(([, response]) => response);
    const { $ref } = content["application/json"].schema;
    assert.deepEqual(Object.fromEntries(fieldsOf(told)), declared(schemas[$ref.split("/").pop()]), call);
    inline += 1;
  }
  assert.ok(inline >= 15, inline);
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
  const names = ["buffer_success_rate", "ewc_tasks", "instant_enabled", "background_enabled"]; // as in @ruvector/sona
  assert.deepEqual(names.map((name) => stats[name]), [1, null, true, false]); // the test's service learns when it is asked
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

test("patterns have the fields of @ruvector/sona, and tell that nothing was rated", async () => {
  const engine = await SonaEngine.connect(url, { space: await space(), syncEvery: 0 });
  const x = [1, 0, 0, 0, 0, 0, 0, 0.5];
  const record = (quality) => {
    const trajectory = engine.beginTrajectory(x);
    engine.setTrajectoryRoute(trajectory, "a");
    engine.endTrajectory(trajectory, quality);
  };
  const before = Math.floor(Date.now() / 1000) - 60;
  const open = engine.beginTrajectory(x);
  assert.equal(JSON.stringify({ open }), JSON.stringify({ open: open.id }));
  for (let place = 0; place < 6; place++) record();
  await engine.forceLearn();
  const [{ createdAt, lastAccessed, accessCount, ...unrated }] = engine.findPatterns(x, 1);
  assert.deepEqual([unrated.quality, unrated.routes.a.quality, unrated.avgQuality, unrated.totalWeight], [null, null, 0.5, 0]);
  assert.ok(Number(createdAt) > before, createdAt);
  assert.deepEqual([typeof createdAt, lastAccessed, accessCount], ["string", createdAt, 0]);
  const [told] = (await engine.client.patterns({ vector: x })).patterns;
  assert.deepEqual([told.quality, told.access_count, seconds(told.created_at)], [null, 0, createdAt]);
  record(1);
  await engine.forceLearn();
  const [rated] = engine.findPatterns(x, 1);
  assert.deepEqual([rated.quality, rated.avgQuality, rated.totalWeight], [1, 1, 7]);
  await engine.close();
});

const seconds = (time) => String(Math.floor(Date.parse(time) / 1000));

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
    globalThis.localStorage = { setItem() {}, getItem: () => null };
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

test("ids are of their time, and vectors keep their numbers", () => {
  const at = 1_800_000_000_123;
  const id = uuid7(at);
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(parseInt(id.replaceAll("-", "").slice(0, 12), 16), at);
  const numbers = Float32Array.from({ length: 5000 }, (_, place) => Math.sin(place));
  assert.deepEqual(decodeVector(encodeVector(numbers)), numbers);
  const rows = [numbers, Array.from(numbers.subarray(0, 2)), "AAAA"];
  for (const name of ["vectors", "context_vectors"]) {
    assert.deepEqual(encoded({ [name]: rows }), { [name]: [encodeVector(numbers), encodeVector(numbers.subarray(0, 2)), "AAAA"] });
  }
});

test("a call that there is none of is answered with the names of those there are", async () => {
  await assert.rejects(new SonaClient(url).call("nope"), /there is no call nope: expected one of recordTrajectory, .*latestFeedback/);
});
