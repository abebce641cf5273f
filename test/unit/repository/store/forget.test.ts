import { appendFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Store } from '../../../../plugins/repository/store/store.ts';
import { systemClock } from '../../../../sdk/ports/clock.ts';
import {
  blockSize,
  MemorySource,
  noise,
  temporaryStore,
  throwsReason,
  unpackBytes,
} from './support.ts';

/** Bytes of all objects, as `du --apparent-size` counts files. */
async function sizeOf(store: Store): Promise<number> {
  const files = await readdir(store.folder, { recursive: true, withFileTypes: true });
  const sizes = files
    .filter((entry) => entry.isFile() && entry.name !== 'repository.reserve')
    .map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** Packages `day-1` and so on: each has the first blocks of all and `own` blocks of its own. */
async function daily(t: ExecutionContext, days: number, own = 4): Promise<Store> {
  let day = 0;
  const clock = { ...systemClock, now: () => new Date(Date.UTC(2026, 2, day, 12)) };
  const store = await temporaryStore(t, { clock });
  for (day = 1; day <= days; day++) {
    const bytes = Buffer.concat([noise(blockSize, 'base'), noise(own * blockSize, `day ${day}`)]);
    await store.pack([{ name: 'd', source: new MemorySource(bytes) }], { packageId: `day-${day}` });
  }
  return store;
}

async function ids(store: Store): Promise<string[]> {
  return (await store.list()).packages.map(({ id }) => id);
}

test('forget: a dry run says what a real one does, and changes nothing', async (t) => {
  const store = await daily(t, 4);
  const before = await sizeOf(store);
  const planned = await store.forget({ last: 1, daily: 2 }, { dryRun: true });
  t.deepEqual(
    [await ids(store), await sizeOf(store)],
    [['day-1', 'day-2', 'day-3', 'day-4'], before],
  );
  const done = await store.forget({ last: 1, daily: 2 });
  t.deepEqual(done, planned);
  t.deepEqual(
    done.kept.map((item) => [item.package, item.reasons]),
    [
      ['day-4', ['last', 'daily']],
      ['day-3', ['daily']],
    ],
  );
  t.deepEqual(await ids(store), ['day-3', 'day-4']);
});

test('forget: the unique bytes are those that no kept package needs', async (t) => {
  const store = await daily(t, 3);
  const { uniqueBytes } = await store.forget({ last: 1 }, { dryRun: true });
  // Two packages with four blocks of noise each, and their pages of five ids; `base` is shared.
  t.is(uniqueBytes, 2 * (4 * blockSize + 8 + 5 * 32));
});

test('forget: what is kept restores bit for bit after a collection', async (t) => {
  const store = await daily(t, 3);
  const before = await unpackBytes(store, 'day-3', 'd');
  await store.forget({ last: 1 });
  await store.gc({ rewriteThreshold: 0.01 });
  const after = await unpackBytes(store, 'day-3', 'd');
  t.is(Buffer.compare(before.bytes, after.bytes), 0);
  t.true((await store.verify()).isWhole);
});

test('forget: packages of VNFs are not touched', async (t) => {
  const store = await daily(t, 2);
  const source = new MemorySource(noise(blockSize, 'vnf'));
  await store.pack([{ name: 'd', source }], { packageId: 'old-vnf', kind: 'VNF' });
  const { kept, forgotten } = await store.forget({ last: 1 });
  t.deepEqual([kept.length, forgotten.map((item) => item.package)], [1, ['day-1']]);
  t.deepEqual(await ids(store), ['day-2', 'old-vnf']);
});

test('forget: a damaged manifest stops it before anything is deleted', async (t) => {
  const store = await daily(t, 3);
  await appendFile(join(store.folder, 'packages', 'day-1.manifest'), 'x');
  await throwsReason(t, () => store.forget({ last: 1 }), 'OBJECT_DAMAGED');
  t.is((await readdir(join(store.folder, 'packages'))).length, 3);
});

for (const [title, rewriteThreshold] of [
  ['whole segments', 1],
  ['the rewriting of worn ones too', 0.01],
] as const) {
  test(`gc: a dry run says to the byte what a collection frees: ${title}`, async (t) => {
    const store = await daily(t, 4);
    await store.forget({ last: 1 });
    const before = await sizeOf(store);
    const planned = await store.gc({ rewriteThreshold, dryRun: true });
    t.is(await sizeOf(store), before, 'the dry run changed something');
    const done = await store.gc({ rewriteThreshold });
    t.is(done.freedBytes, before - (await sizeOf(store)));
    t.is(planned.freedBytes, done.freedBytes);
    t.is(planned.deletedSegments, done.deletedSegments);
    t.is(planned.rewrittenSegments > 0, rewriteThreshold < 1);
    t.true((await store.verify()).isWhole);
  });
}
