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
  temporaryFolder,
  unpackBytes,
} from './support.ts';

/** Far fewer entries than are stored, so that most are looked up in the file. */
const bounds = { memoryEntriesMax: 16, segmentBytesMax: 8 * blockSize };
const images = 6;
const blocksPerImage = 20;

const imageOf = (number: number) => noise(blocksPerImage * blockSize, `image ${number}`);

async function pack(store: Store, number: number) {
  const source = new MemorySource(imageOf(number));
  const result = await store.pack([{ name: 'd', source }], { packageId: `p${number}` });
  return result.images[0]!;
}

/** A repository with six packages of 20 different blocks each. */
async function filled(t: ExecutionContext) {
  const folder = join(await temporaryFolder(t), 'repository');
  const store = await openStore(t, folder, bounds);
  for (let number = 0; number < images; number++) await pack(store, number);
  // The next refresh finds more than memory may have.
  await store.openPackage('p0').then((reader) => reader.close());
  return { folder, store, table: join(folder, 'cache/lookup.table') };
}

async function readsAll(t: ExecutionContext, store: Store): Promise<void> {
  for (let number = 0; number < images; number++) {
    sameBytes(t, (await unpackBytes(store, `p${number}`, 'd')).bytes, imageOf(number));
  }
}

test('lookup: beyond the bound every block is found in the file, and none is stored twice', async (t) => {
  const { folder, store, table } = await filled(t);
  t.true((await stat(table)).size > 0);
  await readsAll(t, store);
  const again = await openStore(t, folder, bounds);
  await readsAll(t, again);
  const bytes = Buffer.concat([imageOf(4), imageOf(1), imageOf(5)]);
  const { images: packed } = await again.pack([{ name: 'd', source: new MemorySource(bytes) }]);
  t.is(packed[0]!.newBlocks, 0);
  t.like(await again.verify(), { damages: [] });
});

test('lookup: a table that is missing, cut or changed anywhere is made anew', async (t) => {
  const { folder, table } = await filled(t);
  const whole = await readFile(table);
  const places = [0, 6, 9, 40, 70, 130, Math.floor(whole.length / 2), whole.length - 3];
  for (const place of places) {
    const damaged = Buffer.from(whole);
    damaged[place]! ^= 0x41;
    await writeFile(table, damaged);
    await readsAll(t, await openStore(t, folder, bounds));
  }
  await truncate(table, whole.length - 1);
  await readsAll(t, await openStore(t, folder, bounds));
  await rm(table);
  await readsAll(t, await openStore(t, folder, bounds));
  t.deepEqual(await readFile(table), whole);
  t.deepEqual(await readdir(join(folder, 'tmp')), []);
});

test('lookup: a table that is damaged while it is in use is made anew at once', async (t) => {
  const { folder, store, table } = await filled(t);
  await readsAll(t, store);
  const whole = await readFile(table);
  await writeFile(table, Buffer.from(whole).fill(0xee, Math.floor(whole.length / 2)));
  await readsAll(t, store);
  t.deepEqual(await readFile(table), whole);
  await readsAll(t, await openStore(t, folder, bounds));
});

test('lookup: what a damaged index in the table had is stored again, and verify tells', async (t) => {
  const { folder, store } = await filled(t);
  const before = await readdir(join(folder, 'indexes'));
  for (const name of before) {
    await writeFile(
      join(folder, 'indexes', name),
      await readFile(join(folder, 'indexes', name)).then((bytes) => {
        bytes[bytes.length - 20]! ^= 1;
        return bytes;
      }),
    );
  }
  const { newBlocks } = await packAgain(await openStore(t, folder, bounds));
  t.is(newBlocks, blocksPerImage);
  const fresh = await openStore(t, folder, bounds);
  sameBytes(t, (await unpackBytes(fresh, 'again', 'd')).bytes, imageOf(2));
  const { damages } = await store.verify();
  for (const name of before)
    t.true(
      damages.some(({ path }) => path.endsWith(name)),
      name,
    );
});

async function packAgain(store: Store) {
  const input = { name: 'd', source: new MemorySource(imageOf(2)) };
  return (await store.pack([input], { packageId: 'again' })).images[0]!;
}

test('lookup: what was collected is not found, in this process and in another, and what is stored again is', async (t) => {
  const { folder, store } = await filled(t);
  const other = await openStore(t, folder, bounds);
  await readsAll(t, other);
  for (const number of [0, 1, 3, 5]) await store.delete(`p${number}`);
  const report = await store.gc();
  t.true(report.deletedSegments > 0);
  for (const each of [other, store]) {
    sameBytes(t, (await unpackBytes(each, 'p2', 'd')).bytes, imageOf(2));
    sameBytes(t, (await unpackBytes(each, 'p4', 'd')).bytes, imageOf(4));
  }
  t.is((await pack(other, 3)).newBlocks, blocksPerImage);
  for (const number of [0, 1, 5]) await pack(store, number);
  await readsAll(t, store);
  await readsAll(t, other);
  t.like(await other.verify(), { damages: [] });
});
