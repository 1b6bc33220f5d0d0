// Speed of adapters and patterns applied here, beside @ruvector/sona's own: npm install --no-save @ruvector/sona; node bench.mjs

import { createRequire } from "node:module";

import { LocalModel } from "./src/local.js";
import { encodeVector } from "./src/vectors.js";

const { SonaEngine } = createRequire(import.meta.url)("@ruvector/sona");
const [DIM, PATTERNS, ROUNDS] = [256, 100, 7];
const random = (count) => Float32Array.from({ length: count }, () => Math.random() - 0.5);
const lora = (rank) => ({ rank, scale: 1, a: encodeVector(random(rank * DIM)), b: encodeVector(random(rank * DIM)) });
const patterns = Array.from({ length: PATTERNS }, (_, id) => ({ id: String(id), size: 5, quality: 0.5, kind: "general", typical_queries: [], routes: {} }));
const ours = new LocalModel({ version: 1, dim: DIM, micro: lora(2), base: [lora(8)], patterns, centroids: encodeVector(random(PATTERNS * DIM)) });
const theirs = SonaEngine.withConfig({ hiddenDim: DIM, microLoraRank: 2, baseLoraRank: 8 });
const floats = random(DIM);
const plain = Array.from(floats);
const out = new Float32Array(DIM);
for (let place = 0; place < 300; place++) {
  const trajectory = theirs.beginTrajectory(Array.from(random(DIM)));
  theirs.addTrajectoryStep(trajectory, plain, plain, 0.5);
  theirs.endTrajectory(trajectory, 0.9);
}
theirs.forceLearn();

function microseconds(call, times) {
  const found = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    let seen = 0;
    for (let time = 0; time < times; time++) seen += call().length;
    if (!(seen > 0)) throw new Error("nothing was answered");
    found.push((1000 * (performance.now() - start)) / times);
  }
  return found.sort((one, other) => one - other)[ROUNDS >> 1];
}

console.log(`${DIM} dimensions, median of ${ROUNDS} rounds; patterns: ${PATTERNS} here, ${theirs.findPatterns(plain, 1000).length} there`);
for (const [name, mine, peer] of [
  ["micro adapter, rank 2", () => ours.applyMicroLora(floats, out), () => theirs.applyMicroLora(plain)],
  ["base adapter, rank 8", () => ours.applyBaseLora(0, floats, out), () => theirs.applyBaseLora(0, plain)],
  ["5 nearest patterns", () => ours.findPatterns(floats, 5), () => theirs.findPatterns(plain, 5)],
]) {
  const [a, b] = [microseconds(mine, 20_000), microseconds(peer, 2_000)];
  console.log(`${name.padEnd(24)} sona-pg ${a.toFixed(2).padStart(8)} µs   @ruvector/sona ${b.toFixed(2).padStart(8)} µs   ${(b / a).toFixed(1)} times`);
}
