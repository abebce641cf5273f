import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { compressBlock } from '../../../wasm/host/blocks.ts';
import { CorePool, type EncodedRun, type StoredBlock } from '../../../wasm/host/core-pool.ts';
import { referenceHash } from '../../../wasm/reference/blake3.ts';
import { blockOf, noise, seed } from '../../support/block-shapes.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const blockSize = 65536;
const idSize = 32;

type Expected = { kind: number; id: Uint8Array; stored: Uint8Array };

// What the run API must give for one block, from the reference hash and the single-block encoder.
function expectedOf(block: Uint8Array, parentId: Uint8Array | undefined): Expected {
  const none = new Uint8Array(0);
  if (block.every((byte) => byte === 0))
    return { kind: 0, id: new Uint8Array(idSize), stored: none };
  const id = referenceHash(block);
  if (parentId && Buffer.compare(parentId, id) === 0) return { kind: 1, id, stored: none };
  const lz4 = compressBlock(block);
  return lz4.length < blockSize ? { kind: 2, id, stored: lz4 } : { kind: 3, id, stored: block };
}

function partsOf(run: EncodedRun, i: number): Expected {
  const [offset, length] = [run.offsets[i]!, run.lengths[i]!];
  return {
    kind: run.kinds[i]!,
    id: new Uint8Array(run.ids.subarray(i * idSize, (i + 1) * idSize)),
    stored: new Uint8Array(run.data.subarray(offset, offset + length)),
  };
}

const blocks = fc.array(fc.oneof(blockOf(blockSize), fc.constant(noise(blockSize, 1))), {
  minLength: 1,
  maxLength: 6,
});
// Per block: whether the parent has it equal, another one, or a hole.
const parents = fc.array(fc.constantFrom('same', 'other', 'hole'), { minLength: 6, maxLength: 6 });

test('encode: a run gives for every block what the reference gives', async (t) => {
  const pool = await CorePool.open({ workers: 0 });
  t.teardown(() => pool.close());
  const property = fc.asyncProperty(blocks, parents, async (plain, relations) => {
    const parentIds = new Uint8Array(plain.length * idSize);
    plain.forEach((block, i) => {
      if (relations[i] === 'same') parentIds.set(referenceHash(block), i * idSize);
      if (relations[i] === 'other') parentIds.fill(7, i * idSize, (i + 1) * idSize);
    });
    const bytes = Buffer.concat(plain);
    const run = await pool.encode({ blocks: plain.length, bytes, parentIds, compress: true });
    plain.forEach((block, i) => {
      const parentId = parentIds.subarray(i * idSize, (i + 1) * idSize);
      t.deepEqual(partsOf(run, i), expectedOf(block, parentId));
    });
    run.release();
  });
  await fc.assert(property, { seed, numRuns: 25 });
  t.log(`seed ${seed}`);
});

test('encode: beside the older image a run gives the same', async (t) => {
  const pool = await CorePool.open({ workers: 0 });
  t.teardown(() => pool.close());
  const property = fc.asyncProperty(blocks, parents, async (plain, relations) => {
    const older = Buffer.alloc(plain.length * blockSize);
    const parentIds = new Uint8Array(plain.length * idSize);
    plain.forEach((block, i) => {
      if (relations[i] === 'hole') return;
      const before = Buffer.from(block);
      if (relations[i] === 'other') before[blockSize - 1]! ^= 1;
      older.set(before, i * blockSize);
      if (before.some((byte) => byte !== 0)) parentIds.set(referenceHash(before), i * idSize);
    });
    const bytes = Buffer.concat(plain);
    const content = { blocks: plain.length, bytes, parentIds, older: { bytes: older } };
    const run = await pool.encode({ ...content, compress: true });
    plain.forEach((block, i) => {
      const parentId = parentIds.subarray(i * idSize, (i + 1) * idSize);
      t.deepEqual(partsOf(run, i), expectedOf(block, parentId));
    });
    run.release();
  });
  await fc.assert(property, { seed, numRuns: 25 });
  t.log(`seed ${seed}`);
});

test('decode: what a run encoded comes back, in memory and in a file', async (t) => {
  const pool = await CorePool.open({ workers: 0 });
  t.teardown(() => pool.close());
  const path = join(await tempFolder(t), 'image');
  const property = fc.asyncProperty(blocks, fc.boolean(), async (plain, compress) => {
    const run = await pool.encode({ blocks: plain.length, bytes: Buffer.concat(plain), compress });
    const stored = new Uint8Array(run.data);
    const list = plain.map((_, i): StoredBlock => {
      const { kind, id } = partsOf(run, i);
      const [offset, length] = [run.offsets[i]!, run.lengths[i]!];
      const encoding = kind === 2 ? 'lz4' : 'raw';
      return { id, encoding, fd: -1, offset, length, targetOffset: i * blockSize };
    });
    run.release();
    const decoded = await pool.decode({ blocks: list, stored });
    t.is(Buffer.compare(decoded.bytes, Buffer.concat(plain)), 0);
    decoded.release();

    const targetFd = openSync(path, 'w');
    await pool.decode({ blocks: list, stored, targetFd }).finally(() => closeSync(targetFd));
    const whole = Buffer.alloc(plain.length * blockSize);
    readFileSync(path).copy(whole);
    t.is(Buffer.compare(whole, Buffer.concat(plain)), 0);
  });
  await fc.assert(property, { seed, numRuns: 25 });
  t.log(`seed ${seed}`);
});
