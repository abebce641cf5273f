import test from 'ava';
import fc from 'fast-check';
import { blockSize } from '../../../wasm/host/layout.ts';
import { referenceDeltaDecode, referenceDeltaEncode } from '../../../wasm/reference/delta.ts';
import { blockOf, seed } from '../../support/block-shapes.ts';
import { deltaDecode, deltaEncode } from '../../support/delta.ts';

type Edit = { at: number; take: number; put: Uint8Array };
const edit: fc.Arbitrary<Edit> = fc.record({
  at: fc.nat(blockSize - 1),
  take: fc.oneof(fc.nat(20), fc.nat(blockSize)),
  put: fc.uint8Array({ maxLength: 300 }),
});

// The base with parts replaced, put in and taken out, cut or filled up to a block.
function edited(base: Uint8Array, edits: Edit[]): Uint8Array {
  let bytes = Buffer.from(base);
  for (const { at, take, put } of edits) {
    bytes = Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + take)]);
  }
  const block = new Uint8Array(blockSize);
  block.set(bytes.subarray(0, blockSize));
  return block;
}

const pair = fc.oneof(
  fc
    .record({ base: blockOf(blockSize), edits: fc.array(edit, { maxLength: 8 }) })
    .map(({ base, edits }) => ({ base, block: edited(base, edits) })),
  fc.record({ base: blockOf(blockSize), block: blockOf(blockSize) }),
);

const number = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 4 }),
  fc.nat(blockSize).map((value) => {
    const bytes: number[] = [];
    let rest = value;
    for (; rest >= 128; rest >>= 7) bytes.push((rest & 127) | 128);
    return Uint8Array.from([...bytes, rest]);
  }),
);
// Sequences that look like a difference, so that hostile bytes get past the first token.
const sequence = fc
  .record({
    isBase: fc.boolean(),
    literals: fc.uint8Array({ maxLength: 40 }),
    distance: fc.oneof(fc.nat(40), fc.nat(65535)),
    lengthBits: fc.nat(15),
    more: number,
  })
  .map(({ isBase, literals, distance, lengthBits, more }) => [
    (isBase ? 128 : 0) | (Math.min(literals.length, 7) << 4) | lengthBits,
    ...(literals.length >= 7 ? [literals.length - 7] : []),
    ...literals,
    distance & 255,
    distance >> 8,
    ...(lengthBits === 15 ? more : []),
  ]);
const hostile = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.array(sequence, { maxLength: 30 }).map((list) => Uint8Array.from(list.flat())),
);

const isSame = (a: Uint8Array | undefined, b: Uint8Array | undefined) =>
  a === undefined || b === undefined ? a === b : Buffer.compare(a, b) === 0;

test('delta: what is encoded decodes to the same, by our code and the reference, crosswise', (t) => {
  const property = fc.property(pair, ({ base, block }) => {
    const fast = deltaEncode(base, block, blockSize + 1024)!;
    t.true(isSame(deltaDecode(base, fast), block));
    t.true(isSame(referenceDeltaDecode(base, fast), block));
    t.true(isSame(deltaDecode(base, referenceDeltaEncode(base, block)), block));
  });
  fc.assert(property, { seed, numRuns: 60 });
  t.log(`seed ${seed}`);
});

test('delta: on arbitrary bytes at the edges of memory the decoder agrees with the reference', (t) => {
  const base = Uint8Array.from({ length: blockSize }, (_, i) => (i * 7) % 251);
  const property = fc.property(hostile, (delta) => {
    const expected = referenceDeltaDecode(base, delta);
    for (const edge of ['input', 'window'] as const) {
      t.true(isSame(deltaDecode(base, delta, edge), expected), edge);
    }
  });
  fc.assert(property, { seed, numRuns: 1000 });
  t.log(`seed ${seed}`);
});

test('delta: one changed byte never leads the decoder out of its bounds', (t) => {
  const property = fc.property(pair, fc.nat(), fc.nat(255), ({ base, block }, at, byte) => {
    const delta = deltaEncode(base, block, blockSize + 1024)!;
    delta[at % delta.length] = byte;
    t.true(isSame(deltaDecode(base, delta), referenceDeltaDecode(base, delta)));
  });
  fc.assert(property, { seed, numRuns: 100 });
  t.log(`seed ${seed}`);
});
