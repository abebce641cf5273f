import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { ImageInput, PackOptions, Store } from '../../../../plugins/repository/store/store.ts';
import { Code, RpcError } from '../../../../sdk/errors.ts';
import { type Clock, systemClock } from '../../../../sdk/ports/clock.ts';
import {
  blockSize,
  MemorySource,
  makeImage,
  noise,
  openStore,
  sameBytes,
  temporaryFolder,
  throwsReason,
  unpackBytes,
} from './support.ts';

const runBytes = 64 * blockSize;
const imageBytes = 10 * runBytes;
/** Checkpoints as often as possible, in segments that are small. */
const often = { checkpointMsMin: 0, checkpointBytesMin: runBytes, segmentBytesMax: 3_000_000 };

/** A source whose peer goes away after some reads. */
class LostSource extends MemorySource {
  left: number;
  constructor(bytes: Uint8Array, left: number) {
    super(bytes);
    this.left = left;
  }
  override async read(offset: number, target: Uint8Array): Promise<void> {
    if (this.left-- <= 0) throw new RpcError(Code.UNAVAILABLE, 'PEER_LOST', 'the peer is gone');
    await super.read(offset, target);
  }
}

async function newStore(t: ExecutionContext, options = {}): Promise<Store> {
  return await openStore(t, join(await temporaryFolder(t), 'repository'), { ...often, ...options });
}

const bytesOf = (source: MemorySource) => source.reads.reduce((sum, { length }) => sum + length, 0);

function input(source: MemorySource, more: Partial<ImageInput> = {}): ImageInput {
  return { name: 'd', source, fingerprint: 'same', ...more };
}

/** Packs until the peer is lost after `reads` reads. */
async function interrupt(
  t: ExecutionContext,
  store: Store,
  bytes: Uint8Array,
  reads: number,
  options: PackOptions = { packageId: 'p' },
  more: Partial<ImageInput> = {},
) {
  const source = new LostSource(bytes, reads);
  await throwsReason(t, () => store.pack([input(source, more)], options), 'PEER_LOST');
  t.deepEqual(await readdir(join(store.folder, 'tmp')), []);
}

/** The package is what an uninterrupted run makes, and nothing of the interruption is left. */
async function judge(t: ExecutionContext, store: Store, bytes: Uint8Array, id = 'p') {
  t.deepEqual(await store.listUnfinished(), []);
  t.deepEqual(await readdir(join(store.folder, 'resume')), []);
  t.deepEqual(await readdir(join(store.folder, 'tmp')), []);
  sameBytes(t, (await unpackBytes(store, id, 'd')).bytes, bytes);
  const other = await newStore(t);
  const whole = await other.pack([{ name: 'd', source: new MemorySource(bytes) }]);
  const record = (await store.manifest(id)).images[0]!;
  t.is(record.root, whole.manifest.images[0]!.root);
  t.deepEqual(record.written, { ...whole.manifest.images[0]!.written, ...taken(record.written) });
  await store.gc();
  t.true((await store.verify()).isWhole);
  sameBytes(t, (await unpackBytes(store, id, 'd')).bytes, bytes);
}

// What a run read twice, or stored and did not get to note, is counted twice.
function taken({
  bytesRead,
  sampledBlocks,
  storedBytes,
  newPages,
  newBlocks,
}: Record<string, number>) {
  return { bytesRead, sampledBlocks, storedBytes, newPages, newBlocks };
}

test('pack: an interrupted one goes on where it was, and the package is the same', async (t) => {
  const store = await newStore(t);
  const bytes = makeImage(imageBytes + 12_345, 'a');
  await interrupt(t, store, bytes, 7);
  const [left, ...others] = await store.listUnfinished();
  t.deepEqual(others, []);
  t.like(left, { key: 'id-p', packageId: 'p', images: ['d'] });
  t.deepEqual((await store.list()).packages, []);
  const source = new MemorySource(bytes);
  const result = await store.pack([input(source)], { packageId: 'p' });
  t.is(result.resumedBytes, left!.doneBytes);
  t.true(result.resumedBytes >= 3 * runBytes, `${result.resumedBytes}`);
  t.is(result.restartReason, undefined);
  t.is(result.bytesRead, bytes.length - result.resumedBytes);
  t.true(bytesOf(source) <= result.bytesRead + 16 * blockSize, 'no more than the samples besides');
  await judge(t, store, bytes);
});

test('pack: without an id it is found again by what was asked for', async (t) => {
  const store = await newStore(t);
  const bytes = makeImage(imageBytes, 'a');
  await interrupt(t, store, bytes, 7, {});
  const { packageId } = (await store.listUnfinished())[0]!;
  const other = new MemorySource(bytes);
  const compressed = await store.pack([input(other)], { compress: false });
  t.is(compressed.resumedBytes, 0);
  t.not(compressed.package, packageId);
  const result = await store.pack([input(new MemorySource(bytes))]);
  t.true(result.resumedBytes > 0);
  t.is(result.package, packageId);
  await judge(t, store, bytes, packageId);
});

test('pack: a source that was changed, or cannot tell, starts anew and says why', async (t) => {
  const store = await newStore(t);
  const bytes = makeImage(imageBytes, 'a');
  const next = makeImage(imageBytes, 'b');
  const cases = [
    { fingerprint: 'other', why: /memory was changed since/ },
    { fingerprint: undefined, why: /cannot be told from a changed one/ },
    // A fingerprint that lies: the samples find it.
    { fingerprint: 'same', why: /has other bytes at \d+ than were packed/ },
  ];
  for (const [index, { fingerprint, why }] of cases.entries()) {
    const packageId = `p${index}`;
    await interrupt(t, store, bytes, 7, { packageId });
    const image = {
      name: 'd',
      source: new MemorySource(next),
      ...(fingerprint && { fingerprint }),
    };
    const result = await store.pack([image], { packageId });
    t.is(result.resumedBytes, 0);
    t.regex(result.restartReason!, why);
    sameBytes(t, (await unpackBytes(store, packageId, 'd')).bytes, next);
    t.deepEqual(await store.listUnfinished(), []);
  }
});

test('pack: another request under the same id starts anew', async (t) => {
  const store = await newStore(t);
  const bytes = makeImage(imageBytes, 'a');
  await interrupt(t, store, bytes, 7);
  const options = { packageId: 'p', compress: false };
  const result = await store.pack([input(new MemorySource(bytes))], options);
  t.is(result.restartReason, 'what was asked for is something else');
  t.is(result.resumedBytes, 0);
  sameBytes(t, (await unpackBytes(store, 'p', 'd')).bytes, bytes);
});

test('pack: an image that was done is not read again but for its samples', async (t) => {
  const store = await newStore(t);
  const [first, second] = [makeImage(imageBytes, 'a'), makeImage(imageBytes, 'b')];
  const images = (a: MemorySource, b: MemorySource) => [
    input(a, { name: 'a' }),
    input(b, { name: 'b' }),
  ];
  const begun = images(new MemorySource(first), new LostSource(second, 3));
  await throwsReason(t, () => store.pack(begun, { packageId: 'p' }), 'PEER_LOST');
  const sources = [new MemorySource(first), new MemorySource(second)] as const;
  const result = await store.pack(images(...sources), { packageId: 'p' });
  t.true(result.resumedBytes >= imageBytes);
  t.true(bytesOf(sources[0]) <= 16 * blockSize);
  sameBytes(t, (await unpackBytes(store, 'p', 'a')).bytes, first);
  sameBytes(t, (await unpackBytes(store, 'p', 'b')).bytes, second);
});

test('pack: cancelled it keeps what it did; without resume it leaves nothing', async (t) => {
  const store = await newStore(t);
  const bytes = makeImage(imageBytes, 'a');
  const cancelled = async (resume: boolean) => {
    const controller = new AbortController();
    const onProgress = ({ doneBytes }: { doneBytes: number }) => {
      if (doneBytes > imageBytes / 2) controller.abort();
    };
    const options = { packageId: 'p', resume, onProgress, signal: controller.signal };
    const source = input(new MemorySource(bytes));
    await t.throwsAsync(store.pack([source], options), { name: 'AbortError' });
    t.deepEqual(await readdir(join(store.folder, 'tmp')), []);
  };
  await cancelled(true);
  t.is((await store.listUnfinished()).length, 1);
  await cancelled(false);
  t.deepEqual(await store.listUnfinished(), []);
  await store.gc();
  t.deepEqual(await readdir(join(store.folder, 'segments')), []);
});

test('pack: with a map it goes on; a map that was rejected stays so', async (t) => {
  const store = await newStore(t);
  const before = makeImage(imageBytes, 'a');
  await store.pack([input(new MemorySource(before))], { packageId: 'p0' });
  const bytes = new Uint8Array(before);
  bytes.set(noise(7 * runBytes, 'b'), runBytes);
  const honest = [{ start: runBytes, length: 7 * runBytes }];
  const options = { packageId: 'p', parent: 'p0', samples: 8 };
  await interrupt(t, store, bytes, 8 + 5, options, { changed: honest });
  const result = await store.pack([input(new MemorySource(bytes), { changed: honest })], options);
  t.true(result.resumedBytes > runBytes);
  t.is(result.images[0]!.mapSource, 'map');
  sameBytes(t, (await unpackBytes(store, 'p', 'd')).bytes, bytes);
  // All but one of the changed blocks are kept secret.
  const lying = [{ start: runBytes, length: blockSize }];
  const second = { ...options, packageId: 'p2' };
  await interrupt(t, store, bytes, 8 + 6, second, { changed: lying });
  const again = await store.pack([input(new MemorySource(bytes), { changed: lying })], second);
  t.true(again.resumedBytes > 0);
  t.is(again.images[0]!.mapSource, 'map-rejected');
  sameBytes(t, (await unpackBytes(store, 'p2', 'd')).bytes, bytes);
});

test('pack: two at once never use one checkpoint, and both succeed', async (t) => {
  const store = await newStore(t);
  const bytes = makeImage(imageBytes, 'a');
  await interrupt(t, store, bytes, 7);
  const results = await Promise.all(
    [0, 1, 2].map(() => store.pack([input(new MemorySource(bytes))], { packageId: 'p' })),
  );
  t.true(results.filter(({ resumedBytes }) => resumedBytes > 0).length <= 1);
  t.is(results.filter(({ isNew }) => isNew).length, 1);
  await judge(t, store, bytes);
});

/** The clock of this machine, some time later. */
function clockAhead(days: number): Clock {
  return { ...systemClock, now: () => new Date(Date.now() + days * 86_400_000) };
}

test('gc: it takes nothing of an unfinished package before its week is over', async (t) => {
  const store = await newStore(t);
  const bytes = makeImage(imageBytes, 'a');
  await interrupt(t, store, bytes, 7);
  const early = await openStore(t, store.folder, { ...often, clock: clockAhead(6.9) });
  t.like(await early.gc({ rewriteThreshold: 0.01 }), { unfinished: 1, forgotten: 0 });
  t.true((await store.verify()).isWhole);
  await interrupt(t, store, bytes, 16 + 2);
  const result = await store.pack([input(new MemorySource(bytes))], { packageId: 'p' });
  t.true(result.resumedBytes >= 3 * runBytes);
  await judge(t, store, bytes);
  await store.delete('p');
  await interrupt(t, store, bytes, 7);
  const late = await openStore(t, store.folder, { ...often, clock: clockAhead(7.1) });
  t.like(await late.gc(), { unfinished: 0, forgotten: 1 });
  t.deepEqual(await readdir(join(store.folder, 'segments')), []);
  const anew = await store.pack([input(new MemorySource(bytes))], { packageId: 'p' });
  t.is(anew.resumedBytes, 0);
  await judge(t, store, bytes);
});

test('gc, delete: an unfinished package is forgotten when asked, and its space comes back', async (t) => {
  const store = await newStore(t);
  const bytes = makeImage(imageBytes, 'a');
  for (const forget of [
    async () => t.like(await store.gc({ forgetUnfinished: true }), { forgotten: 1 }),
    async () => {
      await store.delete('p');
      await store.gc();
    },
  ]) {
    await interrupt(t, store, bytes, 7);
    t.true((await readdir(join(store.folder, 'segments'))).length > 0);
    await forget();
    t.deepEqual(await store.listUnfinished(), []);
    t.deepEqual(await readdir(join(store.folder, 'segments')), []);
  }
  await throwsReason(t, () => store.delete('p'), 'PACKAGE_UNKNOWN');
});

test('gc: beside a run that goes on it leaves that run its checkpoint', async (t) => {
  const store = await newStore(t);
  const bytes = makeImage(imageBytes, 'a');
  await interrupt(t, store, bytes, 7);
  let collected: Promise<unknown> | undefined;
  const onProgress = ({ doneBytes }: { doneBytes: number }) => {
    if (doneBytes > imageBytes * 0.8) collected ??= store.gc({ forgetUnfinished: true });
  };
  const result = await store.pack([input(new MemorySource(bytes))], { packageId: 'p', onProgress });
  t.like(await collected, { forgotten: 0, unfinished: 1 });
  t.true(result.resumedBytes > 0);
  await judge(t, store, bytes);
});

test('pack: a checkpoint that is damaged, or misses what it names, is not believed', async (t) => {
  const store = await newStore(t);
  const bytes = makeImage(imageBytes, 'a');
  await interrupt(t, store, bytes, 7);
  const path = join(store.folder, 'resume/id-p.checkpoint');
  await writeFile(path, Buffer.concat([await readFile(path), Buffer.from('x')]));
  const result = await store.pack([input(new MemorySource(bytes))], { packageId: 'p' });
  t.regex(result.restartReason!, /does not have the digest/);
  await judge(t, store, bytes);
  await store.delete('p');
  await store.gc();
  await interrupt(t, store, bytes, 7);
  const kept = await readFile(path);
  await store.gc({ forgetUnfinished: true });
  await writeFile(path, kept);
  const again = await store.pack([input(new MemorySource(bytes))], { packageId: 'p' });
  t.regex(again.restartReason!, /nothing whole has the id/);
  await judge(t, store, bytes);
});

test('pack: a run that cannot succeed when repeated keeps nothing', async (t) => {
  const store = await newStore(t);
  await store.pack([input(new MemorySource(noise(blockSize, 'x')))], { packageId: 'p' });
  const source = new MemorySource(makeImage(imageBytes, 'a'));
  await throwsReason(t, () => store.pack([input(source)], { packageId: 'p' }), 'PACKAGE_EXISTS');
  t.deepEqual(await store.listUnfinished(), []);
});

test('compose: an interrupted import goes on, and images that were done need no source', async (t) => {
  const store = await newStore(t);
  const [first, second] = [makeImage(imageBytes, 'a'), makeImage(imageBytes, 'b')];
  const options = { packageId: 'p', identity: 'the archive' };
  const begun = await store.compose(options);
  await begun.addImage({ name: 'a', source: new MemorySource(first) });
  const lost = new LostSource(second, 4);
  const error = await throwsReason(
    t,
    () => begun.addImage({ name: 'b', source: lost }),
    'PEER_LOST',
  );
  await begun.abort(error);
  t.deepEqual(await readdir(join(store.folder, 'tmp')), []);
  const other = await store.compose({ ...options, identity: 'another archive', resume: true });
  t.is(await other.addDone({ name: 'a' }), undefined);
  await other.abort();
  const again = await store.compose(options);
  t.truthy((await again.addDone({ name: 'a' }))?.root);
  t.is(await again.addDone({ name: 'b' }), undefined);
  const source = new MemorySource(second);
  await again.addImage({ name: 'b', source });
  t.true(again.resumedBytes > imageBytes);
  t.true(bytesOf(source) < imageBytes);
  await again.publish();
  sameBytes(t, (await unpackBytes(store, 'p', 'a')).bytes, first);
  sameBytes(t, (await unpackBytes(store, 'p', 'b')).bytes, second);
  t.deepEqual(await store.listUnfinished(), []);
});
