import { copyFile, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { exitCode } from '../../../cli/exit-codes.ts';
import {
  blockSize,
  noise,
  overwrite,
  sameBytes,
  sameFiles,
  writeImage,
} from '../../support/cli/disk-images.ts';
import { manoFails, manoOk } from '../../support/cli/mano.ts';
import { preparedFolder } from '../../support/cli/prepared-folder.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const blockCount = 512;
/** Ids on a page and bytes of its header; docs/storage-format.md 2.5. */
const fanOut = 128;
const pageBytes = (ids: number) => 8 + ids * 32;
/** 15 of 512 blocks, 3 %, below three of the four pages; two of them are neighbours. */
const changedBlocks = [
  ...Array.from({ length: 6 }, (_, index) => index * 20),
  ...Array.from({ length: 7 }, (_, index) => 2 * fanOut + 3 + index * 9),
  blockCount - 2,
  blockCount - 1,
];
const rangesOf = (blocks: readonly number[]) =>
  blocks.map((block) => ({ start: block * blockSize + 100, length: 5 }));

type Versions = { folder: string; image: string };

const prepared = preparedFolder(test, async (t, folder) => {
  await writeFile(join(folder, 'disk.raw'), noise('version 1', blockCount * blockSize));
  await manoOk(t, folder, ['pack', 'disk.raw', '--store', 'store', '--id', 'v1']);
});

/** A folder with version 1 packed as `v1`, and the image of it that may now be changed. */
async function packedVersion(t: ExecutionContext): Promise<Versions> {
  const folder = await prepared(t);
  return { folder, image: join(folder, 'disk.raw') };
}

async function change(image: string, blocks: readonly number[]): Promise<void> {
  for (const block of blocks) {
    await overwrite(image, block * blockSize + 100, Buffer.from(`new ${block}`));
  }
}

/** Packs the image with `v1` as its parent and returns what the command says about it. */
async function packNext(t: ExecutionContext, folder: string, ...options: string[]) {
  const pack = ['pack', 'disk.raw', '--store', 'store', '--id', 'v2', '--parent', 'v1'];
  return (await manoOk(t, folder, [...pack, '--json', ...options])).json().images[0];
}

async function writeMap(folder: string, map: unknown): Promise<string> {
  await writeFile(join(folder, 'map.json'), JSON.stringify(map));
  return '--changed-map=map.json';
}

async function comesBack(t: ExecutionContext, { folder, image }: Versions): Promise<void> {
  await manoOk(t, folder, ['unpack', 'v2', '--store', 'store', '--to', 'out']);
  await sameFiles(t, image, join(folder, 'out/disk.raw'));
}

test('pack --parent: 3 % changed blocks are stored with the pages above them, and nothing else', async (t) => {
  const versions = await packedVersion(t);
  await change(versions.image, changedBlocks);
  const packed = await packNext(t, versions.folder, '--no-delta');
  const leaves = new Set(changedBlocks.map((block) => Math.floor(block / fanOut))).size;
  t.is(leaves, 3);
  t.like(packed, {
    mapSource: 'hash-scan',
    blocks: blockCount,
    bytesRead: blockCount * blockSize,
    newBlocks: changedBlocks.length,
    newPages: leaves + 1,
    storedBytes:
      changedBlocks.length * blockSize +
      leaves * pageBytes(fanOut) +
      pageBytes(blockCount / fanOut),
  });
  await comesBack(t, versions);
});

test('pack --parent: in a tree of three levels a change stores at most three pages a block', async (t) => {
  const folder = await tempFolder(t);
  const image = join(folder, 'disk.raw');
  const sizeBytes = 3 * fanOut * fanOut * blockSize;
  const pieces = [0, 1].map((part) => ({
    at: part * fanOut * fanOut * blockSize,
    bytes: noise(`part ${part}`, 4 * fanOut * blockSize),
  }));
  await writeImage(image, sizeBytes, pieces);
  await manoOk(t, folder, ['pack', 'disk.raw', '--store', 'store', '--id', 'v1']);
  const blocks = [1, 3 * fanOut, fanOut * fanOut + fanOut + 1];
  await change(image, blocks);
  // Three leaves, the two pages above them, the root.
  t.like(await packNext(t, folder), { newBlocks: 3, newPages: 3 + 2 + 1 });
});

test('pack --changed-map: only what is mapped is read, and 64 sampled blocks that are counted apart', async (t) => {
  const versions = await packedVersion(t);
  await change(versions.image, changedBlocks);
  const map = await writeMap(versions.folder, rangesOf(changedBlocks));
  t.like(await packNext(t, versions.folder, map), {
    mapSource: 'map',
    bytesRead: changedBlocks.length * blockSize,
    sampledBlocks: 64,
    newBlocks: changedBlocks.length,
    newPages: 4,
  });
  await comesBack(t, versions);
});

test('pack --samples 0: not even a changed block is read when the map does not name it', async (t) => {
  const versions = await packedVersion(t);
  const before = await readFile(versions.image);
  const [named, others] = [changedBlocks.slice(0, 5), changedBlocks.slice(5)];
  await change(versions.image, changedBlocks);
  const map = await writeMap(versions.folder, rangesOf(named));
  t.like(await packNext(t, versions.folder, map, '--samples', '0'), {
    mapSource: 'map',
    bytesRead: named.length * blockSize,
    sampledBlocks: 0,
    newBlocks: named.length,
  });
  // What comes back has the mapped changes only: the others were never looked at.
  for (const block of others) {
    const at = block * blockSize;
    await overwrite(versions.image, at, before.subarray(at, at + blockSize));
  }
  await comesBack(t, versions);
});

test('pack --samples: more than the clean blocks there are samples all of them', async (t) => {
  const versions = await packedVersion(t);
  await change(versions.image, changedBlocks);
  const map = await writeMap(versions.folder, rangesOf(changedBlocks));
  const packed = await packNext(t, versions.folder, map, '--samples', '65536');
  t.is(packed.sampledBlocks, blockCount - changedBlocks.length);
  t.is(packed.mapSource, 'map');
});

test('pack --changed-map: a lying map is caught by the samples, and all blocks are compared', async (t) => {
  const versions = await packedVersion(t);
  // Half of all blocks, of which the map names three: 64 samples miss all others once in 10^19.
  const blocks = Array.from({ length: blockCount / 2 }, (_, index) => index * 2);
  await change(versions.image, blocks);
  const map = await writeMap(versions.folder, rangesOf(blocks.slice(0, 3)));
  const packed = await packNext(t, versions.folder, map);
  t.like(packed, {
    mapSource: 'map-rejected',
    bytesRead: blockCount * blockSize,
    newBlocks: blocks.length,
    sampledBlocks: 64,
  });
  t.regex(packed.mapReason, /block at byte \d+ differs from the parent but is not in the map/);
  t.is((Number(/byte (\d+)/.exec(packed.mapReason)![1]) / blockSize) % 2, 0);
  await comesBack(t, versions);
});

test('pack --changed-map: a larger image is read where it grew, whatever the map says', async (t) => {
  const versions = await packedVersion(t);
  await truncate(versions.image, blockCount * blockSize - 1000);
  await manoOk(t, versions.folder, [...'pack disk.raw --store store --id short'.split(' ')]);
  await overwrite(versions.image, blockCount * blockSize - 1000, noise('more', 3 * blockSize));
  const map = await writeMap(versions.folder, []);
  const pack = ['pack', 'disk.raw', '--store', 'store', '--id', 'v2', '--parent', 'short', map];
  const packed = (await manoOk(t, versions.folder, [...pack, '--json'])).json().images[0];
  t.like(packed, { mapSource: 'map', newBlocks: 4, sampledBlocks: 64 });
  t.true(packed.bytesRead <= 4 * blockSize, `${packed.bytesRead} bytes read`);
  await comesBack(t, versions);
});

test('pack --changed-map: each of several images has its own list in a map by names', async (t) => {
  const folder = await tempFolder(t);
  for (const name of ['a', 'b', 'c']) {
    await writeFile(join(folder, name), noise(name, 100 * blockSize));
  }
  await manoOk(t, folder, [...'pack a b c --store store --id v1'.split(' ')]);
  await change(join(folder, 'a'), [3, 4]);
  await change(join(folder, 'b'), [7]);
  const map = await writeMap(folder, { a: rangesOf([3, 4]), b: rangesOf([7]) });
  const words = 'pack a b c --store store --id v2 --parent v1 --json'.split(' ');
  const { images } = (await manoOk(t, folder, [...words, map])).json();
  t.deepEqual(
    images.map(({ newBlocks, mapSource }: never) => [newBlocks, mapSource]),
    [
      [2, 'map'],
      [1, 'map'],
      [0, 'hash-scan'],
    ],
  );
  await manoOk(t, folder, ['unpack', 'v2', '--store', 'store', '--to', 'out']);
  for (const name of ['a', 'b', 'c'])
    await sameFiles(t, join(folder, name), join(folder, 'out', name));
});

test('delete: a version unpacks after its parent is gone and the garbage is collected', async (t) => {
  const versions = await packedVersion(t);
  await change(versions.image, changedBlocks);
  await packNext(t, versions.folder);
  await manoOk(t, versions.folder, ['delete', 'v1', '--store', 'store']);
  await manoOk(t, versions.folder, ['gc', '--store', 'store']);
  t.true((await manoOk(t, versions.folder, ['verify', '--store=store', '--json'])).json().isWhole);
  await comesBack(t, versions);
});

test('pack: a repeat with the same id and content is the package of before', async (t) => {
  const { folder, image } = await packedVersion(t);
  const before = await readFile(image);
  const again = ['pack', 'disk.raw', '--store', 'store', '--id', 'v1', '--json'];
  t.like((await manoOk(t, folder, again)).json(), { package: 'v1', isNew: false });
  await copyFile(image, join(folder, 'copy'));
  await manoOk(t, folder, ['unpack', 'v1', '--store', 'store', '--to', 'out']);
  await sameBytes(t, before, join(folder, 'out/disk.raw'));
});

test('pack --parent-image: what is equal in the old image is not stored again, and one that is not the parent’s is told', async (t) => {
  const versions = await packedVersion(t);
  const { folder, image } = versions;
  await copyFile(image, join(folder, 'old.raw'));
  await change(image, changedBlocks);
  const packed = await packNext(t, folder, '--parent-image', 'old.raw');
  t.like(packed, { mapSource: 'parent-image', sampledBlocks: 64, newBlocks: changedBlocks.length });
  await comesBack(t, versions);
  await writeFile(join(folder, 'old.raw'), noise('another disk', blockCount * blockSize));
  const named = ['--id', 'v3', '--parent-image', 'disk.raw=old.raw'];
  const again = await packNext(t, folder, ...named);
  t.like(again, { mapSource: 'hash-scan', newBlocks: 0 });
  t.regex(again.mapReason, /the block at byte \d+ of old\.raw is not the parent's/);
});

test('pack --parent-image: without a parent, with a map, or for no image it is refused', async (t) => {
  const { folder } = await packedVersion(t);
  const pack = ['pack', 'disk.raw', '--store', 'store', '--json', '--parent-image', 'disk.raw'];
  const map = await writeMap(folder, []);
  for (const [options, text] of [
    [[], /need the parent package/],
    [['--parent', 'v1', map], /a changed map exclude each other/],
    [['--parent', 'v1', '--parent-image', 'b'], /more than images are packed: b is left over/],
  ] as const) {
    const expected = { code: exitCode.usage, reason: 'PARENT_IMAGE_INVALID', text };
    await manoFails(t, folder, [...pack, ...options], expected);
  }
});
