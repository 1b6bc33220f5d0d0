// What a call throws for, because the service would refuse it. SONA_URL names a service, which must agree.

import assert from "node:assert/strict";
import { test } from "node:test";

import { nowhere } from "../fixtures/queues.js";
import { DIM, space, url } from "../fixtures/service.js";
import { LocalModel, SonaClient, SonaEngine, uuid7 } from "../src/index.js";
import { encodeVector } from "../src/vectors.js";

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
  assert.throws(() => trajectory.setRoute(""), /route has 0 bytes of UTF-8: expected 1 to 1000/);
  assert.throws(() => trajectory.addContext(7), /context is 7: expected a text/);
  assert.throws(() => engine.endTrajectory(trajectory, 5), /quality is 5: expected a number from 0 to 1/);
  assert.throws(() => engine.endTrajectory(trajectory, 1, { cost: -1 }), /cost is -1/);
  assert.throws(() => engine.feedback("x", { quality: 1 }), /trajectory is "x": expected the id that endTrajectory returned/);
  for (const empty of [{}, undefined, { retract: false }, { quality: null }]) assert.throws(() => engine.feedback(trajectory.id, empty), TypeError);
  assert.throws(() => engine.feedback(trajectory.id, { qualty: 1 }), /a fact has no qualty: expected some of quality/);
  assert.throws(() => engine.feedback(trajectory.id, { correction: "" }), /correction has 0 bytes/);
  assert.equal(engine.queue.length, 0);
  assert.equal(engine.endTrajectory(trajectory, 1), trajectory.id);
  assert.throws(() => engine.endTrajectory(trajectory, 1), /this trajectory has ended/);
  assert.throws(() => trajectory.setRoute("a"), /this trajectory has ended/);
  assert.ok(engine.feedback(trajectory.id, { correction: "b" }) > 0);
  assert.equal(engine.feedback(trajectory.id, { retract: true, sequence: 7 }), 7);
  assert.equal(engine.queue.length, 3);
});

test("a vector, a layer or a trajectory that is none is named, and told what is expected", () => {
  const engine = nowhere();
  const lora = { rank: 1, scale: 1, a: encodeVector([0, 0]), b: encodeVector([0, 0]) };
  for (const wasm of [true, false]) {
    const model = new LocalModel({ version: 1, dim: 2, micro: lora, base: [lora], patterns: [], centroids: "" }, { wasm });
    for (const [wrong, shown] of [[null, "null"], [undefined, "undefined"], [7, "7"], ["12", '"12"'], [{}, "an object"]]) {
      const refused = { name: "TypeError", message: `the query is ${shown}: expected an array of numbers` };
      for (const call of [() => model.applyMicroLora(wrong), () => model.applyBaseLora(0, wrong), () => model.findPatterns(wrong, 3)]) assert.throws(call, refused);
    }
    assert.throws(() => model.applyMicroLora([1, 2], null), { name: "TypeError", message: "out is null: expected an array of numbers" });
    assert.throws(() => model.applyMicroLora([1]), { name: "RangeError", message: "the query: expected 2 numbers, found 1" });
    assert.throws(() => model.applyBaseLora([1, 2]), { name: "TypeError", message: "layer is an array: expected the number of a layer, then the vector" });
    assert.throws(() => model.findPatterns([1, 2], "3"), { message: 'k is "3": expected a whole number of at least 1' });
  }
  for (const [wrong, shown] of [[7, "7"], [undefined, "undefined"], ["0190", '"0190"']]) {
    const refused = { name: "TypeError", message: `trajectory is ${shown}: expected the object that beginTrajectory returned` };
    for (const call of [
      () => engine.addTrajectoryStep(wrong, null, null, 1), () => engine.setTrajectoryRoute(wrong, "a"),
      () => engine.addTrajectoryContext(wrong, "a"), () => engine.endTrajectory(wrong, 1),
    ]) assert.throws(call, refused);
  }
});

test("an address that is none is refused where the client is made", async () => {
  for (const wrong of ["127.0.0.1:8700", "localhost:8700", undefined, "http://"]) {
    assert.throws(() => new SonaClient(wrong), { name: "TypeError", message: /^the service's address is .*: expected one as "http:\/\/127/ });
    await assert.rejects(SonaEngine.connect(wrong), /the service's address is/);
  }
});

const TEXTS = {
  "with NUL": ["a\0b", /NUL/], "with half a surrogate pair": ["a\ud800", /surrogate/], "that end in half a surrogate pair": ["\udfff", /surrogate/],
  "with more bytes than the service takes": ["é".repeat(5001), /has 10002 bytes of UTF-8/],
};
for (const [kind, [text, told]] of Object.entries(TEXTS)) {
  test(`texts ${kind} throw`, () => {
    const engine = nowhere();
    const trajectory = engine.beginTrajectory([1, 2]);
    for (const call of [() => trajectory.setRoute(text), () => trajectory.addContext(text), () => engine.feedback(trajectory.id, { correction: text })]) {
      assert.throws(call, told);
    }
    engine.endTrajectory(trajectory.setRoute("é".repeat(500)).addContext("😀".repeat(2500)), 1); // as many bytes as may be
  });
}

test("an embedding without a direction, and a retraction with a value, throw", () => {
  const engine = nowhere();
  for (const zeros of [[0, 0], new Float32Array(2), [-0, 1e-60]]) assert.throws(() => engine.beginTrajectory(zeros), /the embedding is all 0/);
  const { id } = engine.beginTrajectory([1e-30, 0]);
  for (const value of [{ quality: 1 }, { correction: "a" }, { cost: 1 }]) {
    assert.throws(() => engine.feedback(id, { ...value, retract: true }), /retract takes back what was said before/);
    assert.ok(engine.feedback(id, { ...value, retract: false }) > 0);
  }
});

test("steps and labels beyond the service's limits throw, and those before are kept", () => {
  const engine = nowhere();
  const trajectory = engine.beginTrajectory([1, 2]);
  for (let place = 0; place < 32_767; place++) trajectory.addStep(null, [], 0);
  for (let place = 0; place < 1000; place++) trajectory.addContext(`${place}`);
  assert.throws(() => trajectory.addStep(null, null, 0), /a trajectory has 32767 steps at most/);
  assert.throws(() => trajectory.addContext("more"), /a trajectory has 1000 labels at most/);
  const other = engine.beginTrajectory([1, 2]);
  for (const wrong of [new Float32Array(16_001), { 0: 1 }, 7, new DataView(new ArrayBuffer(8))]) {
    assert.throws(() => other.addStep(wrong, null, 0), /activations (has 16001 numbers: expected at most 16000|is .*: expected an array)/);
    assert.throws(() => other.addStep(null, wrong, 0), /attentionWeights/);
  }
  engine.endTrajectory(trajectory, 1);
  assert.deepEqual([engine.queue._entries[0].body.steps.length, engine.queue._entries[0].body.context.length], [32_767, 1000]);
});

test("the service takes what is at the limits, and refuses what is beyond", async () => {
  const client = new SonaClient(url, { space: await space() });
  const vector = new Array(DIM).fill(1);
  const taken = { vector, route: "é".repeat(500), context: new Array(1000).fill("a"), steps: [{ activations: new Float32Array(16_000) }] };
  await client.recordTrajectory(taken);
  await client.recordTrajectory({ vector, context: ["é".repeat(5000)], steps: new Array(32_767).fill({ reward: 0 }) });
  const beyond = [
    { vector: new Array(DIM).fill(0) }, { vector, route: "é".repeat(501) }, { vector, route: "a\0" }, { vector, context: ["é".repeat(5001)] },
    { vector, context: new Array(1001).fill("a") }, { vector, steps: new Array(32_768).fill({ reward: 0 }) },
    { vector, steps: [{ activations: new Float32Array(16_001) }] },
  ];
  for (const body of beyond) await assert.rejects(client.recordTrajectory(body), { status: 422, fromService: true });
  await assert.rejects(client.feedback({ trajectory: uuid7(), quality: 1, retract: true }), { status: 422 });
});
