import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Store } from '../../../../plugins/repository/store/store.ts';
import { systemRandom } from '../../../../sdk/ports/random.ts';
import { CorePool } from '../../../../wasm/host/core-pool.ts';
import {
  blockSize,
  MemorySource,
  MemoryTarget,
  noise,
  openStore,
  temporaryFolder,
  temporaryStore,
  throwsReason,
} from './support.ts';

const size = 130 * blockSize;

async function storeWithTwo(t: ExecutionContext): Promise<Store> {
  const store = await temporaryStore(t);
  const bytes = noise(size, 'a');
  await store.pack([{ name: 'd', source: new MemorySource(bytes) }], { packageId: 'p1' });
  const next = new Uint8Array(bytes);
  next.set(noise(blockSize, 'changed'), 3 * blockSize);
  const files = [{ name: 'f', bytes: Buffer.from('a small file') }];
  const options = { packageId: 'p2', parent: 'p1', files };
  await store.pack([{ name: 'd', source: new MemorySource(next) }], options);
  return store;
}

/** Files of one kind, the largest first. */
async function filesOf(store: Store, folder: string): Promise<string[]> {
  const names = await readdir(join(store.folder, folder));
  const sized = await Promise.all(
    names.map(async (name) => ({
      name,
      bytes: (await readFile(join(store.folder, folder, name))).length,
    })),
  );
  return sized
    .sort((a, b) => b.bytes - a.bytes)
    .map(({ name }) => join(store.folder, folder, name));
}

async function flip(path: string, offset: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[offset < 0 ? bytes.length + offset : offset]! ^= 0x40;
  await writeFile(path, bytes);
}

test('verify: an undamaged repository is whole, and everything was read', async (t) => {
  const store = await storeWithTwo(t);
  const report = await store.verify();
  t.like(report, { isWhole: true, packages: 2, damageCount: 0, segmentsWithoutIndex: 0 });
  // 131 blocks, 2 leaf pages and a root, 1 changed leaf and a root, a file.
  t.is(report.checkedEntries, 131 + 5 + 1);
});

test('verify: a flipped byte in a block names package, image, offset and object', async (t) => {
  const store = await storeWithTwo(t);
  const [segment] = await filesOf(store, 'segments');
  await flip(segment!, 32 + 5 * blockSize + 77);
  const report = await store.verify();
  t.false(report.isWhole);
  t.deepEqual(
    report.damages.map(({ packageId, image, offset, length, path, objectOffset }) => {
      return { packageId, image, offset, length, path, objectOffset };
    }),
    ['p1', 'p2'].map((packageId) => {
      const place = { image: 'd', offset: 5 * blockSize, length: blockSize };
      return { packageId, ...place, path: segment, objectOffset: 32 + 5 * blockSize };
    }),
  );
});

test('verify: damage that only one package has is reported for that one', async (t) => {
  const store = await storeWithTwo(t);
  const [segment] = await filesOf(store, 'segments');
  await flip(segment!, 32 + 3 * blockSize);
  const report = await store.verify();
  t.deepEqual(
    report.damages.map(({ packageId }) => packageId),
    ['p1'],
  );
  t.true((await store.verify({ packageId: 'p2' })).isWhole);
  t.false((await store.verify({ packageId: 'p1' })).isWhole);
});

test('verify: a flipped byte in a page is located, and unpacking refuses it', async (t) => {
  const store = await storeWithTwo(t);
  const segments = await filesOf(store, 'segments');
  let pages = '';
  for (const path of segments) {
    if ((await readFile(path)).toString('latin1', 32, 36) === 'NFVP') pages = path;
  }
  await flip(pages, 32 + 100);
  const report = await store.verify();
  t.false(report.isWhole);
  t.true(report.damages.every(({ path }) => path === pages));
  t.true(report.damages.some(({ image, length }) => image === 'd' && length === 128 * blockSize));
  const damaged = report.damages[0]!.packageId!;
  const unpack = () => store.unpack(damaged, new Map([['d', new MemoryTarget(size)]]));
  await throwsReason(t, unpack, 'OBJECT_DAMAGED');
});

test('verify: a flipped byte in an index is found, and what it described is missing', async (t) => {
  const store = await storeWithTwo(t);
  const [index] = await filesOf(store, 'indexes');
  await flip(index!, 64 + 10);
  const report = await store.verify();
  t.is(report.damages[0]!.path, index!);
  t.true(report.damages.some(({ image, reason }) => image === 'd' && reason === 'OBJECT_MISSING'));
});

test('verify: a flipped byte in a manifest is found; the others are listed', async (t) => {
  const store = await storeWithTwo(t);
  const path = join(store.folder, 'packages', 'p1.manifest');
  await flip(path, 200);
  const report = await store.verify();
  t.like(report.damages[0], { path, packageId: 'p1', reason: 'OBJECT_DAMAGED' });
  const { packages, damaged } = await store.list();
  t.deepEqual([packages.map(({ id }) => id), damaged.map(({ id }) => id)], [['p2'], ['p1']]);
});

test('verify: a flipped byte in the header of a segment is found', async (t) => {
  const store = await storeWithTwo(t);
  const [segment] = await filesOf(store, 'segments');
  await flip(segment!, 9);
  t.like((await store.verify()).damages[0], { path: segment!, objectOffset: 8 });
});

test('verify: a flipped byte in a small file is found', async (t) => {
  const store = await storeWithTwo(t);
  for (const path of await filesOf(store, 'segments')) {
    const at = (await readFile(path)).indexOf('a small file');
    if (at > 0) await flip(path, at);
  }
  t.like((await store.verify()).damages[0], { packageId: 'p2', file: 'f' });
});

test('verify: a segment cut short is found', async (t) => {
  const store = await storeWithTwo(t);
  const [segment] = await filesOf(store, 'segments');
  await truncate(segment!, 32 + 100 * blockSize + 5);
  const report = await store.verify();
  t.is(report.damages.length, 30 * 2);
  t.is(report.damages[0]!.offset, 100 * blockSize);
});

test('verify: a missing segment is found', async (t) => {
  const store = await storeWithTwo(t);
  const [segment] = await filesOf(store, 'segments');
  await rm(segment!);
  const report = await store.verify();
  t.true(report.damages.every(({ reason }) => reason === 'OBJECT_MISSING'));
  t.is(report.damageCount, 130 + 129);
});

test('verify: a missing index is found', async (t) => {
  const store = await storeWithTwo(t);
  const [index] = await filesOf(store, 'indexes');
  await rm(index!);
  const report = await store.verify();
  t.is(report.damageCount, 130 + 129);
  t.is(report.segmentsWithoutIndex, 1);
});

/** Many small blocks, none equal to another. */
async function storeWithMany(t: ExecutionContext, blocks: number): Promise<Store> {
  const store = await temporaryStore(t);
  const bytes = new Uint8Array(blocks * blockSize);
  for (let block = 0; block < blocks; block++) {
    bytes.set(Buffer.alloc(blockSize, `block ${block} of many; `), block * blockSize);
  }
  await store.pack([{ name: 'd', source: new MemorySource(bytes) }], { packageId: 'p1' });
  return store;
}

test('verify: a sample reads about its share of the entries, each time others', async (t) => {
  const store = await storeWithMany(t, 1000);
  const shares = [];
  for (let run = 0; run < 4; run++) shares.push(await store.verify({ sample: 0.05 }));
  for (const { checkedEntries, isWhole } of shares) {
    t.true(isWhole);
    // 50 of 1009 are expected; the bounds are five standard deviations away.
    t.true(checkedEntries > 15 && checkedEntries < 85, String(checkedEntries));
  }
  t.true(new Set(shares.map(({ checkedBytes }) => checkedBytes)).size > 1);
});

test('verify: of a sample everything that was chosen is read, and nothing else', async (t) => {
  const { folder } = await storeWithTwo(t);
  // Every fifth entry is below the share.
  let asked = 0;
  const random = { ...systemRandom, fraction: () => (asked++ % 5 === 0 ? 0 : 0.9) };
  const store = await openStore(t, folder, { random });
  for (const path of await filesOf(store, 'segments')) {
    const bytes = await readFile(path);
    if (bytes.length > 32 + 100 * blockSize) {
      for (let block = 0; block < 130; block++) bytes[32 + block * blockSize]! ^= 1;
      await writeFile(path, bytes);
    }
  }
  const { checkedEntries, damages } = await store.verify({ sample: 0.2, packageId: 'p1' });
  t.is(checkedEntries, Math.ceil(133 / 5));
  t.is(damages.length, 26);
});

test('verify: several workers find the same damage, in the order of the segments', async (t) => {
  const { folder } = await storeWithTwo(t);
  const pool = await CorePool.open({ workers: 2 });
  t.teardown(() => pool.close());
  const store = await openStore(t, folder, { pool });
  const [segment] = await filesOf(store, 'segments');
  for (const block of [1, 63, 64, 90, 129]) await flip(segment!, 32 + block * blockSize + 9);
  const progress: number[] = [];
  const { damages, checkedEntries } = await store.verify({
    packageId: 'p1',
    onProgress: ({ doneBytes }) => progress.push(doneBytes),
  });
  t.is(checkedEntries, 133);
  t.deepEqual(
    damages.map(({ offset }) => offset! / blockSize),
    [1, 63, 64, 90, 129],
  );
  t.deepEqual(
    progress,
    progress.toSorted((a, b) => a - b),
  );
  t.true(progress.length > 3);
});

test('verify: an abort ends it', async (t) => {
  const store = await storeWithTwo(t);
  const controller = new AbortController();
  const call = store.verify({ signal: controller.signal, onProgress: () => controller.abort() });
  await t.throwsAsync(call, { name: 'AbortError' });
});

test('unpack: a damaged block is refused with its place, and the target is aborted', async (t) => {
  const store = await storeWithTwo(t);
  const [segment] = await filesOf(store, 'segments');
  await flip(segment!, 32 + 5 * blockSize);
  const target = new MemoryTarget(size);
  const call = () => store.unpack('p1', new Map([['d', target]]));
  const error = await throwsReason(t, call, 'PACKAGE_DAMAGED');
  t.like(error.metadata, { packageId: 'p1', image: 'd', offset: String(5 * blockSize) });
  t.is(target.state, 'aborted');
});

test('pack: with a damaged index a parent is refused, no parent is not', async (t) => {
  const store = await storeWithTwo(t);
  const [index] = await filesOf(store, 'indexes');
  await flip(index!, 64 + 10);
  const again = await openStore(t, store.folder);
  const input = { name: 'd', source: new MemorySource(noise(size, 'a')) };
  await throwsReason(t, () => again.pack([input], { parent: 'p1' }), 'REPOSITORY_DAMAGED');
  const { images } = await again.pack([input], { packageId: 'p3' });
  t.is(images[0]!.newBlocks, 130);
  t.true((await again.verify({ packageId: 'p3' })).isWhole);
});

for (const [what, name, known] of [
  ['configuration', 'repository.config', 1],
  ['manifest', 'packages/p1.manifest', 2],
] as const) {
  test(`open: a ${what} of a newer format is FORMAT_TOO_NEW`, async (t) => {
    const store = await storeWithTwo(t);
    const path = join(store.folder, name);
    const text = await readFile(path, 'latin1');
    await writeFile(path, text.replace(/^(\S+) 1 /, `$1 ${known + 1} `), 'latin1');
    const open = async () => {
      const again = await openStore(t, store.folder, { create: false });
      await again.openPackage('p1');
    };
    const error = await throwsReason(t, open, 'FORMAT_TOO_NEW');
    t.like(error.metadata, { path, version: `${known + 1}`, supported: `${known}` });
  });
}

test('open: an index of a newer format is FORMAT_TOO_NEW, and gc deletes nothing', async (t) => {
  const store = await storeWithTwo(t);
  const [index] = await filesOf(store, 'indexes');
  const bytes = await readFile(index!);
  bytes.writeUInt16LE(3, 6);
  await writeFile(index!, bytes);
  const again = await openStore(t, store.folder);
  await throwsReason(t, () => again.openPackage('p1'), 'FORMAT_TOO_NEW');
  await throwsReason(t, () => again.gc(), 'FORMAT_TOO_NEW');
});

test('open: a folder that is no repository is refused and left alone', async (t) => {
  const folder = await temporaryFolder(t);
  await throwsReason(t, () => openStore(t, folder, { create: false }), 'REPOSITORY_NOT_FOUND');
  await writeFile(join(folder, 'diary.txt'), 'mine');
  await throwsReason(t, () => openStore(t, folder), 'NOT_A_REPOSITORY');
  t.deepEqual(await readdir(folder), ['diary.txt']);
});
