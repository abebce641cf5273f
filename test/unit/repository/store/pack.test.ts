import test from 'ava';
import {
  blockSize,
  MemorySource,
  makeImage,
  noise,
  sameBytes,
  temporaryStore,
  throwsReason,
  unpackBytes,
} from './support.ts';

const sizeBytes = 40 * blockSize + 1000;

test('pack: an image comes back byte for byte', async (t) => {
  const store = await temporaryStore(t);
  const bytes = makeImage(sizeBytes, 'a');
  const made = await store.pack([{ name: 'disk.raw', source: new MemorySource(bytes) }]);
  const { bytes: back, state, result } = await unpackBytes(store, made.package, 'disk.raw');
  sameBytes(t, back, bytes);
  t.is(state, 'finished');
  t.is(result.logicalBytes, sizeBytes);
});

test('pack: the report counts blocks, bytes read and what was stored', async (t) => {
  const store = await temporaryStore(t);
  const bytes = makeImage(10 * blockSize, 'a');
  const { images } = await store.pack([{ name: 'd', source: new MemorySource(bytes) }]);
  const [image] = images;
  t.like(image, {
    name: 'd',
    logicalBytes: 10 * blockSize,
    bytesRead: 10 * blockSize,
    blocks: 10,
    newBlocks: 8,
    newPages: 1,
    sampledBlocks: 0,
    mapSource: 'full',
  });
});

test('pack: a child stores only the changed blocks and the pages above them', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(300 * blockSize, 'a');
  const first = await store.pack([{ name: 'd', source: new MemorySource(bytes) }]);
  t.like(first.images[0], { newBlocks: 300, newPages: 4 });
  const next = new Uint8Array(bytes);
  next[200 * blockSize + 5]! ^= 1;
  const source = new MemorySource(next);
  const options = { parent: first.package, delta: false };
  const second = await store.pack([{ name: 'd', source }], options);
  t.like(second.images[0], { newBlocks: 1, newPages: 2, mapSource: 'hash-scan' });
  t.is(second.images[0]!.storedBytes, blockSize + (8 + 128 * 32) + (8 + 3 * 32));
  const { bytes: back } = await unpackBytes(store, second.package, 'd');
  sameBytes(t, back, next);
});

test('pack: a changed map reads the blocks of the map and the samples, nothing else', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(200 * blockSize, 'a');
  const first = await store.pack([{ name: 'd', source: new MemorySource(bytes) }]);
  const next = new Uint8Array(bytes);
  next[150 * blockSize - 1]! ^= 1;
  next[150 * blockSize]! ^= 1;
  const source = new MemorySource(next);
  const changed = [{ start: 150 * blockSize - 1, length: 2 }];
  const second = await store.pack([{ name: 'd', source, changed }], {
    parent: first.package,
    samples: 10,
  });
  t.like(second.images[0], {
    mapSource: 'map',
    bytesRead: 2 * blockSize,
    sampledBlocks: 10,
    newBlocks: 2,
    newPages: 2,
  });
  t.is(
    source.reads.reduce((sum, { length }) => sum + length, 0),
    12 * blockSize,
  );
  const { bytes: back } = await unpackBytes(store, second.package, 'd');
  sameBytes(t, back, next);
});

test('pack: without samples a changed map reads nothing else at all', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(20 * blockSize, 'a');
  const first = await store.pack([{ name: 'd', source: new MemorySource(bytes) }]);
  const source = new MemorySource(bytes);
  const options = { parent: first.package, samples: 0 };
  const second = await store.pack([{ name: 'd', source, changed: [] }], options);
  t.like(second.images[0], { bytesRead: 0, sampledBlocks: 0, newBlocks: 0, newPages: 0 });
  t.deepEqual(source.reads, []);
});

test('pack: a map that hides a change is rejected, and all blocks are compared', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(20 * blockSize, 'a');
  const first = await store.pack([{ name: 'd', source: new MemorySource(bytes) }]);
  const next = new Uint8Array(bytes);
  next[7 * blockSize]! ^= 1;
  next[9 * blockSize]! ^= 1;
  const changed = [{ start: 9 * blockSize, length: 1 }];
  const source = new MemorySource(next);
  const second = await store.pack([{ name: 'd', source, changed }], { parent: first.package });
  t.like(second.images[0], { mapSource: 'map-rejected', newBlocks: 2, bytesRead: 20 * blockSize });
  t.regex(second.images[0]!.mapReason, new RegExp(`at byte ${7 * blockSize} differs`));
  const { bytes: back } = await unpackBytes(store, second.package, 'd');
  sameBytes(t, back, next);
});

test('pack: a map beyond the end of the image is MAP_OUT_OF_RANGE', async (t) => {
  const store = await temporaryStore(t);
  const bytes = noise(2 * blockSize + 1, 'a');
  const first = await store.pack([{ name: 'd', source: new MemorySource(bytes) }]);
  const changed = [{ start: 2 * blockSize, length: 2 }];
  const input = { name: 'd', source: new MemorySource(bytes), changed };
  const call = () => store.pack([input], { parent: first.package });
  const error = await throwsReason(t, call, 'MAP_OUT_OF_RANGE');
  t.like(error.metadata, { image: 'd', logicalBytes: String(2 * blockSize + 1) });
  t.is((await store.list()).packages.length, 1);
});

test('pack: a map without a parent is MAP_WITHOUT_PARENT', async (t) => {
  const store = await temporaryStore(t);
  const input = { name: 'd', source: new MemorySource(noise(5, 'a')), changed: [] };
  await throwsReason(t, () => store.pack([input]), 'MAP_WITHOUT_PARENT');
});

for (const [what, oldBytes, newBytes] of [
  ['grows by blocks', 10 * blockSize, 13 * blockSize],
  ['grows inside its last block', 10 * blockSize + 5, 10 * blockSize + 50],
  ['shrinks by blocks', 10 * blockSize, 7 * blockSize],
  ['shrinks inside a block', 10 * blockSize, 7 * blockSize + 3],
  ['grows from nothing', 0, 3 * blockSize],
  ['shrinks to nothing', 3 * blockSize, 0],
] as const) {
  test(`pack: an image that ${what} is whole, with an empty map`, async (t) => {
    const store = await temporaryStore(t);
    const all = noise(Math.max(oldBytes, newBytes), what);
    const parentBytes = all.slice(0, oldBytes);
    const first = await store.pack([{ name: 'd', source: new MemorySource(parentBytes) }]);
    const bytes = all.slice(0, newBytes);
    const input = { name: 'd', source: new MemorySource(bytes), changed: [] };
    const second = await store.pack([input], { parent: first.package });
    t.is(second.images[0]!.mapSource, 'map');
    const { bytes: back } = await unpackBytes(store, second.package, 'd');
    sameBytes(t, back, bytes);
  });
}

test('pack: holes that the source knows are never read', async (t) => {
  const store = await temporaryStore(t);
  const bytes = new Uint8Array(100 * blockSize);
  bytes.set(noise(blockSize, 'x'), 50 * blockSize);
  const source = new MemorySource(bytes, (block) => block !== 50);
  const { images } = await store.pack([{ name: 'd', source }]);
  t.like(images[0], { bytesRead: blockSize, newBlocks: 1 });
  t.deepEqual(source.reads, [{ offset: 50 * blockSize, length: blockSize }]);
});

test('pack: equal blocks are stored once, in one run and over all packages', async (t) => {
  const store = await temporaryStore(t);
  const block = noise(blockSize, 'same');
  const bytes = new Uint8Array(130 * blockSize);
  for (let at = 0; at < bytes.length; at += blockSize) bytes.set(block, at);
  const first = await store.pack([
    { name: 'a', source: new MemorySource(bytes) },
    { name: 'b', source: new MemorySource(bytes.slice(0, blockSize)) },
  ]);
  t.deepEqual(
    first.images.map(({ newBlocks }) => newBlocks),
    [1, 0],
  );
  const second = await store.pack([{ name: 'c', source: new MemorySource(bytes) }]);
  t.like(second.images[0], { newBlocks: 0, newPages: 0, storedBytes: 0, mapSource: 'full' });
});

test('pack: the same id with the same content returns the first package', async (t) => {
  const store = await temporaryStore(t);
  const bytes = makeImage(sizeBytes, 'a');
  const pack = () =>
    store.pack([{ name: 'd', source: new MemorySource(bytes) }], { packageId: 'p1' });
  const first = await pack();
  const second = await pack();
  t.true(first.isNew);
  t.false(second.isNew);
  t.deepEqual(second.manifest, first.manifest);
});

test('pack: the same id with another content is PACKAGE_EXISTS and changes nothing', async (t) => {
  const store = await temporaryStore(t);
  const options = { packageId: 'p1' };
  await store.pack([{ name: 'd', source: new MemorySource(noise(10, 'a')) }], options);
  const other = () =>
    store.pack([{ name: 'd', source: new MemorySource(noise(10, 'b')) }], options);
  await throwsReason(t, other, 'PACKAGE_EXISTS');
  const { bytes } = await unpackBytes(store, 'p1', 'd');
  sameBytes(t, bytes, noise(10, 'a'));
});

test('pack: an unknown parent is PACKAGE_UNKNOWN', async (t) => {
  const store = await temporaryStore(t);
  const input = { name: 'd', source: new MemorySource(noise(10, 'a')) };
  await throwsReason(t, () => store.pack([input], { parent: 'none' }), 'PACKAGE_UNKNOWN');
});

test('pack: a wrong name is refused with its field', async (t) => {
  const store = await temporaryStore(t);
  for (const name of ['', '.', '..', '/a', 'a//b', 'a/../b', 'a/', 'a\0b', 'x'.repeat(256)]) {
    const input = { name, source: new MemorySource(noise(10, 'a')) };
    const error = await throwsReason(t, () => store.pack([input]), 'FIELD_VIOLATION');
    t.is(error.metadata.field, 'images[0].name');
  }
});

test('pack: files, labels and notes of a package come back', async (t) => {
  const store = await temporaryStore(t);
  const files = [
    { name: 'vnfd.json', mediaType: 'application/json', bytes: Buffer.from('{"vnfd":1}') },
    { name: 'big', bytes: noise(3_000_000, 'big') },
    { name: 'empty', bytes: new Uint8Array(0) },
    // A file of exactly a block's bytes must not be mistaken for the block.
    { name: 'block', bytes: noise(blockSize, 'a') },
  ];
  const input = { name: 'm', role: 'memory', source: new MemorySource(noise(blockSize, 'a')) };
  await store.pack([{ ...input, sourceSnapshotId: 's-1', labels: { vdu: 'db' } }], {
    packageId: 'p',
    name: 'a package',
    kind: 'VNFC',
    labels: { a: '1' },
    files,
  });
  const reader = await store.openPackage('p');
  t.teardown(() => reader.close());
  t.like(reader.manifest, { name: 'a package', kind: 'VNFC', labels: { a: '1' } });
  t.like(reader.image('m').record, {
    role: 'memory',
    sourceSnapshotId: 's-1',
    labels: { vdu: 'db' },
  });
  for (const { name, bytes } of files) {
    sameBytes(t, await reader.file(name), bytes);
  }
  await throwsReason(t, () => reader.file('none'), 'FILE_NOT_FOUND');
});

test('pack: a file with the bytes of a stored block is not taken for the block', async (t) => {
  const store = await temporaryStore(t);
  const bytes = new Uint8Array(Buffer.alloc(blockSize, 'compressible '));
  await store.pack([{ name: 'd', source: new MemorySource(bytes) }]);
  await store.pack([], { packageId: 'p', files: [{ name: 'f', bytes }] });
  const reader = await store.openPackage('p');
  t.teardown(() => reader.close());
  sameBytes(t, await reader.file('f'), bytes);
});

test('pack: cancelling leaves nothing behind', async (t) => {
  const store = await temporaryStore(t);
  const controller = new AbortController();
  const input = { name: 'd', source: new MemorySource(noise(600 * blockSize, 'a')) };
  const call = store.pack([input], {
    signal: controller.signal,
    onProgress: () => controller.abort(new Error('enough')),
  });
  await t.throwsAsync(call, { message: 'enough' });
  t.deepEqual((await filesOf(store.folder)).sort(), ['repository.config', 'repository.reserve']);
});

test('pack: small segments are closed and found again', async (t) => {
  const store = await temporaryStore(t, { segmentBytesMax: 300_000 });
  const bytes = makeImage(sizeBytes, 'a');
  // The second half repeats the first, which lies in closed segments by then.
  const twice = Buffer.concat([
    bytes.subarray(0, 20 * blockSize),
    bytes.subarray(0, 20 * blockSize),
  ]);
  const { images } = await store.pack([{ name: 'd', source: new MemorySource(twice) }], {
    packageId: 'p',
  });
  t.is(images[0]!.newBlocks, 16);
  t.true((await filesOf(store.folder)).filter((name) => name.endsWith('.segment')).length > 2);
  const { bytes: back } = await unpackBytes(store, 'p', 'd');
  sameBytes(t, back, twice);
});

async function filesOf(folder: string): Promise<string[]> {
  const { readdir } = await import('node:fs/promises');
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
}
