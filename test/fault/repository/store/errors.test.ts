import { ftruncateSync, openSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import type { FileExtent } from '../../../../plugins/repository/sources/source.ts';
import { configureFailpoints } from '../../../../sdk/failpoint.ts';
import {
  blockSize,
  MemorySource,
  noise,
  openStore,
  sameBytes,
  temporaryFolder,
  temporaryStore,
  throwsReason,
  unpackBytes,
} from '../../../unit/repository/store/support.ts';

test.serial(
  'store: an error between any two durable steps leaves a whole repository',
  async (t) => {
    t.teardown(() => configureFailpoints(undefined));
    const kept = noise(10 * blockSize, 'kept');
    let failures = 0;
    for (let hit = 0; ; hit++) {
      configureFailpoints(undefined);
      const store = await temporaryStore(t, { segmentBytesMax: 300_000 });
      const both = new Uint8Array(Buffer.concat([kept, noise(20 * blockSize, 'gone')]));
      await store.pack([{ name: 'd', source: new MemorySource(both) }], { packageId: 'p0' });
      await store.pack([{ name: 'd', source: new MemorySource(kept) }], { packageId: 'p1' });
      configureFailpoints(`*=${hit}*off->1*error(planted)`);
      const work = async () => {
        await store.delete('p0');
        await store.gc({ rewriteThreshold: 0.1 });
        const source = new MemorySource(noise(8 * blockSize, 'new'));
        await store.pack([{ name: 'd', source }], { packageId: 'p2', parent: 'p1' });
        return 'done';
      };
      const outcome = await work().catch((error) => error.message);
      configureFailpoints(undefined);
      t.deepEqual(await readdir(join(store.folder, 'tmp')), []);
      const again = await openStore(t, store.folder);
      t.true((await again.verify()).isWhole);
      sameBytes(t, (await unpackBytes(again, 'p1', 'd')).bytes, kept);
      await again.gc();
      t.true((await again.verify()).isWhole);
      t.deepEqual(await readdir(join(store.folder, 'quarantine')), []);
      if (outcome === 'done') break;
      t.is(outcome, 'planted');
      failures += 1;
    }
    t.true(failures >= 14, `${failures} failures`);
  },
);

/** A file that is read by the core itself. */
class FileSource extends MemorySource {
  readonly fd: number;
  constructor(path: string, bytes: Uint8Array) {
    super(bytes, undefined, path);
    this.fd = openSync(path, 'r+');
  }
  fileExtents(offset: number, length: number): FileExtent[] {
    return [{ fd: this.fd, fileOffset: offset, bufferOffset: 0, length }];
  }
}

test.serial('pack: a file that ends too early is SOURCE_TRUNCATED with its path', async (t) => {
  const store = await temporaryStore(t);
  const path = join(await temporaryFolder(t), 'disk');
  const bytes = noise(200 * blockSize, 'a');
  await writeFile(path, bytes);
  const source = new FileSource(path, bytes);
  ftruncateSync(source.fd, 150 * blockSize);
  const error = await throwsReason(
    t,
    () => store.pack([{ name: 'd', source }]),
    'SOURCE_TRUNCATED',
  );
  t.is(error.metadata.path, path);
  t.deepEqual(await readdir(join(store.folder, 'tmp')), []);
  t.deepEqual(await readdir(join(store.folder, 'segments')), []);
});
