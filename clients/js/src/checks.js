// Checks of what a caller records: the service's limits, before an entry is queued. An entry that is refused later is lost.

const MAX_HALF = 65504; // vectors are stored in half precision
const MAX_VECTOR = 16_000; // numbers of a step's vector
const MAX_STEPS = 32_767;
const MAX_LABELS = 1000;
const LONGEST_ID = 1000; // bytes of UTF-8
const LONGEST_LABEL = 10_000;
const MAX_COST = 1e30;
const MAX_REWARD = 1e6;
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;
const FACTS = ["quality", "correction", "cost", "retract", "source", "sequence"];

/** Return the embedding of `dim` numbers as `vector` does; throws if it is all 0, which points in no direction. */
export function embedding(values, dim) {
  const floats = vector(values, "the embedding", dim);
  if (floats.every((value) => value === 0)) throw new RangeError("the embedding is all 0: it points in no direction, so nothing could be learned from it");
  return floats;
}

/** Return the error for what is no vector of `dim` numbers. */
export function noVector(values, name, dim) {
  if (values === null || typeof values !== "object" || !("length" in values)) return new TypeError(`${name} is ${shown(values)}: expected an array of numbers`);
  return new RangeError(`${name}: expected ${dim} numbers, found ${values.length}`);
}

/** Return a copy as float32, of `dim` numbers if it is given; throws unless all are finite and in the range of half precision. */
export function vector(values, name, dim) {
  if (!(ArrayBuffer.isView(values) && "length" in values) && !Array.isArray(values)) throw new TypeError(`${name} is ${shown(values)}: expected an array of numbers`);
  if (dim !== undefined && values.length !== dim) throw noVector(values, name, dim);
  if (values.length > MAX_VECTOR) throw new RangeError(`${name} has ${values.length} numbers: expected at most ${MAX_VECTOR}`);
  const floats = Float32Array.from(values);
  const wrong = floats.findIndex((value) => !(Math.abs(value) <= MAX_HALF));
  if (wrong >= 0) throw new RangeError(`${name}[${wrong}] is ${shown(values[wrong])}: expected a finite number within ±${MAX_HALF}`);
  return floats;
}

/** Return a number from `least` to `most`. */
export function number(value, name, least, most) {
  if (typeof value !== "number") throw new TypeError(`${name} is ${shown(value)}: expected a number`);
  if (!(value >= least && value <= most)) throw new RangeError(`${name} is ${value}: expected a number from ${least} to ${most}`);
  return value;
}

export const quality = (value) => number(value, "quality", 0, 1);
export const cost = (value) => number(value, "cost", 0, MAX_COST);
export const latency = (value) => number(value, "latency", 0, 1e12 - 1);
export const reward = (value) => number(value, "reward", -MAX_REWARD, MAX_REWARD);
export const id = (value, name) => text(value, name, 1, LONGEST_ID);
export const label = (value) => text(value, "context", 0, LONGEST_LABEL);

/** Throw if a trajectory has as many steps, or labels, as the service takes. */
export const roomForStep = (steps) => room(steps, MAX_STEPS, "steps");
export const roomForLabel = (labels) => room(labels, MAX_LABELS, "labels");

function room({ length }, most, name) {
  if (length >= most) throw new RangeError(`a trajectory has ${most} ${name} at most: end it and begin another`);
}

/** Return the id of a trajectory. */
export function trajectoryId(value) {
  if (typeof value !== "string" || !UUID.test(value)) throw new TypeError(`trajectory is ${shown(value)}: expected the id that endTrajectory returned`);
  return value;
}

/** Return the parts of a fact that are given; throws if it tells nothing. */
export function fact(given) {
  if (given === null || typeof given !== "object") throw new TypeError(`the fact is ${shown(given)}: expected an object as {quality: 1}`);
  const told = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined && value !== null));
  for (const name of Object.keys(told)) if (!FACTS.includes(name)) throw new TypeError(`a fact has no ${name}: expected some of ${FACTS.join(", ")}`);
  if ("quality" in told) quality(told.quality);
  if ("correction" in told) id(told.correction, "correction");
  if ("cost" in told) cost(told.cost);
  if ("sequence" in told && !Number.isSafeInteger(told.sequence)) throw new TypeError(`sequence is ${shown(told.sequence)}: expected a whole number`);
  if ("retract" in told && typeof told.retract !== "boolean") throw new TypeError(`retract is ${shown(told.retract)}: expected true or false`);
  if (!("quality" in told || "correction" in told || "cost" in told || told.retract)) {
    throw new TypeError("the fact is empty: expected quality, correction, cost or retract");
  }
  if ("source" in told) {
    id(told.source, "source");
    if (!told.retract) throw new TypeError("only a retraction names a source: whose word is taken back");
  }
  if (told.retract && ["quality", "correction", "cost"].some((name) => name in told)) {
    throw new TypeError("retract takes back what was said before: give no quality, correction or cost with it");
  }
  return told;
}

function text(value, name, least, most) {
  if (typeof value !== "string") throw new TypeError(`${name} is ${shown(value)}: expected a text`);
  if (value.includes("\0")) throw new RangeError(`${name} is ${shown(value)}: Postgres stores no NUL character`);
  if (/\p{Surrogate}/u.test(value)) throw new RangeError(`${name} is ${shown(value)}: half of a surrogate pair is no character`);
  const { length } = new TextEncoder().encode(value);
  if (length < least || length > most) throw new RangeError(`${name} has ${length} bytes of UTF-8: expected ${least} to ${most}`);
  return value;
}

/** Return a value as a message shows it: short, whatever it is. */
export function shown(value) {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 40));
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return "an array";
  return value !== null && typeof value === "object" ? "an object" : String(value);
}
