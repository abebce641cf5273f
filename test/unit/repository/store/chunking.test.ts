import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { formatManifest } from '../../../../plugins/repository/store/manifest-codec.ts';
import type { ImageInput } from '../../../../plugins/repository/store/store.ts';
import {
  blockSize,
  MemorySource,
  makeImage,
  noise,
  openStore,
  sameBytes,
  temporaryFolder,
  temporaryStore,
  throwsReason,
  unpackBytes,
} from './support.ts';

const runBytes = 64 * blockSize;
const content = { chunking: 'content' as const };

const input = (bytes: Uint8Array, more: Partial<ImageInput> = {}) => ({
  name: 'd',
  source: new MemorySource(bytes),
  ...content,
  ...more,
});

test('chunking: images of any size come back, whole and in part', async (t) => {
  const store = await temporaryStore(t);
  for (const size of [0, 1, 40_000, runBytes - 1, runBytes, runBytes + 1, 2 * runBytes + 100_000]) {
    const packageId = `size-${size}`;
    const bytes = makeImage(size, packageId);
    const { images } = await store.pack([input(bytes)], { packageId });
    t.is(images[0]!.logicalBytes, size);
    t.is(images[0]!.bytesRead, size);
    sameBytes(t, (await unpackBytes(store, packageId, 'd')).bytes, bytes);
    const reader = await store.openPackage(packageId);
    for (const [start, end] of [
      [0, Math.min(9, size)],
      [Math.floor(size / 3), Math.floor((size * 2) / 3)],
      [Math.max(0, size - 70_000), size],
    ] as const) {
      const part = new Uint8Array(end - start).fill(7);
      await reader.image('d').read(start, part);
      sameBytes(t, part, bytes.subarray(start, end));
    }
    await reader.close();
  }
  t.true((await store.verify()).isWhole);
});

test('chunking: runs of zeros are holes, whether the source knows them or not', async (t) => {
  const store = await temporaryStore(t);
  const bytes = new Uint8Array(3 * runBytes);
  bytes.set(noise(100_000, 'n'), 2 * runBytes + 500_000);
  const unknown = await store.pack([input(bytes)], { packageId: 'unknown' });
  const known = new MemorySource(bytes, (block) => block < 128);
  const told = await store.pack([{ ...input(bytes), source: known }], { packageId: 'told' });
  t.is(unknown.manifest.images[0]!.root, told.manifest.images[0]!.root);
  t.is(told.images[0]!.bytesRead, runBytes);
  sameBytes(t, (await unpackBytes(store, 'told', 'd')).bytes, bytes);
});

test('chunking: what was put in does not make all that follows new', async (t) => {
  const old = noise(4 * runBytes, 'old');
  const longer = Buffer.concat([noise(900_000, 'put in'), old]);
  const share = async (chunking: 'fixed' | 'content') => {
    const store = await temporaryStore(t);
    await store.pack([input(old, { chunking })], { packageId: 'old' });
    const { images } = await store.pack([input(longer, { chunking })], {
      packageId: 'longer',
      parent: 'old',
    });
    sameBytes(t, (await unpackBytes(store, 'longer', 'd')).bytes, longer);
    return images[0]!.storedBytes / longer.length;
  };
  t.true((await share('fixed')) > 0.95);
  const cut = await share('content');
  t.true(cut < 0.2, `${cut} of it is new`);
});

test('chunking: a map or an older image is refused, a parent that is cut otherwise is none', async (t) => {
  const store = await temporaryStore(t);
  const bytes = makeImage(runBytes, 'a');
  await store.pack([input(bytes, { chunking: 'fixed' })], { packageId: 'fixed' });
  const given = { packageId: 'b', parent: 'fixed' };
  const mapped = input(bytes, { changed: [{ start: 0, length: 1 }] });
  await throwsReason(t, () => store.pack([mapped], given), 'FIELD_VIOLATION');
  const beside = input(bytes, { older: new MemorySource(bytes) });
  await throwsReason(t, () => store.pack([beside], given), 'FIELD_VIOLATION');
  const { images } = await store.pack([input(bytes)], given);
  t.like(images[0], { mapSource: 'full' });
  t.regex(images[0]!.mapReason, /cut as this one/);
  sameBytes(t, (await unpackBytes(store, 'b', 'd')).bytes, bytes);
  await throwsReason(t, () => store.diff('fixed', 'b'), 'CHUNKING_DIFFERS');
});

test('chunking: a difference names whole runs', async (t) => {
  const store = await temporaryStore(t);
  const bytes = makeImage(3 * runBytes + 9, 'a');
  await store.pack([input(bytes)], { packageId: 'a' });
  bytes[runBytes + 12_345]! ^= 1;
  bytes[runBytes + 900_000]! ^= 1;
  await store.pack([input(bytes)], { packageId: 'b', parent: 'a' });
  const [diff] = await store.diff('a', 'b');
  t.deepEqual(diff!.ranges, [{ start: runBytes, length: runBytes }]);
  t.is(diff!.changedBytes, runBytes);
});

test('chunking: damage is told with the run it lies in, and repaired from the image', async (t) => {
  const folder = join(await temporaryFolder(t), 'repository');
  const store = await openStore(t, folder);
  const bytes = noise(2 * runBytes + 777, 'damage');
  await store.pack([input(bytes)], { packageId: 'p' });
  const segments = join(folder, 'segments');
  const sized = (await readdir(segments)).map((name) => join(segments, name));
  const files = await Promise.all(
    sized.map(async (path) => ({ path, bytes: await readFile(path) })),
  );
  // The last chunk of the image is the last block of the larger segment.
  const { path, bytes: segment } = files.toSorted((a, b) => b.bytes.length - a.bytes.length)[0]!;
  segment[segment.length - 9]! ^= 1;
  await writeFile(path, segment);
  const { damages, isWhole } = await store.verify();
  t.false(isWhole);
  t.like(damages[0], { packageId: 'p', image: 'd', offset: 2 * runBytes, length: runBytes });
  const error = await throwsReason(t, () => unpackBytes(store, 'p', 'd'), 'PACKAGE_DAMAGED');
  t.is(error.metadata.offset, String(2 * runBytes));
  const report = await store.repair({ images: [{ source: new MemorySource(bytes) }] });
  t.true(report.isWhole, JSON.stringify(report));
  sameBytes(t, (await unpackBytes(store, 'p', 'd')).bytes, bytes);
});

test('chunking: blocks that hold no chunks are damage, and nothing is read beyond them', async (t) => {
  const folder = join(await temporaryFolder(t), 'repository');
  const store = await openStore(t, folder);
  const bytes = noise(128 * blockSize, 'no chunks');
  const { manifest } = await store.pack([input(bytes, { chunking: 'fixed' })], { packageId: 'p' });
  const [image] = manifest.images;
  const lie = { ...image!, ...content, logicalBytes: runBytes - 3 };
  const path = join(folder, 'packages/p.manifest');
  await writeFile(path, formatManifest({ ...manifest, images: [lie] }));
  await throwsReason(t, () => unpackBytes(store, 'p', 'd'), 'PACKAGE_DAMAGED');
});

test('chunking: the manifest is of version 2, and only where an image is cut by content', async (t) => {
  const folder = join(await temporaryFolder(t), 'repository');
  const store = await openStore(t, folder);
  const first = async (id: string) =>
    (await readFile(join(folder, `packages/${id}.manifest`), 'utf8')).slice(0, 20);
  await store.pack([input(new Uint8Array(9))], { packageId: 'cut' });
  await store.pack([input(new Uint8Array(9), { chunking: 'fixed' })], { packageId: 'plain' });
  t.is(await first('cut'), 'micromano-package 2 ');
  t.is(await first('plain'), 'micromano-package 1 ');
});

test('chunking: an interrupted pack goes on, with the result of one that was not', async (t) => {
  const often = { checkpointMsMin: 0, checkpointBytesMin: blockSize };
  const folder = join(await temporaryFolder(t), 'repository');
  const store = await openStore(t, folder, often);
  const bytes = noise(5 * runBytes + 1, 'resume');
  const whole = await (await temporaryStore(t)).pack([input(bytes)], { packageId: 'p' });
  const stop = new AbortController();
  const options = {
    packageId: 'p',
    signal: stop.signal,
    onProgress: ({ doneBytes }: { doneBytes: number }) => {
      if (doneBytes > 3 * runBytes) stop.abort(new Error('enough'));
    },
  };
  const begun = input(bytes, { fingerprint: 'same' });
  await t.throwsAsync(store.pack([begun], options), { message: 'enough' });
  const again = await store.pack([input(bytes, { fingerprint: 'same' })], { packageId: 'p' });
  t.true(again.resumedBytes >= 2 * runBytes && again.resumedBytes < bytes.length);
  t.true(again.bytesRead < 3 * runBytes);
  t.is(again.manifest.images[0]!.root, whole.manifest.images[0]!.root);
  sameBytes(t, (await unpackBytes(store, 'p', 'd')).bytes, bytes);
});
