import { spawnSync } from 'node:child_process';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { readCheckpoints } from '../../../../plugins/repository/store/checkpoint.ts';
import { FolderBackend } from '../../../../plugins/repository/store/folder-backend.ts';
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
import { image, imageBytes, often } from './resume-steps.ts';

const script = join(import.meta.dirname, 'resume-steps.ts');
const sampleBytes = 16 * blockSize;

/** Packs in a process of its own; returns how that ended. */
function pack(folder: string, failpoints: string, reads?: number) {
  const env = { ...process.env, NFV_FAILPOINTS: failpoints };
  const args = [script, folder, 'p', ...(reads === undefined ? [] : [`${reads}`])];
  return spawnSync(process.execPath, args, { env, encoding: 'utf8', timeout: 60_000 });
}

const doneIn = async (folder: string) => {
  const [checkpoint] = (await readCheckpoints(new FolderBackend(folder))).values();
  return Math.min(imageBytes, (checkpoint?.images[0]?.doneBlocks ?? 0) * blockSize);
};

/** Repeats the pack: it goes on from the checkpoint, and nothing is left of the killed one. */
async function repeat(t: ExecutionContext, folder: string): Promise<number> {
  const store = await openStore(t, folder, often);
  const done = await doneIn(folder);
  // What a collection takes in between is not missed.
  await store.gc({ rewriteThreshold: 0.01 });
  const source = new MemorySource(image());
  const isThere = (await store.list()).packages.length > 0;
  const result = await store.pack([{ name: 'd', source, fingerprint: 'same' }], { packageId: 'p' });
  if (!isThere) t.is(result.resumedBytes, done);
  t.true(result.bytesRead <= imageBytes - result.resumedBytes);
  const read = source.reads.reduce((sum, { length }) => sum + length, 0);
  t.true(read <= imageBytes - result.resumedBytes + sampleBytes, `${read} bytes read`);
  sameBytes(t, (await unpackBytes(store, 'p', 'd')).bytes, source.bytes);
  t.true((await store.verify()).isWhole);
  for (const empty of ['tmp', 'resume']) t.deepEqual(await readdir(join(folder, empty)), []);
  await store.gc();
  t.true((await store.verify()).isWhole);
  t.deepEqual(await readdir(join(folder, 'quarantine')), []);
  return result.resumedBytes;
}

test('pack: kill -9 at any durable step, and the repetition goes on from the last checkpoint', async (t) => {
  t.timeout(280_000);
  let kills = 0;
  let resumed = 0;
  for (let hit = 1; ; hit++) {
    const folder = join(await temporaryFolder(t), 'repository');
    const run = pack(folder, `*=${hit}*off->1*kill`);
    if (run.signal === null) {
      t.is(run.status, 0, run.stderr);
      break;
    }
    t.is(run.signal, 'SIGKILL', run.stderr);
    kills += 1;
    if ((await repeat(t, folder)) > 0) resumed += 1;
  }
  t.log(`${kills} kills, ${resumed} resumed`);
  t.true(kills >= 8 && resumed >= 4, `${kills} kills, ${resumed} resumed`);
});

test('pack: killed again and again at reads, it comes to its end, never going back', async (t) => {
  t.timeout(120_000);
  const folder = join(await temporaryFolder(t), 'repository');
  let done = 0;
  let kills = 0;
  // Each run gets a few runs of blocks further than its samples.
  for (; kills < 20; kills++) {
    const run = pack(folder, '', (kills === 0 ? 0 : 16) + 3);
    if (run.signal === null) break;
    const now = await doneIn(folder);
    t.true(now >= done, `${now} after ${done}`);
    done = now;
  }
  t.true(kills >= 1 && kills < 20, `${kills} kills`);
  await repeat(t, folder);
});

test('pack: on a full disk what was done is kept, and gone on with once there is room', async (t) => {
  const folder = await smallFileSystem(t, 20 * 2 ** 20);
  if (folder === undefined) return;
  const store = await openStore(t, join(folder, 'repository'), often);
  const ballast = await open(join(folder, 'ballast'), 'w');
  t.teardown(() => ballast.close());
  await ballast.write(Buffer.alloc(8 * 2 ** 20), 0);
  const bytes = noise(14 * 2 ** 20, 'full');
  const input = () => ({ name: 'd', source: new MemorySource(bytes), fingerprint: 'same' });
  const run = () => store.pack([input()], { packageId: 'p' });
  const error = await throwsReason(t, run, 'STORE_FULL');
  t.regex(error.message, /\d+ bytes are kept for unfinished packages.*mano gc --forget-unfinished/);
  t.deepEqual(await readdir(join(store.folder, 'tmp')), []);
  t.is((await store.listUnfinished()).length, 1);
  await ballast.truncate(0);
  const result = await run();
  t.true(result.resumedBytes >= 64 * blockSize);
  sameBytes(t, (await unpackBytes(store, 'p', 'd')).bytes, bytes);
  t.true((await store.verify()).isWhole);
});
