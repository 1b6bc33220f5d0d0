// Vectors on the wire: base64 of little-endian float32, a third of the size of a JSON array.

const littleEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

export function encodeVector(values) {
  const floats = values instanceof Float32Array ? values : Float32Array.from(values);
  const bytes = new Uint8Array(floats.length * 4);
  if (littleEndian) bytes.set(new Uint8Array(floats.buffer, floats.byteOffset, bytes.length));
  else floats.forEach((value, place) => new DataView(bytes.buffer).setFloat32(4 * place, value, true));
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192) text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  return btoa(text);
}

/** Return the bytes of a base64 text. */
export function decodeBytes(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < bytes.length; place++) bytes[place] = letters.charCodeAt(place);
  return bytes;
}

export function decodeVector(text) {
  const bytes = decodeBytes(text);
  if (littleEndian) return new Float32Array(bytes.buffer);
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, place) => view.getFloat32(4 * place, true));
}

/** Return a body with its vectors encoded; texts, and vectors that are encoded already, stay. */
export function encoded(body) {
  const made = { ...body };
  for (const name of ["vector", "activations", "attention_weights"]) if (isVector(made[name])) made[name] = encodeVector(made[name]);
  for (const name of ["vectors", "context_vectors"]) {
    if (Array.isArray(made[name])) made[name] = made[name].map((row) => (isVector(row) ? encodeVector(row) : row));
  }
  for (const name of ["trajectories", "steps"]) if (Array.isArray(made[name])) made[name] = made[name].map(encoded);
  for (const name of ["candidates"]) if (made[name]?.vectors) made[name] = encoded(made[name]);
  return made;
}

const isVector = (value) => ArrayBuffer.isView(value) || (Array.isArray(value) && typeof value[0] === "number");
