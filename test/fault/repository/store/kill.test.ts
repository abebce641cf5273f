import { spawn } from 'node:child_process';
import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Store } from '../../../../plugins/repository/store/store.ts';
import {
  openStore,
  sameBytes,
  temporaryFolder,
  unpackBytes,
} from '../../../unit/repository/store/support.ts';
import { imageOf } from './steps.ts';

const script = join(import.meta.dirname, 'steps.ts');
const blocks = 12;

/**
 * Runs the steps in a process of its own; returns what it acknowledged and whether it was killed.
 */
async function runSteps(folder: string, steps: string[], failpoints?: string) {
  const env = { ...process.env, ...(failpoints && { NFV_FAILPOINTS: failpoints }) };
  const child = spawn(process.execPath, [script, folder, ...steps], { env });
  let output = '';
  let errors = '';
  child.stdout.on('data', (data) => {
    output += data;
  });
  child.stderr.on('data', (data) => {
    errors += data;
  });
  const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>(
    (resolve) =>
      child.once('close', (exitCode, exitSignal) =>
        resolve({ code: exitCode, signal: exitSignal }),
      ),
  );
  return { done: output.split('\n').filter(Boolean), code, signal, errors };
}

/** Every listed package is whole and what it should be; nothing of dead processes is left. */
async function judge(t: ExecutionContext, store: Store, expected: Map<string, string>) {
  t.deepEqual(await readdir(join(store.folder, 'tmp')), []);
  const { packages, damaged } = await store.list();
  t.deepEqual(damaged, []);
  const report = await store.verify();
  t.true(report.isWhole, JSON.stringify(report.damages[0]));
  for (const { id } of packages) {
    const { bytes } = await unpackBytes(store, id, 'd');
    sameBytes(t, bytes, imageOf(expected.get(id)!, blocks));
  }
  return packages.map(({ id }) => id);
}

const seeds = new Map([
  ['p0', 'zero'],
  ['p1', 'one'],
  ['p2', 'two'],
]);
const before = [`pack:p0:zero:${blocks}`];
const steps = [
  `pack:p1:one:${blocks}:p0`,
  'delete:p0',
  'gc',
  `pack:p2:two:${blocks}`,
  'delete:p1',
  'gc',
];

test('store: kill -9 loses nothing reported and lists nothing half-done', async (t) => {
  t.timeout(280_000);
  const base = join(await temporaryFolder(t), 'repository');
  t.is((await runSteps(base, before)).code, 0);
  let kills = 0;
  for (let hit = 0; ; hit++) {
    const folder = join(await temporaryFolder(t), 'repository');
    await cp(base, folder, { recursive: true });
    const run = await runSteps(folder, steps, `*=${hit}*off->1*kill`);
    const store = await openStore(t, folder);
    const listed = await judge(t, store, seeds);
    assertAcknowledged(t, run.done, listed);
    if (run.signal === null) {
      t.is(run.code, 0, run.errors);
      t.deepEqual(run.done, steps);
      break;
    }
    t.is(run.signal, 'SIGKILL', run.errors);
    kills += 1;
    await recover(t, store, run.done);
  }
  // Each durable step of packing, deleting and collecting has a failpoint: fewer would mean that
  // some are gone.
  t.log(`${kills} kills`);
  t.true(kills >= 25, `${kills} kills`);
});

function assertAcknowledged(t: ExecutionContext, done: string[], listed: string[]): void {
  const isDone = (prefix: string) => done.some((step) => step.startsWith(prefix));
  if (isDone('pack:p1') && !done.includes('gc')) t.true(listed.includes('p1'));
  if (isDone('pack:p2')) t.true(listed.includes('p2'));
  if (isDone('delete:p0')) t.false(listed.includes('p0'));
  if (isDone('delete:p1')) t.false(listed.includes('p1'));
  if (!isDone('pack:p1')) t.true(listed.includes('p0'));
}

// After the crash the rest of the steps can be done, and then nothing is left over.
async function recover(t: ExecutionContext, store: Store, done: string[]): Promise<void> {
  await store.gc();
  await judge(t, store, seeds);
  const rest = await runSteps(store.folder, steps.slice(done.length));
  t.is(rest.code, 0, rest.errors);
  t.deepEqual(await judge(t, store, seeds), ['p2']);
  await store.gc();
  t.deepEqual(await readdir(join(store.folder, 'quarantine')), []);
  const segments = await readdir(join(store.folder, 'segments'));
  const indexes = await readdir(join(store.folder, 'indexes'));
  t.is(segments.length, indexes.length);
  const report = await store.verify();
  t.is(report.segments, segments.length);
}

test('store: writers in several processes and collections at once lose nothing', async (t) => {
  t.timeout(120_000);
  const folder = join(await temporaryFolder(t), 'repository');
  t.is((await runSteps(folder, before)).code, 0);
  const writers = [0, 1, 2].map((writer) => {
    const own = [0, 1, 2, 3].flatMap((round) => {
      const id = `w${writer}-${round}`;
      // All write the same images, so that they share what others wrote and deleted.
      const pack = `pack:${id}:seed${round}:${blocks}${round % 2 ? ':p0' : ''}`;
      return round === 3 ? [pack] : [pack, `delete:${id}`];
    });
    return runSteps(folder, own);
  });
  const all = Promise.all(writers);
  let isRunning = true;
  void all.then(() => {
    isRunning = false;
  });
  const store = await openStore(t, folder, { segmentBytesMax: 400_000 });
  let runs = 0;
  for (; isRunning; runs++) await store.gc({ rewriteThreshold: 0.3 });
  for (const { code, errors } of await all) t.is(code, 0, errors);
  t.true(runs > 3, `${runs} collections`);
  const expected = new Map([0, 1, 2].map((writer) => [`w${writer}-3`, 'seed3']));
  expected.set('p0', 'zero');
  t.deepEqual((await judge(t, store, expected)).sort(), [...expected.keys()].sort());
  await store.gc();
  await store.delete('p0');
  for (const writer of [0, 1, 2]) await store.delete(`w${writer}-3`);
  await store.gc();
  t.deepEqual(await readdir(join(folder, 'segments')), []);
  t.deepEqual(await readdir(join(folder, 'quarantine')), []);
});
