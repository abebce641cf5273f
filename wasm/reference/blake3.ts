// BLAKE3 as its paper defines it, written to be read. It is the definition that the fast code must
// agree with.

const chunkSize = 1024;
const blockSize = 64;

const initialValue = [
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];
const permutation = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
const rounds = 7;

/** Flags that keep the uses of the compression function apart. */
const chunkStart = 1;
const chunkEnd = 2;
const parent = 4;
const root = 8;

type Words = number[];

function rotateRight(x: number, bits: number): number {
  return (x >>> bits) | (x << (32 - bits));
}

// Mixes two message words into a column or a diagonal of the state.
function mix(v: Words, at: [number, number, number, number], x: number, y: number): void {
  const [a, b, c, d] = at;
  v[a] = (v[a]! + v[b]! + x) | 0;
  v[d] = rotateRight(v[d]! ^ v[a]!, 16);
  v[c] = (v[c]! + v[d]!) | 0;
  v[b] = rotateRight(v[b]! ^ v[c]!, 12);
  v[a] = (v[a]! + v[b]! + y) | 0;
  v[d] = rotateRight(v[d]! ^ v[a]!, 8);
  v[c] = (v[c]! + v[d]!) | 0;
  v[b] = rotateRight(v[b]! ^ v[c]!, 7);
}

function round(v: Words, m: Words): void {
  mix(v, [0, 4, 8, 12], m[0]!, m[1]!);
  mix(v, [1, 5, 9, 13], m[2]!, m[3]!);
  mix(v, [2, 6, 10, 14], m[4]!, m[5]!);
  mix(v, [3, 7, 11, 15], m[6]!, m[7]!);
  mix(v, [0, 5, 10, 15], m[8]!, m[9]!);
  mix(v, [1, 6, 11, 12], m[10]!, m[11]!);
  mix(v, [2, 7, 8, 13], m[12]!, m[13]!);
  mix(v, [3, 4, 9, 14], m[14]!, m[15]!);
}

// One message block of up to 64 bytes, zero-padded, with the chaining value before it → the one
// after it.
function compress(
  chaining: Words,
  block: Uint8Array,
  counter: number,
  length: number,
  flags: number,
): Words {
  const padded = new DataView(new ArrayBuffer(blockSize));
  block.forEach((byte, i) => {
    padded.setUint8(i, byte);
  });
  let message = Array.from({ length: 16 }, (_, i) => padded.getUint32(i * 4, true));
  const counterWords = [counter | 0, Math.floor(counter / 2 ** 32)];
  const v = [...chaining, ...initialValue.slice(0, 4), ...counterWords, length, flags];
  for (let i = 0; i < rounds; i++) {
    round(v, message);
    message = permutation.map((from) => message[from]!);
  }
  return chaining.map((_, i) => v[i]! ^ v[i + 8]!);
}

function hashChunk(chunk: Uint8Array, counter: number, flags: number): Words {
  let chaining: Words = initialValue;
  let at = 0;
  do {
    const block = chunk.subarray(at, at + blockSize);
    const isLast = at + blockSize >= chunk.length;
    const blockFlags = (at === 0 ? chunkStart : 0) | (isLast ? chunkEnd | flags : 0);
    chaining = compress(chaining, block, counter, block.length, blockFlags);
    at += blockSize;
  } while (at < chunk.length);
  return chaining;
}

function toBytes(words: Words): Uint8Array {
  const view = new DataView(new ArrayBuffer(words.length * 4));
  words.forEach((word, i) => {
    view.setUint32(i * 4, word, true);
  });
  return new Uint8Array(view.buffer);
}

// A tree node: the left part is the largest power of two of chunks that leaves at least one byte
// for the right.
function hashNode(bytes: Uint8Array, counter: number, flags: number): Words {
  if (bytes.length <= chunkSize) return hashChunk(bytes, counter, flags);
  let leftChunks = 1;
  while (leftChunks * 2 * chunkSize < bytes.length) leftChunks *= 2;
  const left = hashNode(bytes.subarray(0, leftChunks * chunkSize), counter, 0);
  const right = hashNode(bytes.subarray(leftChunks * chunkSize), counter + leftChunks, 0);
  const pair = toBytes([...left, ...right]);
  return compress(initialValue, pair, 0, blockSize, parent | flags);
}

/** The BLAKE3-256 digest, 32 bytes. */
export function referenceHash(bytes: Uint8Array): Uint8Array {
  return toBytes(hashNode(bytes, 0, root));
}
