// The same calls in npm's @ruvector/sona; argv: the folder it is installed in, the dimension. Prints one JSON object.
import { createRequire } from 'node:module';
import { performance } from 'node:perf_hooks';

const [folder, width] = process.argv.slice(2);
const require = createRequire(folder + '/');
const { SonaEngine } = require('@ruvector/sona');
const dim = Number(width);

let state = 1;
const uniform = () => (state = (state * 1103515245 + 12345) % 2147483648) / 1073741824 - 1;
const vector = n => Array.from({ length: n }, uniform);
const median = values => values.sort((a, b) => a - b)[values.length >> 1];

function perCall(call, number, rounds) { // seconds
  const times = [];
  for (let i = 0; i < Math.min(number, 200); i++) call();
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    for (let i = 0; i < number; i++) call();
    times.push((performance.now() - start) / 1000 / number);
  }
  return median(times);
}

function record(engine, x, activations, attention) {
  const id = engine.beginTrajectory(x);
  engine.addTrajectoryStep(id, activations, attention, 0.5);
  engine.endTrajectory(id, 0.75);
}

const answer = { node: process.version, version: require('@ruvector/sona/package.json').version, find: {} };

const [x, activations, attention] = [vector(dim), vector(dim), vector(64)];
const engine = SonaEngine.withConfig({ hiddenDim: dim, microLoraRank: 2, trajectoryCapacity: 100000 });
if (engine.applyMicroLora(x).length !== dim) throw new Error('applyMicroLora gave nothing');
answer.apply = perCall(() => engine.applyMicroLora(x), 1000, 15);
answer.record = perCall(() => record(engine, x, activations, attention), 1000, 15);

// Every cycle adds 100 patterns to those there are.
const store = SonaEngine.withConfig({ hiddenDim: dim, patternClusters: 100, trajectoryCapacity: 10000, qualityThreshold: 0 });
const stored = () => JSON.parse(store.getStats()).patterns_stored;
for (let i = 0; i < 110; i++) record(store, vector(dim), vector(dim), attention);
for (const wanted of [100, 1000, 10000]) {
  for (let turn = 0; stored() < wanted && turn < 200; turn++) {
    record(store, vector(dim), vector(dim), attention);
    store.forceLearn();
  }
  if (store.findPatterns(x, 5).length !== 5) throw new Error('findPatterns found fewer than 5');
  answer.find[wanted] = { patterns: stored(), seconds: perCall(() => store.findPatterns(x, 5), 20, 9) };
}
console.log(JSON.stringify(answer));
