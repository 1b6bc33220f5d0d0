// The kernels in WebAssembly SIMD: the C of the engine, compiled by wasm/build.sh.

import { KERNELS } from "./kernels-wasm.js";
import { decodeBytes } from "./vectors.js";

const PAGE = 65_536; // bytes
const MOST_RANK = 16; // SONA_MAX_RANK of the C code
const aligned = (address) => (address + 15) & ~15;
let compiled;

// Null where there is no WebAssembly SIMD, or where a page's Content-Security-Policy forbids WebAssembly.
function kernels() {
  if (compiled === undefined) {
    try {
      compiled = new WebAssembly.Module(decodeBytes(KERNELS));
    } catch {
      compiled = null;
    }
  }
  return compiled;
}

export class WasmKernels {
  /** Return kernels that hold these adapters and centroids, or null where WebAssembly cannot be used. */
  static of(dim, adapters, centroids) {
    if (!kernels() || adapters.some(({ rank }) => rank > MOST_RANK)) return null;
    return new WasmKernels(dim, adapters, centroids);
  }

  constructor(dim, adapters, centroids) {
    const floats = adapters.reduce((sum, { a, b }) => sum + a.length + b.length, centroids.length) + 2 * dim;
    const rows = centroids.length / dim;
    const bytes = 4 * floats + 12 * rows + 16 * (2 * adapters.length + 6);
    const memory = new WebAssembly.Memory({ initial: 1 + Math.ceil(bytes / PAGE) }); // the first page: stack and constants
    const { apply, nearest, __heap_base: heap } = new WebAssembly.Instance(kernels(), { env: { memory } }).exports;
    let free = heap.value;
    const take = (size) => {
      const at = aligned(free);
      free = at + size;
      return at;
    };
    const room = (count) => new Float32Array(memory.buffer, take(4 * count), count);
    const kept = (values) => {
      const view = room(values.length);
      view.set(values);
      return view.byteOffset;
    };
    this._apply = apply;
    this._nearest = nearest;
    this._dim = dim;
    this._rows = rows;
    this.input = room(dim);
    this.output = room(dim);
    this._cosines = room(rows);
    this._found = new Int32Array(memory.buffer, take(8 * rows), 2 * rows); // 64-bit indices, the lower half first
    this._adapters = adapters.map(({ rank, scale, a, b }) => ({ rank, scale, a: kept(a), b: kept(b) }));
    this._centroids = kept(centroids);
  }

  /** Write x + scale · bᵀ(a x) of an adapter into `out`, which may be x. */
  apply(place, x, out) {
    const { rank, scale, a, b } = this._adapters[place];
    const { input, output } = this;
    if (x !== input) input.set(x);
    this._apply(input.byteOffset, a, b, scale, rank, this._dim, output.byteOffset);
    if (out !== output) out.set(output);
  }

  /** Call `found(row, cosine)` for the k nearest centroids, nearest first; return false if x has no direction. */
  nearest(x, k, found) {
    const { input } = this;
    if (x !== input) input.set(x);
    const count = Math.min(k, this._rows);
    const refused = this._nearest(
      input.byteOffset, this._centroids, this._rows, this._dim, count, this._found.byteOffset, this._cosines.byteOffset,
    );
    if (refused) return false;
    for (let place = 0; place < count; place++) found(this._found[2 * place], this._cosines[place]);
    return true;
  }
}
