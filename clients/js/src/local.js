// Adapters and patterns applied here, without a request: the numbers of /v1/adapt and /v1/patterns to 1e-5.

import { decodeVector } from "./vectors.js";

function adapter({ rank, scale, a, b }, dim) {
  return { rank, scale, a: decodeVector(a), b: decodeVector(b), dim, hidden: new Float64Array(rank) };
}

// The product of x with four rows that begin at `at`, into `out`: one pass over x serves all four.
function fourDots(rows, at, x, dim, out, place) {
  const [second, third, fourth] = [at + dim, at + 2 * dim, at + 3 * dim];
  let a = 0, b = 0, c = 0, d = 0;
  for (let i = 0; i < dim; i++) {
    const value = x[i];
    a += rows[at + i] * value;
    b += rows[second + i] * value;
    c += rows[third + i] * value;
    d += rows[fourth + i] * value;
  }
  out[place] = a;
  out[place + 1] = b;
  out[place + 2] = c;
  out[place + 3] = d;
}

function dots(rows, count, x, dim, out) {
  let row = 0;
  for (; row + 3 < count; row += 4) fourDots(rows, row * dim, x, dim, out, row);
  for (; row < count; row++) {
    let [even, odd] = [0, 0];
    const at = row * dim;
    let i = 0;
    for (; i + 1 < dim; i += 2) {
      even += rows[at + i] * x[i];
      odd += rows[at + i + 1] * x[i + 1];
    }
    if (i < dim) even += rows[at + i] * x[i];
    out[row] = even + odd;
  }
  return out;
}

// x + scale · bᵀ(a x). Sums are in double precision, so no worse than the service's own.
function applied({ rank, scale, a, b, dim, hidden }, given, out) {
  const x = given instanceof Float32Array ? given : Float32Array.from(given);
  dots(a, rank, x, dim, hidden);
  if (out !== x) out.set(x);
  let row = 0;
  for (; row + 3 < rank; row += 4) {
    const [h0, h1, h2, h3] = [scale * hidden[row], scale * hidden[row + 1], scale * hidden[row + 2], scale * hidden[row + 3]];
    const [at, second, third, fourth] = [row * dim, (row + 1) * dim, (row + 2) * dim, (row + 3) * dim];
    for (let i = 0; i < dim; i++) out[i] += h0 * b[at + i] + h1 * b[second + i] + (h2 * b[third + i] + h3 * b[fourth + i]);
  }
  for (; row < rank; row++) {
    const h = scale * hidden[row];
    for (let i = 0, at = row * dim; i < dim; i++, at++) out[i] += h * b[at];
  }
  return out;
}

export class LocalModel {
  /** Take the answer of `GET /v1/adapters`. */
  constructor(told) {
    this.version = told.version;
    this.dim = told.dim;
    this.patterns = told.patterns;
    this._micro = adapter(told.micro, told.dim);
    this._base = told.base.map((layer) => adapter(layer, told.dim));
    this._centroids = decodeVector(told.centroids);
    this._cosines = new Float64Array(told.patterns.length);
    this._order = Uint32Array.from(told.patterns.keys());
  }

  /** The number of layers of the base adapter. */
  get layers() {
    return this._base.length;
  }

  /** Return `x` moved by the micro adapter; into `out`, if it is given. */
  applyMicroLora(x, out = new Float32Array(this.dim)) {
    return applied(this._micro, this._checked(x), out);
  }

  /** Return `x` moved by a layer of the base adapter. */
  applyBaseLora(layer, x, out = new Float32Array(this.dim)) {
    const weights = this._base[layer];
    if (!weights) throw new RangeError(`layer ${layer}: expected 0 to ${this._base.length - 1}`);
    return applied(weights, this._checked(x), out);
  }

  /** Return the `k` nearest patterns, nearest first, each with its `similarity` and `centroid`. */
  findPatterns(x, k = 5) {
    this._checked(x);
    const { dim, _centroids: centroids } = this;
    const query = x instanceof Float32Array ? x : Float32Array.from(x);
    let square = 0;
    for (let i = 0; i < dim; i++) square += query[i] * query[i];
    if (!(square > 0)) throw new RangeError("the query is all 0: it points in no direction");
    const cosines = dots(centroids, this.patterns.length, query, dim, this._cosines);
    const order = this._order.sort((one, other) => cosines[other] - cosines[one] || one - other);
    const length = Math.sqrt(square);
    return Array.from(order.subarray(0, Math.max(k, 0)), (row) => ({
      ...this.patterns[row], similarity: cosines[row] / length, centroid: centroids.subarray(row * dim, (row + 1) * dim),
    }));
  }

  _checked(x) {
    if (x.length !== this.dim) throw new RangeError(`expected ${this.dim} numbers, found ${x.length}`);
    return x;
  }
}
