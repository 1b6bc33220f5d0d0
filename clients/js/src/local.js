// Adapters and patterns applied here, without a request: the numbers of /v1/adapt and /v1/patterns to 1e-5.

import { noVector, shown } from "./checks.js";
import { PlainKernels } from "./plain-kernels.js";
import { decodeVector } from "./vectors.js";
import { WasmKernels } from "./wasm-kernels.js";

const adapter = ({ rank, scale, a, b }) => ({ rank, scale, a: decodeVector(a), b: decodeVector(b) });

// Every number of x is in every number of the result, so the first tells of all: no pass over x is spent on it.
function finite(out, x) {
  if (Number.isFinite(out[0])) return out;
  const wrong = Array.prototype.findIndex.call(x, (value) => !Number.isFinite(Number(value)));
  if (x === out || wrong < 0) throw new RangeError("the query has a number that is not finite, or too large");
  throw new RangeError(`the query[${wrong}] is ${x[wrong]}: expected a finite number`);
}

export class LocalModel {
  /** Take the answer of `GET /v1/adapters`. WebAssembly SIMD computes where it can be used, unless `wasm` is false. */
  constructor(told, { wasm = true } = {}) {
    this.version = told.version;
    this.dim = told.dim;
    this.layers = told.base.length; // of the base adapter
    this.patterns = told.patterns;
    this._centroids = decodeVector(told.centroids);
    const parts = [told.dim, [told.micro, ...told.base].map(adapter), this._centroids];
    this._kernels = (wasm && WasmKernels.of(...parts)) || new PlainKernels(...parts);
  }

  /** What computes: "wasm" or "javascript". */
  get computes() {
    return this._kernels instanceof WasmKernels ? "wasm" : "javascript";
  }

  /** Where the kernels read: a query that is written here and handed over is not copied. Any call may overwrite it. */
  get input() {
    return this._kernels.input;
  }

  /** Where the adapters write: handed over as `out`, nothing is copied. The next call overwrites it. */
  get output() {
    return this._kernels.output;
  }

  /** Return `x` moved by the micro adapter; into `out`, if it is given. */
  applyMicroLora(x, out = new Float32Array(this.dim)) {
    this._kernels.apply(0, this._checked(x), this._checked(out, "out"));
    return finite(out, x);
  }

  /** Return `x` moved by a layer of the base adapter. */
  applyBaseLora(layer, x, out = new Float32Array(this.dim)) {
    if (typeof layer !== "number") throw new TypeError(`layer is ${shown(layer)}: expected the number of a layer, then the vector`);
    if (!(Number.isInteger(layer) && layer >= 0 && layer < this.layers)) throw new RangeError(`layer ${layer}: expected 0 to ${this.layers - 1}`);
    this._kernels.apply(1 + layer, this._checked(x), this._checked(out, "out"));
    return finite(out, x);
  }

  /** Return the `k` nearest patterns, nearest first, each with its `similarity` and `centroid`. */
  findPatterns(x, k = 5) {
    if (!(Number.isInteger(k) && k >= 1)) throw new RangeError(`k is ${shown(k)}: expected a whole number of at least 1`);
    const { dim, patterns, _centroids: centroids } = this;
    const nearest = [];
    const found = (row, similarity) => {
      const { id, size, quality, kind, verdict, typical_queries, routes, created_at, access_count, last_accessed } = patterns[row]; // `...` takes a microsecond
      const centroid = centroids.subarray(row * dim, (row + 1) * dim);
      nearest.push({ id, similarity, size, quality, kind, verdict, typical_queries, routes, created_at, access_count, last_accessed, centroid });
    };
    if (!this._kernels.nearest(this._checked(x), k, found)) {
      throw new RangeError("the query points in no direction: all 0, or not finite");
    }
    return nearest;
  }

  _checked(x, name = "the query") {
    if (x?.length !== this.dim || typeof x === "string") throw noVector(x, name, this.dim);
    return x;
  }
}
