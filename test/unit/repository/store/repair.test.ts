import { readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Store } from '../../../../plugins/repository/store/store.ts';
import {
  blockSize,
  MemorySource,
  noise,
  openStore,
  sameBytes,
  temporaryStore,
  unpackBytes,
} from './support.ts';

const blocks = 130;
const size = blocks * blockSize;
const first = noise(size, 'a');
const second = new Uint8Array(first);
second.set(noise(blockSize, 'changed'), 3 * blockSize);

/** Two packages that share all blocks but one, and all pages but two. */
async function storeWithTwo(t: ExecutionContext): Promise<Store> {
  const store = await temporaryStore(t);
  const files = [{ name: 'f', bytes: Buffer.from('a small file') }];
  await store.pack([{ name: 'd', source: new MemorySource(first) }], { packageId: 'p1' });
  const options = { packageId: 'p2', parent: 'p1', files };
  await store.pack([{ name: 'd', source: new MemorySource(second) }], options);
  return store;
}

/** Paths of the objects under a prefix, the largest first. */
async function pathsIn(store: Store, folder: string): Promise<string[]> {
  const sized = [];
  for (const name of await readdir(join(store.folder, folder))) {
    const path = join(store.folder, folder, name);
    sized.push({ path, bytes: (await stat(path)).size });
  }
  return sized.sort((a, b) => b.bytes - a.bytes).map(({ path }) => path);
}

async function flip(path: string, offset: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[offset]! ^= 0x40;
  await writeFile(path, bytes);
}

const blockSegment = async (store: Store) => (await pathsIn(store, 'segments'))[0]!;

async function pageSegment(store: Store): Promise<string> {
  for (const path of await pathsIn(store, 'segments')) {
    const bytes = await readFile(path);
    if (bytes.toString('latin1', 32, 36) === 'NFVP' && bytes.length > 4104) return path;
  }
  throw new Error('no segment of pages');
}

/** Everything is whole, comes back as it was, and collecting garbage keeps it so. */
async function assertWhole(t: ExecutionContext, store: Store): Promise<void> {
  const check = async () => {
    const again = await openStore(t, store.folder);
    const report = await again.verify();
    t.true(report.isWhole, JSON.stringify(report.damages[0]));
    sameBytes(t, (await unpackBytes(again, 'p1', 'd')).bytes, first);
    sameBytes(t, (await unpackBytes(again, 'p2', 'd')).bytes, second);
  };
  await check();
  await store.gc();
  await store.gc();
  await check();
  t.deepEqual(await readdir(join(store.folder, 'quarantine')), []);
}

async function snapshotOf(store: Store): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const folder of ['segments', 'indexes', 'packages', 'quarantine', 'tmp']) {
    for (const path of await pathsIn(store, folder)) {
      found[path] = (await readFile(path)).toString('latin1');
    }
  }
  return found;
}

const damages: [string, (store: Store) => Promise<void>][] = [
  [
    'a flipped byte in a block that two packages share',
    async (store) => flip(await blockSegment(store), 32 + 5 * blockSize + 9),
  ],
  [
    'a segment cut short',
    async (store) => truncate(await blockSegment(store), 32 + 100 * blockSize + 5),
  ],
  ['a deleted segment', async (store) => rm(await blockSegment(store))],
  ['a deleted index', async (store) => rm((await pathsIn(store, 'indexes'))[0]!)],
  ['a damaged index', async (store) => flip((await pathsIn(store, 'indexes'))[0]!, 64 + 10)],
  ['a damaged header of a segment', async (store) => flip(await blockSegment(store), 9)],
  ['a damaged page', async (store) => flip(await pageSegment(store), 32 + 100)],
  ['a deleted segment of pages', async (store) => rm(await pageSegment(store))],
  ['a damaged manifest', async (store) => flip(join(store.folder, 'packages', 'p1.manifest'), 200)],
];

for (const [what, damage] of damages) {
  test(`repair: ${what} is made good from another repository`, async (t) => {
    const store = await storeWithTwo(t);
    const other = await storeWithTwo(t);
    await damage(store);
    const before = await snapshotOf(store);
    const trial = await store.repair({ from: [other], dryRun: true });
    t.true(trial.isWhole, JSON.stringify(trial.left[0]));
    t.true(trial.damageCount > 0);
    t.deepEqual(await snapshotOf(store), before);
    t.false((await store.verify()).isWhole);
    const report = await store.repair({ from: [other] });
    t.like(report, { isWhole: true, left: [], blocks: trial.blocks, pages: trial.pages });
    await assertWhole(t, store);
  });
}

test('repair: a damaged block and the pages come from the image', async (t) => {
  const store = await storeWithTwo(t);
  await flip(await blockSegment(store), 32 + 5 * blockSize + 9);
  await flip(await pageSegment(store), 32 + 100);
  const images = [
    { source: new MemorySource(first), packageId: 'p1', image: 'd' },
    { source: new MemorySource(second), packageId: 'p2' },
  ];
  const report = await store.repair({ images });
  t.like(report, { isWhole: true, blocks: 1, leftCount: 0 });
  t.true(report.pages > 0);
  await assertWhole(t, store);
});

test('repair: a block of an image that is not the one wanted is not taken', async (t) => {
  const store = await storeWithTwo(t);
  await flip(await blockSegment(store), 32 + 5 * blockSize + 9);
  const wrong = new MemorySource(noise(size, 'another disk'));
  const report = await store.repair({ images: [{ source: wrong }] });
  t.like(report, { isWhole: false, blocks: 0, leftCount: 2 });
  t.deepEqual(
    report.left.map(({ packageId, offset }) => [packageId, offset]),
    [
      ['p1', 5 * blockSize],
      ['p2', 5 * blockSize],
    ],
  );
});

test('repair: a good copy in another segment of the store is found first afterwards', async (t) => {
  const store = await storeWithTwo(t);
  const path = await blockSegment(store);
  const hidden = await readFile(path);
  const [index] = await pathsIn(store, 'indexes');
  const hiddenIndex = await readFile(index!);
  await rm(path);
  await rm(index!);
  const again = await openStore(t, store.folder);
  await again.pack([{ name: 'd', source: new MemorySource(first) }], { packageId: 'p3' });
  await writeFile(path, hidden);
  await writeFile(index!, hiddenIndex);
  for (let block = 0; block < blocks; block++) {
    const segments = await pathsIn(store, 'segments');
    await flip(segments[block % 2 === 0 ? 0 : 1]!, 32 + block * blockSize);
    if (block > 8) break;
  }
  t.false((await store.verify()).isWhole);
  const report = await store.repair();
  t.like(report, { isWhole: true, blocks: 0, markedSegments: 2 });
  await assertWhole(t, store);
});

test('repair: what cannot be repaired stays marked, and packing it again heals it', async (t) => {
  const store = await storeWithTwo(t);
  await flip(await blockSegment(store), 32 + 5 * blockSize + 9);
  const report = await store.repair();
  t.like(report, { isWhole: false, blocks: 0, markedSegments: 1, leftCount: 2 });
  // A collection neither deletes the segment nor forgets that it is damaged.
  await store.gc();
  await store.gc();
  t.false((await store.verify()).isWhole);
  const again = await openStore(t, store.folder);
  const packed = await again.pack([{ name: 'd', source: new MemorySource(first) }], {
    packageId: 'p3',
  });
  t.is(packed.images[0]!.newBlocks, 1);
  await assertWhole(t, store);
});

test('repair: an undamaged repository is left alone', async (t) => {
  const store = await storeWithTwo(t);
  const before = await snapshotOf(store);
  t.like(await store.repair({ from: [await storeWithTwo(t)] }), { isWhole: true, damageCount: 0 });
  t.deepEqual(await snapshotOf(store), before);
});

test('repair: a damaged manifest that nobody else has is reported as lost', async (t) => {
  const store = await storeWithTwo(t);
  await flip(join(store.folder, 'packages', 'p1.manifest'), 200);
  const report = await store.repair({ from: [await temporaryStore(t)] });
  t.like(report, { isWhole: false, restoredPackages: [] });
  t.like(report.left[0], { packageId: 'p1', reason: 'OBJECT_DAMAGED' });
});

test('repair: a difference and its damaged base are both made good', async (t) => {
  const make = async () => {
    const store = await temporaryStore(t);
    await store.pack([{ name: 'd', source: new MemorySource(first) }], { packageId: 'p1' });
    const next = new Uint8Array(first);
    for (let block = 0; block < 20; block++) next[block * blockSize + 7]! ^= 1;
    const source = new MemorySource(next);
    const { images } = await store.pack([{ name: 'd', source }], { packageId: 'p2', parent: 'p1' });
    t.is(images[0]!.deltaBlocks, 20);
    return { store, next };
  };
  const { store } = await make();
  const { store: other, next } = await make();
  await flip(await blockSegment(store), 32 + 5 * blockSize + 9);
  t.is((await store.verify()).damageCount, 2 + 1);
  const report = await store.repair({ from: [other] });
  t.like(report, { isWhole: true, blocks: 2 });
  await store.gc();
  await store.gc();
  t.true((await store.verify()).isWhole);
  sameBytes(t, (await unpackBytes(store, 'p2', 'd')).bytes, next);
});
