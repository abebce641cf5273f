import { spawn } from 'node:child_process';
import { cp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import {
  MemorySource,
  openStore,
  sameBytes,
  temporaryFolder,
  unpackBytes,
} from '../../../unit/repository/store/support.ts';
import { imageOf } from './steps.ts';

const script = join(import.meta.dirname, 'steps.ts');
const blocks = 12;

/** Repairs in a process of its own; returns the signal that ended it. */
async function repairKilled(folder: string, other: string, failpoints: string) {
  const env = { ...process.env, NFV_FAILPOINTS: failpoints };
  const child = spawn(process.execPath, [script, folder, `repair:${other}`], { env });
  let errors = '';
  child.stderr.on('data', (data) => {
    errors += data;
  });
  const signal = await new Promise((resolve) =>
    child.once('close', (_code, endSignal) => resolve(endSignal)),
  );
  return { signal, errors };
}

async function damage(folder: string): Promise<void> {
  const segments = join(folder, 'segments');
  const sized = [];
  for (const name of await readdir(segments)) {
    sized.push({ path: join(segments, name), bytes: (await stat(join(segments, name))).size });
  }
  const [gone, broken] = sized.sort((a, b) => b.bytes - a.bytes);
  await rm(gone!.path);
  const bytes = await readFile(broken!.path);
  bytes[bytes.length - 50]! ^= 1;
  await writeFile(broken!.path, bytes);
  const manifest = join(folder, 'packages', 'p0.manifest');
  await writeFile(manifest, (await readFile(manifest)).subarray(0, 100));
}

test('repair: kill -9 at any step is harmless, and a repetition repairs', async (t) => {
  t.timeout(240_000);
  const home = await temporaryFolder(t);
  const [base, other] = [join(home, 'base'), join(home, 'other')];
  for (const folder of [base, other]) {
    const store = await openStore(t, folder, { segmentBytesMax: 400_000 });
    for (const seed of ['zero', 'one']) {
      const source = new MemorySource(imageOf(seed, blocks));
      await store.pack([{ name: 'd', source }], { packageId: seed === 'zero' ? 'p0' : 'p1' });
    }
  }
  await damage(base);
  let kills = 0;
  for (let hit = 0; ; hit++) {
    const folder = join(home, `try-${hit}`);
    await cp(base, folder, { recursive: true });
    const { signal, errors } = await repairKilled(folder, other, `*=${hit}*off->1*kill`);
    const store = await openStore(t, folder);
    // A collection in between loses nothing that the repetition needs: it refuses, or it is whole.
    await store.gc().catch((error) => t.regex(error.reason, /REPOSITORY_DAMAGED/));
    const report = await store.repair({ from: [await openStore(t, other)] });
    t.true(report.isWhole, JSON.stringify(report.left[0]));
    for (let run = 0; run < 2; run++) await store.gc();
    t.true((await store.verify()).isWhole);
    sameBytes(t, (await unpackBytes(store, 'p0', 'd')).bytes, imageOf('zero', blocks));
    sameBytes(t, (await unpackBytes(store, 'p1', 'd')).bytes, imageOf('one', blocks));
    t.deepEqual(await readdir(join(folder, 'quarantine')), []);
    if (signal === null) {
      t.is(errors, '');
      break;
    }
    t.is(signal, 'SIGKILL', errors);
    kills += 1;
  }
  t.true(kills >= 6, `${kills} kills`);
});
