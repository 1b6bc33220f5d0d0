// Ids made by the client, so that what is recorded offline is stored once.

// Node 18 has no global `crypto`: ids must be unique, they need not be secret.
function random16() {
  const bytes = new Uint8Array(16);
  return globalThis.crypto?.getRandomValues(bytes) ?? bytes.map(() => 256 * Math.random());
}

/** Return a UUIDv7 (RFC 9562) of now. */
export function uuid7(at = Date.now()) {
  const bytes = random16();
  for (let place = 0, rest = at; place < 6; place++) {
    bytes[5 - place] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
