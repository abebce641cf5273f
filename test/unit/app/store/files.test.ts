import { execFileSync } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import {
  collectGarbage,
  deletePackages,
  diffPackages,
  listPackages,
  verifyStore,
} from '../../../../app/store/care.ts';
import { mapsOfImages, readChangeMap } from '../../../../app/store/change-map-file.ts';
import { packFiles } from '../../../../app/store/pack.ts';
import { fileName, unpackFiles } from '../../../../app/store/unpack.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import {
  blockSize,
  makeImage,
  sameBytes,
  temporaryFolder,
  throwsReason,
} from '../../repository/store/support.ts';

test('pack and unpack: files come back under their names, in every format', async (t) => {
  const folder = await temporaryFolder(t);
  const [a, b] = [makeImage(20 * blockSize + 100, 'a'), makeImage(3 * blockSize, 'b')];
  await writeFile(join(folder, 'a.raw'), a);
  await writeFile(join(folder, 'b'), b);
  const store = join(folder, 'repository');
  const paths = [join(folder, 'a.raw'), join(folder, 'b')];
  const packed = await packFiles(paths, { store, packageId: 'p' });
  t.deepEqual(
    packed.images.map(({ name }) => name),
    ['a.raw', 'b'],
  );
  t.true(packed.seconds >= 0);
  const to = join(folder, 'out', 'deep');
  const raw = await unpackFiles('p', { store, to, digests: ['sha256'] });
  t.deepEqual(
    raw.images.map(({ path }) => path),
    [join(to, 'a.raw'), join(to, 'b')],
  );
  sameBytes(t, await readFile(join(to, 'a.raw')), a);
  sameBytes(t, await readFile(join(to, 'b')), b);
  const qcow2 = await unpackFiles('p', { store, to, format: 'qcow2', images: ['b'] });
  const again = await packFiles([qcow2.images[0]!.path], { store, packageId: 'q' });
  t.like(again.images[0], { name: 'b.qcow2', logicalBytes: b.length, newBlocks: 0 });
  await unpackFiles('p', { store, to, format: 'raw.lz4' });
  if (!skipUnless(t, 'lz4')) return;
  sameBytes(t, execFileSync('lz4', ['-dc', join(to, 'a.raw.lz4')], { maxBuffer: 2 ** 24 }), a);
});

test('pack: a change map in a file is used; diff, list, delete and gc work', async (t) => {
  const folder = await temporaryFolder(t);
  const image = join(folder, 'disk');
  const bytes = makeImage(50 * blockSize, 'a');
  await writeFile(image, bytes);
  const store = join(folder, 'repository');
  await packFiles([image], { store, packageId: 'p1' });
  bytes.fill(7, 30 * blockSize, 30 * blockSize + 10);
  await writeFile(image, bytes);
  const changedMap = join(folder, 'map.json');
  await writeFile(changedMap, JSON.stringify([{ start: 30 * blockSize, length: 10 }]));
  const options = { store, packageId: 'p2', parent: 'p1', changedMap, samples: 0 };
  const { images } = await packFiles([image], options);
  t.like(images[0], { mapSource: 'map', bytesRead: blockSize, newBlocks: 1, sampledBlocks: 0 });
  const diff = await diffPackages(store, 'p1', 'p2');
  t.deepEqual(diff.images[0]!.ranges, [{ start: 30 * blockSize, length: blockSize }]);
  t.deepEqual(
    (await listPackages(store)).packages.map(({ id }) => id),
    ['p1', 'p2'],
  );
  await deletePackages(store, ['p1']);
  t.true((await collectGarbage(store)).freedBytes > 0);
  t.true((await verifyStore(store, {})).isWhole);
});

for (const [what, text, problem] of [
  ['no JSON', '[', /is not JSON/],
  ['no list', '5', /must be a list/],
  ['an entry without length', '[{"start":0}]', /\[0\] must have/],
  ['a negative start', '[{"start":-1,"length":2}]', /\[0\] must have/],
] as const) {
  test(`change map: ${what} is MAP_INVALID`, async (t) => {
    const path = join(await temporaryFolder(t), 'map.json');
    await writeFile(path, text);
    const error = await throwsReason(t, () => readChangeMap(path), 'MAP_INVALID');
    t.regex(error.message, problem);
  });
}

test('change map: a list for several images or an unknown name is MAP_INVALID', async (t) => {
  const path = join(await temporaryFolder(t), 'map.json');
  await writeFile(path, '[]');
  const list = await readChangeMap(path);
  t.deepEqual(mapsOfImages(list, ['a'], path), new Map([['a', []]]));
  await throwsReason(t, async () => mapsOfImages(list, ['a', 'b'], path), 'MAP_INVALID');
  await writeFile(path, '{"c":[]}');
  const named = await readChangeMap(path);
  await throwsReason(t, async () => mapsOfImages(named, ['a', 'b'], path), 'MAP_INVALID');
});

test('unpack: the names of files in other formats carry their extension', (t) => {
  t.is(fileName('disk.raw', 'raw.lz4'), 'disk.raw.lz4');
  t.is(fileName('disk', 'raw.lz4'), 'disk.raw.lz4');
  t.is(fileName('disk', 'qcow2'), 'disk.qcow2');
  t.is(fileName('disk.qcow2', 'qcow2'), 'disk.qcow2');
});

test('pack: a file that does not exist leaves no repository behind', async (t) => {
  const folder = await temporaryFolder(t);
  const store = join(folder, 'repository');
  await t.throwsAsync(packFiles([join(folder, 'none')], { store }));
  await mkdir(store);
  await throwsReason(t, () => listPackages(store), 'REPOSITORY_NOT_FOUND');
});
