// Speed of adapters and patterns applied here, beside SONA's packages for Node and WebAssembly:
//   npm install --no-save @ruvector/sona @ruvector/learning-wasm; node bench.mjs

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { initSync, WasmMicroLoRA } from "@ruvector/learning-wasm";

import { LocalModel } from "./src/local.js";
import { encodeVector } from "./src/vectors.js";

const { resolve } = createRequire(import.meta.url);
const { SonaEngine } = createRequire(import.meta.url)("@ruvector/sona");
const { memory } = initSync({ module: readFileSync(resolve("@ruvector/learning-wasm/ruvector_learning_wasm_bg.wasm")) });

const [DIM, PATTERNS, ROUNDS] = [256, 100, 9];
const random = (count) => Float32Array.from({ length: count }, () => Math.random() - 0.5);
const lora = (rank) => ({ rank, scale: 1, a: encodeVector(random(rank * DIM)), b: encodeVector(random(rank * DIM)) });
const patterns = Array.from({ length: PATTERNS }, (_, id) => ({
  id: String(id), size: 5, quality: 0.5, kind: "general", verdict: null, typical_queries: [], routes: {},
}));
const told = { version: 1, dim: DIM, micro: lora(2), base: [lora(8)], patterns, centroids: encodeVector(random(PATTERNS * DIM)) };
const [simd, plain] = [new LocalModel(told), new LocalModel(told, { wasm: false })];
const theirs = SonaEngine.withConfig({ hiddenDim: DIM, microLoraRank: 2, baseLoraRank: 8 });
const theirWasm = new WasmMicroLoRA(DIM, 0.1, 0.01);
const x = random(DIM);
const list = Array.from(x);
const out = new Float32Array(DIM);
const [theirInput, theirOutput] = [theirWasm.get_input_ptr(), theirWasm.get_output_ptr()].map((at) => new Float32Array(memory.buffer, at, DIM));

const own = (model) => model.applyMicroLora(model.input, model.output);
const theirOwn = () => (theirWasm.forward(), theirOutput);

// The fastest that theirs offers for an array of ours: their module's memory, written and read by hand.
function theirForward() {
  theirInput.set(x);
  theirWasm.forward();
  out.set(theirOutput);
  return out;
}
for (let place = 0; place < 300; place++) {
  const trajectory = theirs.beginTrajectory(Array.from(random(DIM)));
  theirs.addTrajectoryStep(trajectory, list, list, 0.5);
  theirs.endTrajectory(trajectory, 0.9);
}
theirs.forceLearn();

function microseconds(call, times) {
  const start = performance.now();
  let seen = 0;
  for (let time = 0; time < times; time++) seen += call().length;
  if (!(seen > 0)) throw new Error("nothing was answered");
  return (1000 * (performance.now() - start)) / times;
}

const rows = [
  ["micro adapter, rank 2, a new array each call", (model) => model.applyMicroLora(x), () => theirs.applyMicroLora(list), () => theirWasm.forward_array(x)],
  ["micro adapter, rank 2, into one array", (model) => model.applyMicroLora(x, out), null, theirForward],
  ["micro adapter, rank 2, in the modules' own memory", own, null, theirOwn],
  ["base adapter, rank 8, into one array", (model) => model.applyBaseLora(0, x, out), () => theirs.applyBaseLora(0, list), null],
  ["5 nearest patterns", (model) => model.findPatterns(x, 5), () => theirs.findPatterns(list, 5), null],
];
const found = theirs.findPatterns(list, 1000).length;
console.log(`µs a call, ${DIM} dimensions, median of ${ROUNDS} alternating rounds; patterns: ${PATTERNS} here, ${found} there\n`);
console.log("| | sona-pg, WebAssembly | sona-pg, JavaScript | @ruvector/sona | @ruvector/learning-wasm |\n|---|---|---|---|---|");
for (const [name, ours, node, wasm] of rows) {
  const calls = [[() => ours(simd), 20_000], [() => ours(plain), 10_000], [node, 1_000], [wasm, 10_000]];
  const seen = calls.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    calls.forEach(([call, times], place) => call && seen[place].push(microseconds(call, times)));
  }
  const medians = seen.map((times) => times.sort((one, other) => one - other)[ROUNDS >> 1]);
  const told = medians.map((median, place) => {
    if (median === undefined) return "none";
    return median.toFixed(2) + (place > 1 ? ` (${(median / medians[0]).toFixed(1)} times)` : "");
  });
  console.log(`| ${name} | ${told.join(" | ")} |`);
}
