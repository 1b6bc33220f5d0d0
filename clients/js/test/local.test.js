// Adapters and patterns applied here, by both kinds of kernels, without a service.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { LocalModel } from "../src/index.js";
import { encodeVector } from "../src/vectors.js";

const random = (seed) => () => { // mulberry32
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2147483648 - 1;
};
const vector = (draw, count) => Float32Array.from({ length: count }, draw);
const dot = (a, b) => a.reduce((sum, value, place) => sum + value * b[place], 0);
const unit = (x) => x.map((value) => value / Math.sqrt(dot(x, x)));
const KERNELS = [{ wasm: true }, { wasm: false }];

function told(dim, rank, rows, draw = random(dim + 100 * rank)) {
  const lora = { rank, scale: 0.5, weights: [vector(draw, rank * dim), vector(draw, rank * dim)] };
  const centroids = Array.from({ length: rows }, () => unit(vector(draw, dim)));
  const coded = { rank, scale: lora.scale, a: encodeVector(lora.weights[0]), b: encodeVector(lora.weights[1]) };
  const patterns = centroids.map((_, place) => ({ id: `p${place}`, size: 5, quality: 0.5, kind: "general", routes: {} }));
  const all = encodeVector(centroids.flatMap((row) => Array.from(row)));
  return { lora, centroids, answer: { version: 1, dim, micro: coded, base: [coded], patterns, centroids: all } };
}

function moved(x, { rank, scale, weights: [a, b] }) {
  const out = Array.from(x);
  for (let row = 0; row < rank; row++) {
    const [at, end] = [row * x.length, (row + 1) * x.length];
    const h = scale * dot(x, a.subarray(at, end));
    b.subarray(at, end).forEach((value, place) => { out[place] += h * value; });
  }
  return out;
}

test("WebAssembly SIMD computes in Node unless it is told not to", () => {
  const { answer } = told(8, 2, 3);
  assert.deepEqual(KERNELS.map((options) => new LocalModel(answer, options).computes), ["wasm", "javascript"]);
  assert.equal(new LocalModel(answer).computes, "wasm");
  assert.equal(new LocalModel(told(8, 17, 3).answer).computes, "javascript"); // a rank beyond the kernels'
});

test("adapters agree with double precision at awkward lengths and every rank", () => {
  const lengths = [1, 2, 3, 7, 8, 15, 16, 17, 97, 256, 384, 1536].map((dim) => [dim, 7]);
  const ranks = [1, 2, 3, 4, 8, 16].map((rank) => [97, rank]);
  for (const options of KERNELS) for (const [dim, rank] of [...lengths, ...ranks]) {
    const { lora, answer } = told(dim, rank, 1);
    const model = new LocalModel(answer, options);
    const x = vector(random(dim), dim);
    const expected = moved(x, lora);
    const size = Math.max(...expected.map(Math.abs));
    for (const found of [model.applyMicroLora(x), model.applyBaseLora(0, Array.from(x)), model.applyMicroLora(x.slice(), x)]) {
      found.forEach((value, place) => assert.ok(Math.abs(value - expected[place]) <= 1e-5 * size, `${model.computes} ${dim} ${rank}`));
    }
    assert.deepEqual(Array.from(model.applyMicroLora(x, x)), Array.from(x)); // the output may be the input
  }
});

test("in the kernels' own memory the numbers are the same, also after the model it belongs to", () => {
  for (const options of KERNELS) {
    const [model, next] = [new LocalModel(told(97, 2, 3).answer, options), new LocalModel(told(97, 4, 3).answer, options)];
    const x = vector(random(97), 97);
    const [moved, nearest, later] = [model.applyMicroLora(x), model.findPatterns(x, 3), next.applyMicroLora(x)];
    model.input.set(x);
    assert.equal(model.applyMicroLora(model.input, model.output), model.output);
    assert.deepEqual(model.output, moved);
    assert.deepEqual(model.findPatterns(model.input, 3), nearest);
    assert.deepEqual(next.applyMicroLora(model.input, model.output), later); // memory of a version before: copied
    assert.deepEqual(model.applyMicroLora(model.input, model.input), moved);
  }
});

test("the nearest patterns are those of double precision, in order, also with equal ones", () => {
  for (const options of KERNELS) for (const [dim, rows] of [[3, 1], [8, 5], [97, 70], [256, 200]]) {
    const { centroids, answer } = told(dim, 2, rows);
    const model = new LocalModel(answer, options);
    const x = vector(random(rows), dim);
    const direction = unit(x);
    const cosines = centroids.map((row) => dot(direction, row));
    const order = [...cosines.keys()].sort((one, other) => cosines[other] - cosines[one]);
    for (const k of [1, 5, rows, rows + 1]) {
      const found = model.findPatterns(x, k);
      assert.deepEqual(found.map(({ id }) => id), order.slice(0, k).map((row) => `p${row}`), `${model.computes} ${dim} ${k}`);
      found.forEach(({ similarity, centroid }, place) => {
        assert.ok(Math.abs(similarity - cosines[order[place]]) <= 1e-6);
        assert.deepEqual(centroid, centroids[order[place]]);
      });
    }
  }
  const row = encodeVector([1, 0, 1, 0, 1, 0]);
  const { answer } = told(2, 1, 3);
  for (const options of KERNELS) {
    assert.deepEqual(new LocalModel({ ...answer, centroids: row }, options).findPatterns([1, 1]).map(({ id }) => id), ["p0", "p1", "p2"]);
  }
});

test("a space without patterns finds none, and a query without a direction is refused", () => {
  for (const options of KERNELS) {
    assert.deepEqual(new LocalModel(told(8, 2, 0).answer, options).findPatterns(new Float32Array(8).fill(1)), []);
    const model = new LocalModel(told(8, 2, 3).answer, options);
    for (const value of [0, NaN, Infinity]) assert.throws(() => model.findPatterns(new Array(8).fill(value)), /no direction/);
    assert.throws(() => model.applyMicroLora([1, 2]), /expected 8 numbers, found 2/);
    assert.throws(() => model.applyMicroLora(new Float32Array(8), new Float32Array(9)), /expected 8 numbers, found 9/);
    assert.throws(() => model.applyBaseLora(1, new Float32Array(8)), /layer 1: expected 0 to 0/);
  }
});

test("where there is no WebAssembly, JavaScript computes", () => {
  const source = fileURLToPath(new URL("../src/index.js", import.meta.url));
  const program = `import { LocalModel } from ${JSON.stringify(source)};
    const model = new LocalModel(${JSON.stringify(told(8, 2, 3).answer)});
    console.log(typeof WebAssembly, model.computes, model.findPatterns(new Array(8).fill(1)).length);`;
  const done = spawnSync(process.execPath, ["--jitless", "--input-type=module", "--eval", program], { encoding: "utf8" });
  assert.equal(done.stdout.trim(), "undefined javascript 3", done.stderr);
});

test("numbers that are not finite and counts that are none are refused", () => {
  for (const options of KERNELS) {
    const model = new LocalModel(told(8, 2, 3).answer, options);
    for (const value of [NaN, Infinity, -Infinity, undefined, "a"]) for (const place of [0, 5, 7]) {
      const x = new Array(8).fill(0.5);
      x[place] = value;
      const refused = { name: "RangeError", message: `the query[${place}] is ${value}: expected a finite number` };
      assert.throws(() => model.applyMicroLora(x), refused);
      assert.throws(() => model.applyBaseLora(0, x), refused);
    }
    const own = new Float32Array(8).fill(NaN);
    assert.throws(() => model.applyMicroLora(own, own), /the query has a number that is not finite/);
    for (const k of [-1, 0, 1.5, NaN, "3", null]) assert.throws(() => model.findPatterns(new Array(8).fill(1), k), /k is .*: expected a whole number of at least 1/);
    for (const layer of [-1, 0.5, 1]) assert.throws(() => model.applyBaseLora(layer, new Array(8).fill(1)), /expected 0 to 0/);
  }
});
