// The kernels in plain JavaScript, for engines without WebAssembly SIMD and pages whose policy forbids WebAssembly. Sums
// are in double precision.

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

export class PlainKernels {
  constructor(dim, adapters, centroids) {
    this._dim = dim;
    this.input = new Float32Array(dim);
    this.output = new Float32Array(dim);
    this._adapters = adapters.map((adapter) => ({ ...adapter, hidden: new Float64Array(adapter.rank) }));
    this._centroids = centroids;
    this._cosines = new Float64Array(centroids.length / dim);
    this._order = Uint32Array.from(this._cosines.keys());
  }

  /** Write x + scale · bᵀ(a x) of an adapter into `out`, which may be x. */
  apply(place, given, out) {
    const { rank, scale, a, b, hidden } = this._adapters[place];
    const dim = this._dim;
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
  }

  /** Call `found(row, cosine)` for the k nearest centroids, nearest first; return false if x has no direction. */
  nearest(given, k, found) {
    const x = given instanceof Float32Array ? given : Float32Array.from(given);
    let square = 0;
    for (let i = 0; i < this._dim; i++) square += x[i] * x[i];
    if (!(square > 0 && square < Infinity)) return false;
    const cosines = dots(this._centroids, this._cosines.length, x, this._dim, this._cosines);
    const order = this._order.sort((one, other) => cosines[other] - cosines[one] || one - other);
    const length = Math.sqrt(square);
    for (const row of order.subarray(0, k)) found(row, cosines[row] / length);
    return true;
  }
}
