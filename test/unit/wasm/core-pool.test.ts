import { closeSync, openSync, writeSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import test, { type ExecutionContext } from 'ava';
import {
  BlockError,
  CoreError,
  CorePool,
  type CorePoolOptions,
  type EncodedRun,
  type StoredBlock,
} from '../../../wasm/host/core-pool.ts';
import type { WorkerStart } from '../../../wasm/host/worker-crew.ts';
import { noise } from '../../support/block-shapes.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const blockSize = 65536;
const idSize = 32;

async function openPool(t: ExecutionContext, options: CorePoolOptions): Promise<CorePool> {
  const pool = await CorePool.open(options);
  t.teardown(() => pool.close());
  return pool;
}

function openFd(t: ExecutionContext, path: string, flags = 'r'): number {
  const fd = openSync(path, flags);
  t.teardown(() => closeSync(fd));
  return fd;
}

// Blocks of four sorts: zero, text, noise, and text with another beginning.
function image(blocks: number): Buffer {
  const bytes = Buffer.alloc(blocks * blockSize);
  for (let i = 0; i < blocks; i++) {
    const block = bytes.subarray(i * blockSize, (i + 1) * blockSize);
    if (i % 4 === 1) block.fill(`line ${i} of a file that repeats itself\n`);
    if (i % 4 === 2) block.set(noise(blockSize, i));
    if (i % 4 === 3) block.fill(`another ${i * i}`, 100);
  }
  return bytes;
}

function copyOf(run: EncodedRun) {
  const { kinds, ids, offsets, lengths, data } = run;
  return {
    kinds: [...kinds],
    ids: Buffer.from(ids).toString('hex'),
    offsets: [...offsets],
    lengths: [...lengths],
    data: Buffer.from(data).toString('base64'),
  };
}

// Describes a whole encoded run as stored blocks of one file.
function storedBlocks(run: EncodedRun, fd: number): StoredBlock[] {
  return [...run.kinds].map((kind, i) => ({
    id: new Uint8Array(run.ids.subarray(i * idSize, (i + 1) * idSize)),
    encoding: kind === 2 ? 'lz4' : 'raw',
    fd,
    offset: run.offsets[i]!,
    length: run.lengths[i]!,
    targetOffset: i * blockSize,
  }));
}

// Writes an image and its encoded run as two files.
async function storeRun(t: ExecutionContext, pool: CorePool, blocks: number) {
  const folder = await tempFolder(t);
  const plain = image(blocks);
  const run = await pool.encode({ blocks, bytes: plain, compress: true });
  const path = join(folder, 'stored');
  await writeFile(path, run.data);
  const fd = openFd(t, path, 'r+');
  const list = storedBlocks(run, fd);
  run.release();
  return { folder, plain, fd, blocks: list };
}

for (const workers of [0, 2]) {
  test(`encode: ${workers} workers read scattered extents and leave zeros between`, async (t) => {
    const pool = await openPool(t, { workers });
    const path = join(await tempFolder(t), 'image');
    await writeFile(path, image(8));
    const fd = openFd(t, path);
    const extents = [
      { fd, fileOffset: 200_000, bufferOffset: 300_001, length: 70_000 },
      { fd, fileOffset: 65_537, bufferOffset: 10, length: 100_000 },
    ];
    const expected = Buffer.alloc(6 * blockSize);
    image(8).copy(expected, 300_001, 200_000, 270_000);
    image(8).copy(expected, 10, 65_537, 165_537);
    const fromFile = await pool.encode({ blocks: 6, extents, compress: true });
    const fromBytes = await pool.encode({ blocks: 6, bytes: expected, compress: true });
    t.deepEqual(copyOf(fromFile), copyOf(fromBytes));
    fromFile.release();
    fromBytes.release();
  });

  test(`decode: ${workers} workers write what was encoded and skip zero blocks`, async (t) => {
    const pool = await openPool(t, { workers });
    const { folder, plain, blocks } = await storeRun(t, pool, 64);
    const targetFd = openFd(t, join(folder, 'target'), 'w+');
    const decoded = await pool.decode({ blocks, targetFd });
    t.is(decoded.bytes.length, 0);
    decoded.release();
    t.is(Buffer.compare(await readFile(join(folder, 'target')), plain), 0);
  });

  test(`encode: an early end of file is SHORT_READ (${workers} workers)`, async (t) => {
    const pool = await openPool(t, { workers, slots: 1 });
    const path = join(await tempFolder(t), 'image');
    await writeFile(path, Buffer.alloc(100_000, 1));
    const fd = openFd(t, path);
    const extents = [{ fd, fileOffset: 65_536, bufferOffset: 0, length: blockSize }];
    const error = await t.throwsAsync(pool.encode({ blocks: 1, extents, compress: true }), {
      instanceOf: CoreError,
    });
    t.is(error?.reason, 'SHORT_READ');
    t.deepEqual(error?.details, { fd, fileOffset: 65_536, wanted: blockSize, got: 34_464 });
    const after = await pool.encode({ blocks: 1, bytes: new Uint8Array(5), compress: true });
    t.deepEqual([...after.kinds], [0], 'the only slot is free again');
    after.release();
  });

  test(`decode: a changed byte is a BlockError (${workers} workers)`, async (t) => {
    const pool = await openPool(t, { workers });
    const { folder, fd, blocks } = await storeRun(t, pool, 8);
    writeSync(fd, Uint8Array.of(0xff, 0x13), 0, 2, blocks[6]!.offset + 1000);
    const targetFd = openFd(t, join(folder, 'target'), 'w+');
    const error = await t.throwsAsync(pool.decode({ blocks, targetFd }), {
      instanceOf: BlockError,
    });
    t.is(error?.reason, 'BLOCK_MISMATCH');
    t.is(error?.blockIndex, 6);
    t.is((await readFile(join(folder, 'target'))).length, 0, 'nothing of the run was written');
  });

  test(`encode: a closed file is IO_FAILED with its code (${workers} workers)`, async (t) => {
    const pool = await openPool(t, { workers });
    const extents = [{ fd: 9999, fileOffset: 0, bufferOffset: 0, length: 10 }];
    const error = await t.throwsAsync(pool.encode({ blocks: 1, extents, compress: true }), {
      instanceOf: CoreError,
    });
    t.is(error?.reason, 'IO_FAILED');
    t.is(error?.details.code, 'EBADF');
  });
}

test('encode: workers and the calling thread give the same', async (t) => {
  const [alone, crew] = [await openPool(t, { workers: 0 }), await openPool(t, { workers: 2 })];
  const bytes = image(64);
  const parentIds = new Uint8Array(64 * idSize);
  const first = await alone.encode({ blocks: 64, bytes, compress: false });
  parentIds.set(first.ids.subarray(0, 32 * idSize));
  first.release();
  const results = await Promise.all(
    [alone, crew].map((pool) => pool.encode({ blocks: 64, bytes, parentIds, compress: true })),
  );
  t.deepEqual(copyOf(results[0]!), copyOf(results[1]!));
  t.deepEqual([...results[0]!.kinds.subarray(28, 36)], [0, 1, 1, 1, 0, 2, 3, 2]);
  for (const result of results) result.release();
});

test('encode: without compression every new block is stored raw', async (t) => {
  const pool = await openPool(t, { workers: 0 });
  const run = await pool.encode({ blocks: 4, bytes: image(4), compress: false });
  t.deepEqual([...run.kinds], [0, 3, 3, 3]);
  t.is(Buffer.compare(run.data, image(4).subarray(blockSize)), 0);
  run.release();
});

test('encode: a parent whose block was a hole makes the block new', async (t) => {
  const pool = await openPool(t, { workers: 0 });
  const parentIds = new Uint8Array(4 * idSize);
  const run = await pool.encode({ blocks: 4, bytes: image(4), parentIds, compress: true });
  t.deepEqual([...run.kinds], [0, 2, 3, 2]);
  run.release();
});

test('encode: no more runs are in memory than there are slots', async (t) => {
  const pool = await openPool(t, { workers: 2, slots: 3 });
  let held = 0;
  let heldMax = 0;
  const runs = Array.from({ length: 20 }, async () => {
    const run = await pool.encode({ blocks: 4, bytes: image(4), compress: true });
    held += 1;
    heldMax = Math.max(heldMax, held);
    await new Promise((resolve) => setImmediate(resolve));
    held -= 1;
    run.release();
    run.release();
  });
  await Promise.all(runs);
  t.true(heldMax <= 3, `at most 3 at a time, seen ${heldMax}`);
});

test('encode: runs get their slots in the order of the calls', async (t) => {
  const pool = await openPool(t, { workers: 0, slots: 2 });
  const order: number[] = [];
  const runs = Array.from({ length: 12 }, async (_, i) => {
    const run = await pool.encode({ blocks: 1, bytes: image(1), compress: true });
    order.push(i);
    await new Promise((resolve) => setImmediate(resolve));
    run.release();
  });
  await Promise.all(runs);
  t.deepEqual(order, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
});

test('encode: a run waits until a slot is released', async (t) => {
  const pool = await openPool(t, { workers: 0, slots: 1 });
  const first = await pool.encode({ blocks: 1, bytes: image(1), compress: true });
  let isDone = false;
  const second = pool.encode({ blocks: 1, bytes: image(1), compress: true }).then((run) => {
    isDone = true;
    return run;
  });
  await new Promise((resolve) => setImmediate(resolve));
  t.false(isDone);
  first.release();
  (await second).release();
  t.true(isDone);
});

test('decode: a short last block is written only as far as the image goes', async (t) => {
  const pool = await openPool(t, { workers: 0 });
  const { folder, plain, blocks } = await storeRun(t, pool, 4);
  blocks[3]!.targetLength = 1000;
  const targetFd = openFd(t, join(folder, 'target'), 'w+');
  await pool.decode({ blocks, targetFd });
  const written = await readFile(join(folder, 'target'));
  t.is(Buffer.compare(written, plain.subarray(0, 3 * blockSize + 1000)), 0);
});

test('decode: bytes that are no LZ4 block are BLOCK_MALFORMED', async (t) => {
  const pool = await openPool(t, { workers: 0 });
  const id = new Uint8Array(idSize).fill(1);
  const block = { id, encoding: 'lz4' as const, fd: -1, offset: 0, length: 10, targetOffset: 0 };
  const error = await t.throwsAsync(
    pool.decode({ blocks: [block], stored: new Uint8Array(10).fill(0xff) }),
    { instanceOf: BlockError },
  );
  t.is(error?.reason, 'BLOCK_MALFORMED');
});

test('pool: wrong runs are BAD_RUN before anything is read', async (t) => {
  const pool = await openPool(t, { workers: 0 });
  const extent = { fd: 0, fileOffset: 0, bufferOffset: 0, length: 100 };
  const id = new Uint8Array(idSize).fill(1);
  const block = { id, encoding: 'lz4' as const, fd: 0, offset: 0, length: 70_000, targetOffset: 0 };
  const compress = true;
  const wrong = [
    () => pool.encode({ blocks: 0, compress }),
    () => pool.encode({ blocks: 65, compress }),
    () => pool.encode({ blocks: 1, bytes: new Uint8Array(blockSize + 1), compress }),
    () => pool.encode({ blocks: 1, parentIds: new Uint8Array(31), compress }),
    () => pool.encode({ blocks: 1, extents: [extent, { ...extent, bufferOffset: 99 }], compress }),
    () => pool.encode({ blocks: 1, extents: [{ ...extent, length: blockSize + 1 }], compress }),
    () => pool.encode({ blocks: 1, extents: [{ ...extent, fileOffset: -1 }], compress }),
    () => pool.encode({ blocks: 1, extents: [extent], bytes: new Uint8Array(1), compress }),
    () => pool.decode({ blocks: [] }),
    () => pool.decode({ blocks: [block] }),
    () => pool.decode({ blocks: [{ ...block, length: 10, id: new Uint8Array(5) }] }),
    () => pool.decode({ blocks: [{ ...block, length: 10 }], stored: new Uint8Array(9) }),
  ];
  for (const call of wrong) {
    const error = await t.throwsAsync(call, { instanceOf: CoreError }, `${call}`);
    t.is(error?.reason, 'BAD_RUN', `${call}`);
  }
});

// A worker that takes one job and ends; later ones in its place do the same.
const startMortal = (_: WorkerStart) =>
  new Worker("require('worker_threads').parentPort.once('message', () => process.exit(3))", {
    eval: true,
  });

test('pool: a worker that dies rejects its runs, frees its slot and is replaced', async (t) => {
  const pool = await openPool(t, { workers: 1, slots: 1, startWorker: startMortal });
  for (let i = 0; i < 3; i++) {
    const call = pool.encode({ blocks: 1, bytes: image(1), compress: true });
    const error = await t.throwsAsync(call, { instanceOf: CoreError });
    t.is(error?.reason, 'WORKER_DIED');
  }
});

test('pool: when workers go on dying every run is rejected and none hangs', async (t) => {
  const pool = await openPool(t, { workers: 2, startWorker: startMortal });
  const calls = Array.from({ length: 30 }, () => {
    return pool.encode({ blocks: 1, bytes: image(1), compress: true });
  });
  const results = await Promise.allSettled(calls);
  const reasons = results.map((result) => result.status === 'rejected' && result.reason.reason);
  t.deepEqual(new Set(reasons), new Set(['WORKER_DIED']));
});

test('pool: close rejects the runs that wait and lets the one in progress finish', async (t) => {
  const pool = await CorePool.open({ workers: 1, slots: 1 });
  const running = pool.encode({ blocks: 64, bytes: image(64), compress: true });
  const waiting = pool.encode({ blocks: 1, bytes: image(1), compress: true });
  const failed = t.throwsAsync(waiting, { instanceOf: CoreError });
  await new Promise((resolve) => setImmediate(resolve));
  await pool.close();
  t.is((await running).kinds.length, 64);
  t.is((await failed)?.reason, 'POOL_CLOSED');
  const late = pool.encode({ blocks: 1, bytes: image(1), compress: true });
  t.is((await t.throwsAsync(late, { instanceOf: CoreError }))?.reason, 'POOL_CLOSED');
});

test('encode: what is equal in the older image takes its id unhashed, and data never a hole’s', async (t) => {
  const pool = await openPool(t, { workers: 1 });
  const bytes = image(8);
  const parentIds = new Uint8Array(8 * idSize).fill(7);
  parentIds.fill(0, 2 * idSize, 3 * idSize);
  const older = Buffer.from(bytes);
  older[5 * blockSize]! ^= 1;
  const run = await pool.encode({
    blocks: 8,
    bytes,
    parentIds,
    older: { bytes: older },
    compress: true,
  });
  t.deepEqual([...run.kinds], [0, 1, 3, 1, 0, 2, 1, 1]);
  t.true(run.ids.subarray(idSize, 2 * idSize).every((byte) => byte === 7));
  t.deepEqual(
    run.ids.slice(2 * idSize, 3 * idSize),
    pool.hash(bytes.subarray(2 * blockSize, 3 * blockSize)),
  );
  run.release();
  const call = () => pool.encode({ blocks: 8, bytes, older: { bytes }, compress: true });
  const error = await t.throwsAsync<CoreError>(call);
  t.is(error?.reason, 'BAD_RUN');
});
