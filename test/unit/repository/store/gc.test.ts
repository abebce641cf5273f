import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import type { Store } from '../../../../plugins/repository/store/store.ts';
import { systemClock } from '../../../../sdk/ports/clock.ts';
import {
  blockSize,
  MemorySource,
  MemoryTarget,
  noise,
  openStore,
  sameBytes,
  temporaryStore,
  throwsReason,
  unpackBytes,
} from './support.ts';

/**
 * A source that stops at the first read, when the writer has seen what is stored, until the gate
 * opens.
 */
class SlowSource extends MemorySource {
  readonly gate = Promise.withResolvers<void>();
  readonly begun = Promise.withResolvers<void>();
  override async read(offset: number, target: Uint8Array): Promise<void> {
    this.begun.resolve();
    await this.gate.promise;
    await super.read(offset, target);
  }
}

async function count(store: Store, folder: string): Promise<number> {
  return (await readdir(join(store.folder, folder))).length;
}

async function packNoise(store: Store, packageId: string, blocks: number, seed = packageId) {
  const source = new MemorySource(noise(blocks * blockSize, seed));
  return await store.pack([{ name: 'd', source }], { packageId });
}

test('gc: a package that was deleted is freed, another stays whole', async (t) => {
  const store = await temporaryStore(t);
  await packNoise(store, 'p1', 10);
  await packNoise(store, 'p2', 7);
  await store.delete('p1');
  const report = await store.gc();
  t.like(report, { packages: 1, deletedSegments: 2, waitingSegments: 0, blockedBy: [] });
  t.true(report.freedBytes > 10 * blockSize);
  t.deepEqual(
    [
      await count(store, 'segments'),
      await count(store, 'indexes'),
      await count(store, 'quarantine'),
    ],
    [2, 2, 0],
  );
  t.true((await store.verify()).isWhole);
  t.deepEqual(await store.gc(), { ...report, deletedSegments: 0, freedBytes: 0 });
});

test('gc: what a package shares with a deleted one stays', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(20 * blockSize, 'a');
  await store.pack([{ name: 'd', source: new MemorySource(bytes) }], { packageId: 'p1' });
  const next = new Uint8Array(bytes);
  next[0]! ^= 1;
  const options = { packageId: 'p2', parent: 'p1' };
  await store.pack([{ name: 'd', source: new MemorySource(next) }], options);
  await store.delete('p1');
  await store.gc();
  t.true((await store.verify()).isWhole);
  sameBytes(t, (await unpackBytes(store, 'p2', 'd')).bytes, next);
});

test('gc: a segment that is mostly garbage is rewritten', async (t) => {
  const store = await temporaryStore(t);
  await packNoise(store, 'p1', 20);
  const kept = noise(20 * blockSize, 'p1').slice(0, 3 * blockSize);
  await store.pack([{ name: 'd', source: new MemorySource(kept) }], { packageId: 'p2' });
  await store.delete('p1');
  const report = await store.gc();
  t.like(report, { rewrittenSegments: 1, copiedBytes: 3 * blockSize });
  t.true(report.freedBytes > 16 * blockSize && report.freedBytes < 18 * blockSize);
  t.true((await store.verify()).isWhole);
  sameBytes(t, (await unpackBytes(store, 'p2', 'd')).bytes, kept);
});

test('gc: a segment that is garbage below the threshold is left alone', async (t) => {
  const store = await temporaryStore(t);
  await packNoise(store, 'p1', 20);
  const kept = noise(20 * blockSize, 'p1').slice(0, 15 * blockSize);
  await store.pack([{ name: 'd', source: new MemorySource(kept) }], { packageId: 'p2' });
  await store.delete('p1');
  t.like(await store.gc(), { rewrittenSegments: 0, deletedSegments: 1 });
  t.like(await store.gc({ rewriteThreshold: 0.2 }), { rewrittenSegments: 1 });
  sameBytes(t, (await unpackBytes(store, 'p2', 'd')).bytes, kept);
});

test('gc: an open reader keeps a deleted package, and the next run frees it', async (t) => {
  const store = await temporaryStore(t);
  await packNoise(store, 'p1', 10);
  const reader = await store.openPackage('p1');
  await store.delete('p1');
  t.like(await store.gc(), { deletedSegments: 0, freedBytes: 0 });
  const bytes = new Uint8Array(10 * blockSize);
  await reader.image('d').read(0, bytes);
  sameBytes(t, bytes, noise(10 * blockSize, 'p1'));
  await reader.close();
  t.like(await store.gc(), { deletedSegments: 2 });
});

test('gc: garbage that a running writer shares is quarantined, then released', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(10 * blockSize, 'a');
  await store.pack([{ name: 'd', source: new MemorySource(bytes) }], { packageId: 'p1' });
  await store.delete('p1');
  const source = new SlowSource(bytes);
  const writing = store.pack([{ name: 'd', source }], { packageId: 'p2' });
  await source.begun.promise;
  const other = await openStore(t, store.folder);
  const during = await other.gc();
  t.like(during, { deletedSegments: 0, waitingSegments: 2 });
  t.is(during.blockedBy[0]!.kind, 'write');
  source.gate.resolve();
  const { images } = await writing;
  t.is(images[0]!.newBlocks, 0, 'the writer shared what was garbage when it began');
  t.like(await other.gc(), { deletedSegments: 0, waitingSegments: 0 });
  t.is(await count(store, 'quarantine'), 0);
  t.true((await other.verify()).isWhole);
  sameBytes(t, (await unpackBytes(other, 'p2', 'd')).bytes, bytes);
});

test('gc: a writer that begins after the quarantine stores again instead of sharing', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(10 * blockSize, 'a');
  await store.pack([{ name: 'd', source: new MemorySource(bytes) }], { packageId: 'p1' });
  await packNoise(store, 'other', 1);
  const reader = await store.openPackage('other');
  await store.delete('p1');
  t.like(await store.gc(), { waitingSegments: 2 });
  const { images } = await store.pack([{ name: 'd', source: new MemorySource(bytes) }], {
    packageId: 'p2',
  });
  t.is(images[0]!.newBlocks, 10);
  await reader.close();
  t.like(await store.gc(), { deletedSegments: 2 });
  sameBytes(t, (await unpackBytes(store, 'p2', 'd')).bytes, bytes);
});

test('gc: a parent that is deleted while its child is packed stays for the child', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(10 * blockSize, 'a');
  await store.pack([{ name: 'd', source: new MemorySource(bytes) }], { packageId: 'p1' });
  const next = new Uint8Array(bytes);
  next[0]! ^= 1;
  const source = new SlowSource(next);
  const writing = store.pack([{ name: 'd', source }], { packageId: 'p2', parent: 'p1' });
  await source.begun.promise;
  await store.delete('p1');
  const other = await openStore(t, store.folder);
  t.like(
    await other.gc(),
    { deletedSegments: 0, waitingSegments: 0 },
    'the writer pins its parent',
  );
  source.gate.resolve();
  t.is((await writing).images[0]!.newBlocks, 1);
  await other.gc();
  t.true((await other.verify()).isWhole);
  sameBytes(t, (await unpackBytes(other, 'p2', 'd')).bytes, next);
});

test('gc: a second collection beside the first is GC_RUNNING', async (t) => {
  const store = await temporaryStore(t);
  await packNoise(store, 'p1', 200);
  const results = await Promise.allSettled([store.gc(), store.gc()]);
  const refused = results.filter(({ status }) => status === 'rejected');
  t.is(refused.length, 1);
  t.is((refused[0] as PromiseRejectedResult).reason.reason, 'GC_RUNNING');
});

test('gc: a damaged package stops it before anything is deleted', async (t) => {
  const store = await temporaryStore(t);
  await packNoise(store, 'p1', 10);
  await packNoise(store, 'p2', 10);
  await store.delete('p2');
  const [index] = await readdir(join(store.folder, 'indexes'));
  await rm(join(store.folder, 'indexes', index!));
  const before = await count(store, 'segments');
  // The index was of either package: with that of the living one missing, nothing may go.
  const living = (await store.verify({ packageId: 'p1' })).isWhole;
  if (living) await store.gc();
  else await throwsReason(t, () => store.gc(), 'REPOSITORY_DAMAGED');
  t.is(await count(store, 'segments'), living ? before - 2 : before);
});

test('lease: a writer whose lease expired cannot publish', async (t) => {
  let shiftMs = 0;
  const clock = { ...systemClock, now: () => new Date(Date.now() + shiftMs) };
  const store = await temporaryStore(t);
  const source = new SlowSource(noise(3 * blockSize, 'a'));
  const writing = store.pack([{ name: 'd', source }], { packageId: 'p1' });
  await source.begun.promise;
  t.is(await count(store, 'tmp'), 1);
  shiftMs = 10 * 60 * 1000;
  await openStore(t, store.folder, { clock });
  t.is(await count(store, 'tmp'), 0, 'the next open took the lease away');
  source.gate.resolve();
  await throwsReason(t, () => writing, 'LEASE_LOST');
  t.deepEqual((await store.list()).packages, []);
  t.is(await count(store, 'segments'), 0);
});

test('lease: one that is renewed outlives its first term', async (t) => {
  let nowMs = Date.now();
  let wake = () => {};
  const clock = {
    ...systemClock,
    now: () => new Date(nowMs),
    sleep: (_ms: number, signal?: AbortSignal) =>
      new Promise<void>((resolve, reject) => {
        wake = resolve;
        signal?.addEventListener('abort', () => reject(signal.reason));
      }),
  };
  const store = await temporaryStore(t, { clock, leaseTermMs: 300_000 });
  await packNoise(store, 'p1', 2);
  const reader = await store.openPackage('p1');
  const [id] = await readdir(join(store.folder, 'tmp'));
  const path = join(store.folder, 'tmp', id!, 'lease');
  const before = await readFile(path, 'utf8');
  nowMs += 100_000;
  wake();
  const deadlineMs = Date.now() + 10_000;
  while ((await readFile(path, 'utf8')) === before) t.true(Date.now() < deadlineMs);
  nowMs += 310_000;
  await openStore(t, store.folder, { clock });
  t.is(await count(store, 'tmp'), 1, 'its second term is not over');
  nowMs += 30_000;
  await openStore(t, store.folder, { clock });
  t.is(await count(store, 'tmp'), 0);
  await reader.close();
});

test('compose: images of other packages are taken over without a block written', async (t) => {
  const store = await temporaryStore(t);
  await packNoise(store, 'p1', 5);
  await packNoise(store, 'p2', 5);
  const make = async () => {
    const composition = await store.compose({ packageId: 'all', kind: 'VNF' });
    await composition.reuseImage('p1', 'd', 'p1-d');
    await composition.reuseImage('p2', 'd', 'p2-d');
    const source = new MemorySource(noise(2 * blockSize, 'new'));
    await composition.addImage({ name: 'new', source });
    await composition.addFile({ name: 'record.json', bytes: Buffer.from('{}') });
    return await composition.publish();
  };
  const first = await make();
  t.deepEqual(await make(), first);
  t.is(await count(store, 'segments'), 2 + 2 + 2);
  await store.delete('p1');
  await store.delete('p2');
  await store.gc();
  sameBytes(t, (await unpackBytes(store, 'all', 'p2-d')).bytes, noise(5 * blockSize, 'p2'));
  sameBytes(t, (await unpackBytes(store, 'all', 'new')).bytes, noise(2 * blockSize, 'new'));
});

test('compose: an unknown image is IMAGE_NOT_FOUND; giving up leaves nothing behind', async (t) => {
  const store = await temporaryStore(t);
  await packNoise(store, 'p1', 5);
  const composition = await store.compose({ packageId: 'x' });
  const wrong = () => composition.reuseImage('p1', 'none', 'a');
  await throwsReason(t, wrong, 'IMAGE_NOT_FOUND');
  await composition.addImage({ name: 'new', source: new MemorySource(noise(9, 'new')) });
  await composition.abort();
  t.deepEqual([await count(store, 'tmp'), await count(store, 'segments')], [0, 2]);
});

test('compose: two images of one name are refused when it is published', async (t) => {
  const store = await temporaryStore(t);
  await packNoise(store, 'p1', 5);
  const composition = await store.compose({ packageId: 'x' });
  await composition.reuseImage('p1', 'd', 'same');
  await composition.reuseImage('p1', 'd', 'same');
  await throwsReason(t, () => composition.publish(), 'FIELD_VIOLATION');
  t.is((await store.list()).packages.length, 1);
});

test('delete: an unknown package is PACKAGE_UNKNOWN', async (t) => {
  const store = await temporaryStore(t);
  await throwsReason(t, () => store.delete('none'), 'PACKAGE_UNKNOWN');
});

test('unpack: digests of the whole image, holes included', async (t) => {
  const store = await temporaryStore(t);
  const bytes = new Uint8Array(200 * blockSize + 7);
  bytes.set(noise(blockSize, 'x'), 150 * blockSize);
  const source = new MemorySource(bytes, (block) => block !== 150);
  await store.pack([{ name: 'd', source }], { packageId: 'p' });
  const target = new MemoryTarget(bytes.length);
  const options = { digests: ['sha256', 'blake3'] as const };
  const [result] = await store.unpack('p', new Map([['d', target]]), options);
  const { createHash } = await import('node:crypto');
  const { hash } = await import('../../../../wasm/host/blake3.ts');
  t.is(result!.digests.sha256, createHash('sha256').update(bytes).digest('hex'));
  t.is(result!.digests.blake3, Buffer.from(hash(bytes)).toString('hex'));
  t.is(result!.writtenBytes, blockSize);
});
