import test from 'ava';
import fc from 'fast-check';
import { compressBlock, decompressBlock } from '../../../wasm/host/blocks.ts';
import { type Core, coreModule, createMemory, instantiate } from '../../../wasm/host/load.ts';
import { referenceCompress, referenceDecompress } from '../../../wasm/reference/lz4.ts';
import { seed, shapedBytes } from '../../support/block-shapes.ts';

const blockSize = 65536;

// Sequences that look like LZ4, so that hostile bytes get past the first token.
const sequence = fc
  .record({
    literals: fc.uint8Array({ maxLength: 40 }),
    offset: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 65535 })),
    matchBits: fc.integer({ min: 0, max: 15 }),
    more: fc.uint8Array({ minLength: 1, maxLength: 3 }),
  })
  .map(({ literals, offset, matchBits, more }) => [
    (Math.min(literals.length, 15) << 4) | matchBits,
    ...(literals.length >= 15 ? [literals.length - 15] : []),
    ...literals,
    offset & 255,
    offset >> 8,
    ...(matchBits === 15 ? more : []),
  ]);
const almostLz4 = fc
  .record({
    sequences: fc.array(sequence, { maxLength: 30 }),
    tail: fc.uint8Array({ maxLength: 14 }),
    isCut: fc.boolean(),
  })
  .map(({ sequences, tail, isCut }) => {
    const bytes = [...sequences.flat(), ...(isCut ? [] : [tail.length << 4]), ...tail];
    return Uint8Array.from(bytes);
  });
const hostile = fc.oneof(fc.uint8Array({ maxLength: 200 }), almostLz4, almostLz4);

const core = instantiate(coreModule(), createMemory(1, 1), 0);

/**
 * Decodes with the input or the output at the very end of the memory, so that a step beyond it
 * traps.
 */
function decodeAtEdge(edge: 'input' | 'output', block: Uint8Array, capacity: number) {
  const end = core.bytes.length;
  const input = edge === 'input' ? end - block.length : end - 3_000_000;
  const output = edge === 'output' ? end - capacity : end - 1_000_000;
  core.bytes.set(block, input);
  const guard = 64;
  core.bytes.fill(0xa5, output - guard, output + capacity + guard);
  if (edge === 'input') core.bytes.set(block, input);
  const size = core.exports.decompress(input, block.length, output, capacity);
  return {
    size,
    plain: plainOf(core, output, size),
    isGuarded: guardsHold(output, capacity, guard),
  };
}

function plainOf({ bytes }: Core, output: number, size: number): Uint8Array {
  return new Uint8Array(bytes.subarray(output, output + Math.max(size, 0)));
}

function guardsHold(output: number, capacity: number, guard: number): boolean {
  const before = core.bytes.subarray(output - guard, output);
  const after = core.bytes.subarray(output + capacity, output + capacity + guard);
  return before.every((byte) => byte === 0xa5) && after.every((byte) => byte === 0xa5);
}

test('lz4: decompress(compress(x)) = x for our code and the reference, crosswise', (t) => {
  const property = fc.property(shapedBytes(blockSize), (plain) => {
    const fast = compressBlock(plain);
    t.deepEqual(decompressBlock(fast, plain.length), plain);
    t.deepEqual(referenceDecompress(fast, plain.length), plain);
    t.deepEqual(decompressBlock(referenceCompress(plain), plain.length), plain);
  });
  fc.assert(property, { seed, numRuns: 60 });
  t.log(`seed ${seed}`);
});

test('lz4: on arbitrary bytes at the edges of memory the decoder agrees with the reference', (t) => {
  const capacities = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.constant(blockSize));
  const property = fc.property(hostile, capacities, (block, capacity) => {
    const expected = referenceDecompress(block, capacity);
    for (const edge of ['input', 'output'] as const) {
      const { size, plain, isGuarded } = decodeAtEdge(edge, block, capacity);
      t.true(isGuarded, `${edge}: bytes around the output are untouched`);
      t.is(size, expected?.length ?? -1, edge);
      if (expected) t.deepEqual(plain, expected);
    }
  });
  fc.assert(property, { seed, numRuns: 2000 });
  t.log(`seed ${seed}`);
});

test('lz4: one changed byte never leads the decoder out of its bounds', (t) => {
  const property = fc.property(shapedBytes(3000), fc.nat(), fc.nat(255), (plain, at, byte) => {
    const block = compressBlock(plain);
    block[at % block.length] = byte;
    const expected = referenceDecompress(block, plain.length);
    const { size, isGuarded } = decodeAtEdge('output', block, plain.length);
    t.true(isGuarded);
    t.is(size, expected?.length ?? -1);
  });
  fc.assert(property, { seed, numRuns: 500 });
  t.log(`seed ${seed}`);
});
