import test from 'ava';
import { blake3 } from 'hash-wasm';
import { createHasher, hash } from '../../../wasm/host/blake3.ts';
import { referenceHash } from '../../../wasm/reference/blake3.ts';
import vectors from '../../../wasm/vectors/blake3.json' with { type: 'json' };

const pattern = (length: number) => Uint8Array.from({ length }, (_, i) => i % 251);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

// Lengths around a message block, a chunk, four chunks, a piece of 64 KiB, and trees of several
// shapes.
const edges = [64, 1024, 4096, 65536, 131072].flatMap((size) => [size - 1, size, size + 1]);
const lengths = [...edges, 2, 5, 127, 128, 6000, 196608, 196609, 262144, 327681, 1048577];

for (const { inputLength, hash: expected } of vectors.cases) {
  test(`hash: the published vector of ${inputLength} bytes`, (t) => {
    t.is(hex(hash(pattern(inputLength))), expected);
  });
  test(`referenceHash: the published vector of ${inputLength} bytes`, (t) => {
    t.is(hex(referenceHash(pattern(inputLength))), expected);
  });
}

test('hash: every edge of the tree agrees with an independent implementation', async (t) => {
  for (const length of lengths) {
    t.is(hex(hash(pattern(length))), await blake3(pattern(length)), `${length} bytes`);
  }
});

test('hash: the result is a copy that later calls do not change', (t) => {
  const first = hash(pattern(10));
  const before = hex(first);
  hash(pattern(11));
  t.is(hex(first), before);
});

test('createHasher: parts of any size give the digest of the whole', (t) => {
  const whole = pattern(400_000);
  const expected = hex(hash(whole));
  for (const size of [1000, 65535, 65536, 65537, 131072, 399_999]) {
    const hasher = createHasher();
    for (let at = 0; at < whole.length; at += size) hasher.update(whole.subarray(at, at + size));
    t.is(hex(hasher.digest()), expected, `parts of ${size}`);
  }
});

test('createHasher: two hashers at a time do not disturb each other', (t) => {
  const left = createHasher().update(pattern(70_000));
  const right = createHasher().update(pattern(5));
  left.update(pattern(70_000));
  t.is(hex(right.digest()), hex(hash(pattern(5))));
  t.is(hex(left.digest()), hex(hash(Buffer.concat([pattern(70_000), pattern(70_000)]))));
});

test('createHasher: nothing at all is the digest of no bytes', (t) => {
  t.is(hex(createHasher().digest()), vectors.cases[0]!.hash);
});
