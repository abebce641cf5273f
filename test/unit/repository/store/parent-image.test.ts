import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { openRaw } from '../../../../plugins/repository/sources/raw.ts';
import type { BlockSource } from '../../../../plugins/repository/sources/source.ts';
import {
  blockSize,
  MemorySource,
  makeImage,
  noise,
  sameBytes,
  temporaryFolder,
  temporaryStore,
  throwsReason,
  unpackBytes,
} from './support.ts';

const sizeBytes = 150 * blockSize + 1000;

/** The older image and one in which four blocks differ: two changed, one freed, one first used. */
function versions(): { older: Uint8Array; newer: Uint8Array } {
  const older = makeImage(sizeBytes, 'old');
  const newer = new Uint8Array(older);
  newer[3 * blockSize + 5]! ^= 1;
  newer[150 * blockSize + 999]! ^= 1;
  newer.fill(0, 5 * blockSize, 6 * blockSize);
  newer.set(noise(blockSize, 'first used'), 9 * blockSize);
  return { older, newer };
}

/** Packs the older image, then the newer one with and without the older at hand. */
async function packBoth(
  t: ExecutionContext,
  open: (bytes: Uint8Array, name: string) => Promise<BlockSource>,
  { older, newer } = versions(),
) {
  const store = await temporaryStore(t);
  const sources = { older: await open(older, 'older'), newer: await open(newer, 'newer') };
  await store.pack([{ name: 'd', source: sources.older }], { packageId: 'first' });
  const input = { name: 'd', source: sources.newer };
  const beside = await store.pack([{ ...input, older: sources.older }], { parent: 'first' });
  const scanned = await store.pack([input], { parent: 'first' });
  return { store, beside, scanned, newer };
}

async function inMemory(bytes: Uint8Array): Promise<BlockSource> {
  return new MemorySource(bytes);
}

function inFiles(t: ExecutionContext) {
  return async (bytes: Uint8Array, name: string): Promise<BlockSource> => {
    const path = join(await temporaryFolder(t), name);
    await writeFile(path, bytes);
    const source = await openRaw(path);
    t.teardown(() => source.close());
    return source;
  };
}

for (const where of ['in memory', 'in files'] as const) {
  test(`parent image: ${where}, the package is the one that hashing every block makes`, async (t) => {
    const open = where === 'in files' ? inFiles(t) : inMemory;
    const { store, beside, scanned, newer } = await packBoth(t, open);
    t.like(beside.images[0], { mapSource: 'parent-image', sampledBlocks: 64, newBlocks: 3 });
    t.like(scanned.images[0], { mapSource: 'hash-scan', newBlocks: 0 });
    t.is(beside.manifest.images[0]!.root, scanned.manifest.images[0]!.root);
    sameBytes(t, (await unpackBytes(store, beside.package, 'd')).bytes, newer);
  });
}

test('parent image: a larger and a smaller image than the parent are packed right', async (t) => {
  for (const length of [sizeBytes + 70 * blockSize, 40 * blockSize + 17, 0]) {
    const { older } = versions();
    const newer = new Uint8Array(length);
    newer.set(older.subarray(0, length));
    const { store, beside, scanned } = await packBoth(t, inMemory, { older, newer });
    t.is(beside.images[0]!.mapSource, 'parent-image');
    t.is(beside.manifest.images[0]!.root, scanned.manifest.images[0]!.root);
    sameBytes(t, (await unpackBytes(store, beside.package, 'd')).bytes, newer);
  }
});

test('parent image: with another size or another block it is not believed, and all is hashed', async (t) => {
  const store = await temporaryStore(t);
  const { older, newer } = versions();
  await store.pack([{ name: 'd', source: new MemorySource(older) }], { packageId: 'first' });
  const options = { parent: 'first', samples: 200 };
  const wrong = new Uint8Array(newer);
  const longer = new MemorySource(new Uint8Array(sizeBytes + 1), undefined, 'longer');
  for (const [lying, problem] of [
    [longer, /^the older image longer has \d+ bytes, the parent's \d+: all blocks were hashed$/],
    [new MemorySource(wrong, undefined, 'wrong'), /^the block at byte 196608 of wrong is not/],
  ] as const) {
    const source = new MemorySource(newer);
    const { images, package: id } = await store.pack(
      [{ name: 'd', source, older: lying }],
      options,
    );
    t.is(images[0]!.mapSource, 'hash-scan');
    t.regex(images[0]!.mapReason, problem);
    sameBytes(t, (await unpackBytes(store, id, 'd')).bytes, newer);
  }
});

test('parent image: it needs a parent package, and one that ends early is named', async (t) => {
  const store = await temporaryStore(t);
  const { older, newer } = versions();
  const source = new MemorySource(newer);
  const input = { name: 'd', source, older: new MemorySource(older) };
  await throwsReason(t, () => store.pack([input]), 'PARENT_IMAGE_WITHOUT_PARENT');
  const path = join(await temporaryFolder(t), 'cut.img');
  await writeFile(path, older);
  await store.pack([{ name: 'd', source: new MemorySource(older) }], { packageId: 'first' });
  const cut = await openRaw(path);
  t.teardown(() => cut.close());
  await truncate(path, 70 * blockSize);
  const call = () => store.pack([{ ...input, older: cut }], { parent: 'first', samples: 0 });
  const error = await throwsReason(t, call, 'SOURCE_TRUNCATED');
  t.is(error.metadata.path, path);
});
