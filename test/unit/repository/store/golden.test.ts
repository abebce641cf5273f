import { createHash } from 'node:crypto';
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { blockSize, MemorySource, openStore, temporaryFolder, unpackBytes } from './support.ts';

/** A repository that was written before differences and zstd, and what its packages restore to. */
const versionOne = new URL('../../../golden/repository-v1', import.meta.url);
const packages = [
  ['one', 'g1.raw', 'ae23714a6f1172733be36f1cd14195d7c90bacfe79f1ad8126133526cc12efc9'],
  ['two', 'g2.raw', 'ac99b0a0741d40ad913fa9f35e287baa645135e760fc7acf1123437789285069'],
] as const;

test('format: a repository of version 1 is read, verified and continued', async (t) => {
  const folder = join(await temporaryFolder(t), 'repository');
  await cp(versionOne, folder, { recursive: true });
  // Empty folders are not kept with the sources.
  for (const name of ['quarantine', 'tmp']) await mkdir(join(folder, name));
  const store = await openStore(t, folder);
  t.true((await store.verify()).isWhole);
  for (const [id, image, sha256] of packages) {
    const { bytes } = await unpackBytes(store, id, image);
    t.is(createHash('sha256').update(bytes).digest('hex'), sha256);
  }
  const { bytes } = await unpackBytes(store, 'two', 'g2.raw');
  bytes[blockSize + 5]! ^= 1;
  const source = new MemorySource(bytes);
  const inputs = [{ name: 'g2.raw', source }];
  const { images } = await store.pack(inputs, { packageId: 'three', parent: 'two' });
  t.like(images[0], { newBlocks: 1, deltaBlocks: 1 });
  await store.delete('one');
  await store.gc();
  t.true((await store.verify()).isWhole);
  t.deepEqual((await unpackBytes(store, 'three', 'g2.raw')).bytes, bytes);
});
