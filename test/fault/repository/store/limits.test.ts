import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { smallFileSystem } from '../../../support/small-file-system.ts';
import {
  blockSize,
  MemorySource,
  noise,
  openStore,
  sameBytes,
  temporaryFolder,
  throwsReason,
  unpackBytes,
} from '../../../unit/repository/store/support.ts';

test('store: without space a pack is STORE_FULL and leaves nothing behind', async (t) => {
  const folder = await smallFileSystem(t, 4.5 * 1024 * 1024);
  if (folder === undefined) return;
  const store = await openStore(t, join(folder, 'repository'));
  const small = noise(10 * blockSize, 'small');
  await store.pack([{ name: 'd', source: new MemorySource(small) }], { packageId: 'p1' });
  const files = async () => (await readdir(store.folder, { recursive: true })).sort();
  const before = await files();
  const input = { name: 'd', source: new MemorySource(noise(100 * blockSize, 'large')) };
  const error = await throwsReason(t, () => store.pack([input], { packageId: 'p2' }), 'STORE_FULL');
  t.true(error.metadata.path!.startsWith(store.folder));
  t.true(Number(error.metadata.bytes) > 0);
  t.deepEqual(await files(), before);
  t.true((await store.verify()).isWhole);
  sameBytes(t, (await unpackBytes(store, 'p1', 'd')).bytes, small);
  // There is room again for what fits.
  await store.pack([{ name: 'd', source: new MemorySource(noise(30 * blockSize, 'x')) }]);
});

test('store: at whatever byte the space ends, a pack is either done or gone', async (t) => {
  const folder = await smallFileSystem(t, 3.25 * 1024 * 1024);
  if (folder === undefined) return;
  const store = await openStore(t, join(folder, 'repository'), { segmentBytesMax: 500_000 });
  const source = () => new MemorySource(noise(20 * blockSize, 'image'));
  const ballast = await open(join(folder, 'ballast'), 'w');
  t.teardown(() => ballast.close());
  let full = 0;
  let done = 0;
  for (let pages = 0; pages < 40; pages++) {
    await ballast.truncate(0);
    await ballast.write(Buffer.alloc(3 * 1024 * 1024 - 20 * blockSize - pages * 4096), 0);
    const packageId = `p${pages}`;
    const { reason } = await store
      .pack([{ name: 'd', source: source() }], { packageId })
      .then(() => ({ reason: 'done' }))
      .catch((error: { reason: string }) => error);
    t.true(reason === 'done' || reason === 'STORE_FULL', reason);
    if (reason === 'done') done += 1;
    else full += 1;
    const { packages } = await store.list();
    t.deepEqual(
      packages.map(({ id }) => id),
      reason === 'done' ? [packageId] : [],
    );
    t.deepEqual(await readdir(join(store.folder, 'tmp')), []);
    await ballast.truncate(0);
    if (reason !== 'done') continue;
    t.true((await store.verify()).isWhole);
    await store.delete(packageId);
    await store.gc();
  }
  t.true(full > 0 && done > 0, `${full} full, ${done} done`);
});

test('store: a full one can still be read, and freed by deleting and collecting', async (t) => {
  const folder = await smallFileSystem(t, 6 * 1024 * 1024);
  if (folder === undefined) return;
  const store = await openStore(t, join(folder, 'repository'));
  const image = noise(40 * blockSize, 'image');
  const kept = image.slice(0, 5 * blockSize);
  await store.pack([{ name: 'd', source: new MemorySource(image) }], { packageId: 'p1' });
  await store.pack([{ name: 'd', source: new MemorySource(kept) }], { packageId: 'p2' });
  const ballast = await open(join(folder, 'ballast'), 'w');
  t.teardown(() => ballast.close());
  await t.throwsAsync(ballast.writeFile(new Uint8Array(6 * 1024 * 1024)), { code: 'ENOSPC' });
  sameBytes(t, (await unpackBytes(store, 'p1', 'd')).bytes, image);
  await store.delete('p1');
  // No room for copies yet; the pages of the deleted package go.
  const first = await store.gc();
  t.is(first.deletedSegments, 1);
  t.regex(first.rewriteProblem!, /no space/);
  await ballast.truncate(0);
  t.like(await store.gc(), { rewrittenSegments: 1, deletedSegments: 1 });
  t.true((await store.verify()).isWhole);
  t.true((await readdir(store.folder)).includes('repository.reserve'));
});

for (const sizeGib of [4, 20]) {
  test(`store: a sparse image of ${sizeGib} GiB needs less than 300 MiB`, async (t) => {
    t.timeout(200_000);
    const folder = await temporaryFolder(t);
    const image = join(folder, 'disk.raw');
    const file = await open(image, 'w');
    await file.truncate(sizeGib * 2 ** 30);
    for (let piece = 0; piece < 24; piece++) {
      const bytes = noise(4 * 1024 * 1024, `piece ${piece}`);
      await file.write(bytes, 0, bytes.length, piece * Math.floor((sizeGib * 2 ** 30) / 25));
    }
    await file.close();
    const script = join(import.meta.dirname, 'pack-and-unpack.ts');
    const run = spawnSync(process.execPath, [script, image, folder], { encoding: 'utf8' });
    t.is(run.status, 0, run.stderr);
    const { maxRssMib, images } = JSON.parse(run.stdout);
    t.log(`${maxRssMib} MiB`);
    t.true(maxRssMib < 300, `${maxRssMib} MiB`);
    t.is(images[0].logicalBytes, sizeGib * 2 ** 30);
    t.true(images[0].bytesRead < 200 * 2 ** 20, `${images[0].bytesRead} bytes read`);
    await t.notThrowsAsync(() => comparePieces(image, join(folder, 'out', 'disk.raw')));
  });
}

/**
 * Compares the pieces that have data, the sizes, and that the holes are holes: reading 20 GiB of
 * zeros takes too long.
 */
async function comparePieces(a: string, b: string): Promise<void> {
  const [from, to] = [await open(a), await open(b)];
  try {
    const [fromStat, toStat] = [await from.stat(), await to.stat()];
    assert.equal(toStat.size, fromStat.size);
    assert.ok(toStat.blocks * 512 < 200 * 2 ** 20, `${toStat.blocks} sectors`);
    for (let piece = 0; piece < 24; piece++) {
      const position = piece * Math.floor(fromStat.size / 25);
      const bytes = [Buffer.alloc(5 * 2 ** 20), Buffer.alloc(5 * 2 ** 20)] as const;
      await from.read(bytes[0], 0, bytes[0].length, position);
      await to.read(bytes[1], 0, bytes[1].length, position);
      assert.ok(bytes[0].equals(bytes[1]), `piece ${piece}`);
    }
  } finally {
    await from.close();
    await to.close();
  }
}
