/** Changed blocks that are stored as differences; docs/storage-format.md 2.4.1. */
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  decodeIndex,
  type Entry,
  encoding,
  entryBytes,
  indexHeaderBytes,
  readEntry,
} from '../../../../plugins/repository/store/index-codec.ts';
import type { Store } from '../../../../plugins/repository/store/store.ts';
import { hash } from '../../../../wasm/host/blake3.ts';
import {
  blockSize,
  MemorySource,
  noise,
  openStore,
  sameBytes,
  temporaryStore,
  throwsReason,
  unpackBytes,
} from './support.ts';

type Options = Parameters<Store['pack']>[1];

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

async function pack(store: Store, packageId: string, bytes: Uint8Array, options: Options = {}) {
  const source = new MemorySource(bytes);
  const { images } = await store.pack([{ name: 'd', source }], { packageId, ...options });
  return images[0]!;
}

/** A copy whose blocks of these numbers differ in a few bytes. */
function change(bytes: Uint8Array, blocks: readonly number[], mark: string): Uint8Array {
  const next = Buffer.from(bytes);
  for (const block of blocks) next.write(`${mark} in ${block}`, block * blockSize + 1000);
  return new Uint8Array(next);
}

type IndexFile = { name: string; bytes: Buffer; entries: Entry[]; baseCount: number };

async function readIndexes(store: Store): Promise<IndexFile[]> {
  const files: IndexFile[] = [];
  for (const name of await readdir(join(store.folder, 'indexes'))) {
    const bytes = await readFile(join(store.folder, 'indexes', name));
    const { header, entries } = decodeIndex(bytes, name);
    const { entryCount, baseCount = 0 } = header;
    const all = Array.from({ length: entryCount }, (_, at) => readEntry(entries, at * entryBytes));
    files.push({ name, bytes, entries: all, baseCount });
  }
  return files;
}

async function allEntries(store: Store): Promise<Entry[]> {
  return (await readIndexes(store)).flatMap(({ entries }) => entries);
}

/** The store's judgement and what the package restores to. */
async function isWhole(t: ExecutionContext, store: Store, id: string, bytes: Uint8Array) {
  const report = await store.verify();
  t.true(report.isWhole, JSON.stringify(report.damages[0]));
  sameBytes(t, (await unpackBytes(store, id, 'd')).bytes, bytes);
}

test('delta: a changed block is stored as the difference from the parent’s', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(30 * blockSize, 'a');
  await pack(store, 'p1', bytes);
  const next = change(bytes, [3, 29], 'second');
  const image = await pack(store, 'p2', next, { parent: 'p1' });
  t.like(image, { newBlocks: 2, deltaBlocks: 2, damagedBases: 0 });
  t.true(image.storedBytes < 200 + 8 + 30 * 32, `${image.storedBytes} bytes`);
  await isWhole(t, store, 'p2', next);
  await isWhole(t, store, 'p1', bytes);
  const versions = (await readIndexes(store)).map(({ bytes: file }) => file.readUInt16LE(6));
  t.deepEqual(versions.sort(), [1, 1, 1, 2], 'only an index with bases has the new version');
});

test('delta: it is smaller in memory of a changed map as well', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(30 * blockSize, 'a');
  await pack(store, 'p1', bytes);
  const next = change(bytes, [7], 'second');
  const source = new MemorySource(next);
  const changed = [{ start: 7 * blockSize, length: blockSize }];
  const inputs = [{ name: 'd', source, changed }];
  const { images } = await store.pack(inputs, { packageId: 'p2', parent: 'p1' });
  t.like(images[0], { deltaBlocks: 1, mapSource: 'map' });
  await isWhole(t, store, 'p2', next);
});

test('delta: none is made when it is switched off, without compression, or where it is no gain', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(10 * blockSize, 'a');
  await pack(store, 'p1', bytes);
  const parent = 'p1';
  const off = await pack(store, 'off', change(bytes, [3], 'off'), { parent, delta: false });
  const raw = await pack(store, 'raw', change(bytes, [3], 'raw'), { parent, compress: false });
  const other = new Uint8Array(bytes);
  other.set(noise(blockSize, 'other'), 3 * blockSize);
  const useless = await pack(store, 'other', other, { parent });
  for (const image of [off, raw, useless]) t.like(image, { newBlocks: 1, deltaBlocks: 0 });
  t.false((await allEntries(store)).some((entry) => entry.base !== undefined));
});

test('delta: a block whose text changed wholly is stored as LZ4 when that is smaller', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(3 * blockSize, 'a');
  await pack(store, 'p1', bytes);
  const next = new Uint8Array(bytes);
  // Half of it stays: a difference of 32 KiB loses against 300 bytes.
  next.set(Buffer.alloc(blockSize, 'x'), blockSize);
  const image = await pack(store, 'p2', next, { parent: 'p1' });
  t.true(image.storedBytes < 1000, `${image.storedBytes} bytes`);
  await isWhole(t, store, 'p2', next);
});

test('delta: a base is never a difference, however many generations there are', async (t) => {
  const store = await temporaryStore(t);
  const images = [noise(12 * blockSize, 'a')];
  await pack(store, 'p0', images[0]!);
  for (let round = 1; round <= 5; round++) {
    images.push(change(images[round - 1]!, [2, round + 3], `round ${round}`));
    const image = await pack(store, `p${round}`, images[round]!, { parent: `p${round - 1}` });
    t.is(image.deltaBlocks, 2);
  }
  const entries = await allEntries(store);
  const full = new Set(entries.filter(({ base }) => !base).map(({ id }) => hex(id)));
  const deltas = entries.filter(({ base }) => base);
  t.is(deltas.length, 10);
  t.true(deltas.every(({ base }) => full.has(hex(base!))));
  for (const id of ['p0', 'p1', 'p2', 'p3', 'p4']) await store.delete(id);
  await store.gc();
  await isWhole(t, store, 'p5', images[5]!);
});

test('delta: deleting the parent never endangers the child, whose bases stay', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(20 * blockSize, 'a');
  await pack(store, 'p1', bytes);
  const next = change(bytes.subarray(0, 4 * blockSize), [0, 1], 'second');
  await pack(store, 'p2', next, { parent: 'p1' });
  await store.delete('p1');
  const report = await store.gc();
  t.is(report.rewrittenSegments, 1, 'of the parent the bases and what is shared are left');
  t.is(report.copiedBytes, 4 * blockSize);
  await isWhole(t, store, 'p2', next);
  await store.delete('p2');
  await store.gc();
  t.deepEqual(await readdir(join(store.folder, 'segments')), []);
});

test('delta: a collection that copies differences carries their bases over', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(4 * blockSize, 'a');
  await pack(store, 'p1', bytes);
  const changed = change(bytes, [1, 2], 'second');
  const much = new Uint8Array(20 * blockSize);
  much.set(changed);
  much.set(noise(16 * blockSize, 'more'), 4 * blockSize);
  await pack(store, 'p2', much, { parent: 'p1' });
  await pack(store, 'p3', changed);
  await store.delete('p1');
  await store.delete('p2');
  const { freedBytes } = await store.gc({ dryRun: true });
  t.like(await store.gc(), { rewrittenSegments: 1, freedBytes });
  const deltas = (await allEntries(store)).filter(({ base }) => base);
  t.is(deltas.length, 2);
  await isWhole(t, store, 'p3', changed);
});

test('delta: one that nothing needs may outlive its base, and is never relied on again', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(blockSize, 'a');
  await pack(store, 'p1', bytes);
  const changed = change(bytes, [0], 'second');
  const more = noise(9 * blockSize, 'more');
  await pack(store, 'p2', Buffer.concat([changed, more]), { parent: 'p1' });
  await pack(store, 'p3', more);
  await store.delete('p1');
  await store.delete('p2');
  t.like(await store.gc(), { rewrittenSegments: 0 });
  t.is((await allEntries(store)).filter(({ base }) => base).length, 1, 'it is still there');
  await isWhole(t, store, 'p3', more);
  const again = await pack(store, 'p4', changed);
  t.like(again, { newBlocks: 1, deltaBlocks: 0 });
  await isWhole(t, store, 'p4', changed);
  await store.gc();
  await isWhole(t, store, 'p4', changed);
});

class SlowSource extends MemorySource {
  readonly gate = Promise.withResolvers<void>();
  readonly begun = Promise.withResolvers<void>();
  override async read(offset: number, target: Uint8Array): Promise<void> {
    this.begun.resolve();
    await this.gate.promise;
    await super.read(offset, target);
  }
}

test('delta: a base in a segment that is marked for deletion is not used', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(10 * blockSize, 'a');
  await pack(store, 'p1', bytes);
  await store.delete('p1');
  const source = new SlowSource(bytes);
  const writing = store.pack([{ name: 'd', source }], { packageId: 'p2' });
  await source.begun.promise;
  const other = await openStore(t, store.folder);
  t.is((await other.gc()).waitingSegments, 2);
  source.gate.resolve();
  await writing;
  const next = change(bytes, [3], 'second');
  const image = await pack(other, 'p3', next, { parent: 'p2' });
  t.is(image.deltaBlocks, 0);
  await other.delete('p2');
  await other.gc();
  await isWhole(t, other, 'p3', next);
});

test('delta: a damaged block of the parent is no base, and is told', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(10 * blockSize, 'a');
  await pack(store, 'p1', bytes);
  await damageBlock(store, 3);
  const next = change(bytes, [3, 4], 'second');
  const image = await pack(store, 'p2', next, { parent: 'p1' });
  t.like(image, { newBlocks: 2, deltaBlocks: 1, damagedBases: 1 });
  sameBytes(t, (await unpackBytes(store, 'p2', 'd')).bytes, next);
});

/** Changes a byte of a raw block of the only segment of blocks. */
async function damageBlock(store: Store, block: number): Promise<void> {
  const found = (await readIndexes(store)).find(({ entries }) => entries[0]!.kind === 1)!;
  const path = join(store.folder, 'segments', found.name.replace('.index', '.segment'));
  const bytes = await readFile(path);
  bytes[found.entries[block]!.offset + 500]! ^= 1;
  await writeFile(path, bytes);
}

/** Packs a child with two differences and rewrites its index as a liar would. */
async function lie(t: ExecutionContext, forge: (index: IndexFile, bases: Buffer) => void) {
  const store = await temporaryStore(t);
  const bytes = noise(10 * blockSize, 'a');
  await pack(store, 'p1', bytes);
  await pack(store, 'p2', change(bytes, [3, 4], 'second'), { parent: 'p1' });
  const index = (await readIndexes(store)).find(({ baseCount }) => baseCount > 0)!;
  const end = indexHeaderBytes + index.entries.length * entryBytes;
  forge(index, index.bytes.subarray(end));
  const id = hex(hash(index.bytes));
  const old = index.name.replace('.index', '');
  await writeFile(join(store.folder, 'indexes', `${id}.index`), index.bytes);
  await rename(
    join(store.folder, 'segments', `${old}.segment`),
    join(store.folder, 'segments', `${id}.segment`),
  );
  await rename(
    join(store.folder, 'indexes', index.name),
    join(store.folder, `forged-${index.name}`),
  );
  return await openStore(t, store.folder);
}

const lies: [string, (index: IndexFile, bases: Buffer) => void, string][] = [
  ['is not stored', (_, bases) => bases.fill(9, 32, 64), 'OBJECT_MISSING'],
  [
    'is itself a difference',
    ({ entries }, bases) => bases.set(entries[1]!.id, 32),
    'OBJECT_MISSING',
  ],
  ['is another block', (_, bases) => bases.copyWithin(32, 0, 32), 'OBJECT_DAMAGED'],
];
for (const [what, forge, reason] of lies) {
  test(`delta: one whose base ${what} is damage with a place`, async (t) => {
    const store = await lie(t, forge);
    const report = await store.verify();
    t.is(report.damageCount, 1, JSON.stringify(report.damages));
    const place = { packageId: 'p2', image: 'd', offset: 3 * blockSize, length: blockSize };
    t.like(report.damages[0], { ...place, reason });
    const error = await throwsReason(t, () => unpackBytes(store, 'p2', 'd'), 'PACKAGE_DAMAGED');
    t.regex(error.message, /"p2", image "d"/);
    await t.notThrowsAsync(() => unpackBytes(store, 'p1', 'd'));
  });
}

test('delta: a damaged base is damage of every package that needs it', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(10 * blockSize, 'a');
  await pack(store, 'p1', bytes);
  await pack(store, 'p2', change(bytes, [3], 'second'), { parent: 'p1' });
  await damageParent(store);
  const { damages } = await store.verify();
  const places = damages.map(({ packageId, offset }) => `${packageId} ${offset! / blockSize}`);
  t.deepEqual([...new Set(places)].sort(), ['p1 3', 'p2 3']);
  await throwsReason(t, () => unpackBytes(store, 'p2', 'd'), 'PACKAGE_DAMAGED');
});

async function damageParent(store: Store): Promise<void> {
  const files = await readIndexes(store);
  const found = files.find(({ entries }) => entries.length === 10)!;
  const path = join(store.folder, 'segments', found.name.replace('.index', '.segment'));
  const bytes = await readFile(path);
  bytes[found.entries[3]!.offset + 500]! ^= 1;
  await writeFile(path, bytes);
}

test('zstd: blocks are stored, verified and restored, and are bases as well', async (t) => {
  const store = await temporaryStore(t);
  const text = Buffer.alloc(6 * blockSize);
  for (let at = 0; at < text.length; at += 40) text.write(`${at * 7919} in a line`, at);
  const bytes = new Uint8Array(Buffer.concat([text, noise(2 * blockSize, 'a')]));
  const compress = { zstdLevel: 4 };
  const lz4 = await pack(await temporaryStore(t), 'p1', bytes);
  const zstd = await pack(store, 'p1', bytes, { compress });
  t.true(zstd.storedBytes < lz4.storedBytes, `${zstd.storedBytes} < ${lz4.storedBytes}`);
  const kinds = (await allEntries(store)).filter(({ kind }) => kind === 1);
  t.deepEqual([...new Set(kinds.map((entry) => entry.encoding))].sort(), [
    encoding.raw,
    encoding.zstd,
  ]);
  await isWhole(t, store, 'p1', bytes);
  const next = change(bytes, [1, 7], 'second');
  t.is((await pack(store, 'p2', next, { compress, parent: 'p1' })).deltaBlocks, 2);
  await isWhole(t, store, 'p2', next);
});
