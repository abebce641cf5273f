import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import type { SourceExtent } from '../../../../plugins/repository/sources/source.ts';
import { holeId } from '../../../../plugins/repository/store/ids.ts';
import { levelsOf } from '../../../../plugins/repository/store/tree-page.ts';
import { TreeWriter } from '../../../../plugins/repository/store/tree-writer.ts';
import { blockSize, MemorySource, makeImage, noise, sameBytes, temporaryStore } from './support.ts';

/** An image of any size that is zero but for some blocks. */
class SparseSource extends MemorySource {
  override readonly sizeBytes: number;
  private readonly blocks: Map<number, Uint8Array>;
  constructor(sizeBytes: number, blocks: Map<number, Uint8Array>) {
    super(new Uint8Array(0));
    this.sizeBytes = sizeBytes;
    this.blocks = blocks;
  }
  override async *extents(): AsyncGenerator<SourceExtent> {
    let offset = 0;
    for (const block of [...this.blocks.keys()].sort((a, b) => a - b)) {
      yield { offset, length: block * blockSize - offset, kind: 'zero' };
      yield { offset: block * blockSize, length: blockSize, kind: 'data' };
      offset = (block + 1) * blockSize;
    }
    yield { offset, length: this.sizeBytes - offset, kind: 'zero' };
  }
  override async read(offset: number, target: Uint8Array): Promise<void> {
    target.fill(0);
    for (let at = 0; at < target.length; at += blockSize) {
      const block = this.blocks.get((offset + at) / blockSize);
      if (block) target.set(block, at);
    }
  }
}

test('tree: levels grow by powers of 128', (t) => {
  const counts = [0, 1, 128, 129, 128 ** 2, 128 ** 2 + 1, 128 ** 3, 128 ** 3 + 1, 2 ** 32];
  t.deepEqual(counts.map(levelsOf), [0, 1, 1, 2, 2, 3, 3, 4, 5]);
});

test('tree: holes appended together or one by one give the same root', async (t) => {
  const id = noise(32, 'id');
  const blockCount = 128 * 128 + 300;
  const roots: Buffer[] = [];
  for (const step of [1, 7, 128, 5000]) {
    const pages = new Map<string, Uint8Array>();
    const sink = {
      putPage: async (page: Uint8Array, bytes: Uint8Array) => {
        pages.set(Buffer.from(page).toString('hex'), bytes);
      },
    };
    const tree = new TreeWriter(sink, blockCount);
    await tree.append(id);
    for (let left = blockCount - 2; left > 0; left -= step) {
      await tree.appendHoles(Math.min(step, left));
    }
    await tree.append(id);
    roots.push(Buffer.from(await tree.finish()));
    t.is(pages.size, 5);
  }
  t.true(roots.every((root) => root.equals(roots[0]!)));
});

test('tree: an image of holes has no page', async (t) => {
  const sink = { putPage: async () => t.fail('a page of holes was stored') };
  const tree = new TreeWriter(sink, 128 ** 3);
  await tree.appendHoles(128 ** 3);
  t.deepEqual(await tree.finish(), holeId);
});

test('tree: 20 TiB with four blocks are packed, read, compared and verified', async (t) => {
  const store = await temporaryStore(t);
  const sizeBytes = 20 * 2 ** 40 + 5 * blockSize + 7;
  const last = Math.floor(sizeBytes / blockSize) - 1;
  const at = [0, 12_345_678, 128 ** 4, last];
  const blocks = new Map(at.map((block) => [block, noise(blockSize, String(block))]));
  const source = new SparseSource(sizeBytes, blocks);
  const first = await store.pack([{ name: 'd', source }], { packageId: 'p1' });
  t.like(first.images[0], { newBlocks: 4, bytesRead: 4 * blockSize });
  t.true(first.images[0]!.newPages < 20);
  blocks.set(99_999, noise(blockSize, 'new'));
  const changed = [{ start: 99_999 * blockSize, length: 1 }];
  const options = { packageId: 'p2', parent: 'p1' };
  const second = await store.pack(
    [{ name: 'd', source: new SparseSource(sizeBytes, blocks), changed }],
    options,
  );
  t.like(second.images[0], { mapSource: 'map', newBlocks: 1, bytesRead: blockSize });
  const [diff] = await store.diff('p1', 'p2');
  t.deepEqual(diff!.ranges, [{ start: 99_999 * blockSize, length: blockSize }]);
  t.true((await store.verify()).isWhole);
  const reader = await store.openPackage('p2');
  t.teardown(() => reader.close());
  const bytes = new Uint8Array(3 * blockSize);
  await reader.image('d').read((12_345_678 - 1) * blockSize + 5, bytes);
  sameBytes(t, bytes.subarray(blockSize - 5, 2 * blockSize - 5), blocks.get(12_345_678)!);
});

test('diff: images that were added, removed, grown and changed', async (t) => {
  const store = await temporaryStore(t);
  const image = (seed: string, blocks: number) => new MemorySource(noise(blocks * blockSize, seed));
  const grown = new Uint8Array(200 * blockSize);
  grown.set(noise(100 * blockSize, 'g'));
  grown.set(noise(blockSize, 'tail'), 199 * blockSize);
  const changed = noise(10 * blockSize, 'c');
  changed[3 * blockSize]! ^= 1;
  changed[5 * blockSize - 1]! ^= 1;
  await store.pack(
    [
      { name: 'same', source: image('s', 3) },
      { name: 'gone', source: image('x', 2) },
      { name: 'grown', source: image('g', 100) },
      { name: 'changed', source: image('c', 10) },
      { name: 'empty', source: image('e', 0) },
    ],
    { packageId: 'a' },
  );
  await store.pack(
    [
      { name: 'same', source: image('s', 3) },
      { name: 'grown', source: new MemorySource(grown) },
      { name: 'changed', source: new MemorySource(changed) },
      { name: 'added', source: image('y', 1) },
      { name: 'empty', source: image('e', 2) },
    ],
    { packageId: 'b' },
  );
  const diffs = new Map((await store.diff('a', 'b')).map((diff) => [diff.name, diff]));
  t.like(diffs.get('same'), { status: 'equal', changedBytes: 0, ranges: [] });
  t.like(diffs.get('gone'), { status: 'removed', changedBytes: 2 * blockSize });
  t.like(diffs.get('added'), { status: 'added', changedBytes: blockSize });
  t.like(diffs.get('changed'), {
    status: 'changed',
    ranges: [{ start: 3 * blockSize, length: 2 * blockSize }],
  });
  t.like(diffs.get('grown'), {
    oldBytes: 100 * blockSize,
    newBytes: 200 * blockSize,
    ranges: [{ start: 199 * blockSize, length: blockSize }],
  });
  t.like(diffs.get('empty'), { status: 'changed', changedBytes: 2 * blockSize });
});

test('image: what is exported for copying are the stored blocks, in order', async (t) => {
  const store = await temporaryStore(t);
  const bytes = makeImage(140 * blockSize + 5, 'a');
  await store.pack([{ name: 'd', source: new MemorySource(bytes) }], { packageId: 'p' });
  const reader = await store.openPackage('p');
  t.teardown(() => reader.close());
  const { decompressBlock } = await import('../../../../wasm/host/blocks.ts');
  const back = new Uint8Array(141 * blockSize);
  const kinds = new Set<string>();
  for await (const { index, encoding, bytes: stored } of reader.image('d').checkedBlocks()) {
    kinds.add(encoding);
    const plain = encoding === 'raw' ? stored : decompressBlock(stored, blockSize);
    back.set(plain, index * blockSize);
  }
  sameBytes(t, back.subarray(0, bytes.length), bytes);
  t.deepEqual([...kinds].sort(), ['lz4', 'raw']);
});

test('image: reading at any offset', async (t) => {
  const store = await temporaryStore(t);
  const bytes = makeImage(140 * blockSize + 5, 'a');
  await store.pack([{ name: 'd', source: new MemorySource(bytes) }], { packageId: 'p' });
  const reader = await store.openPackage('p');
  t.teardown(() => reader.close());
  for (const [offset, length] of [
    [0, 1],
    [bytes.length - 1, 1],
    [blockSize - 1, 2],
    [4 * blockSize - 3, blockSize + 6],
    [60 * blockSize + 9, 75 * blockSize],
    [3, 0],
  ] as const) {
    const target = new Uint8Array(length);
    await reader.image('d').read(offset, target);
    sameBytes(t, target, bytes.subarray(offset, offset + length));
  }
  const beyond = reader.image('d').read(bytes.length - 1, new Uint8Array(2));
  t.like(await t.throwsAsync(beyond), { reason: 'RANGE_OUT_OF_IMAGE' });
});

test('store: packs, readers and a collection side by side in one process', async (t) => {
  const store = await temporaryStore(t, { segmentBytesMax: 500_000 });
  const images = [0, 1, 2, 3].map((number) =>
    makeImage((20 + number) * blockSize, `i${number % 2}`),
  );
  await Promise.all([
    ...images.map((bytes, number) =>
      store.pack([{ name: 'd', source: new MemorySource(bytes) }], { packageId: `p${number}` }),
    ),
    store.gc(),
  ]);
  const bytes = images.map((image) => new Uint8Array(image.length));
  await Promise.all([
    store.gc(),
    ...bytes.map(async (target, number) => {
      const reader = await store.openPackage(`p${number}`);
      await reader.image('d').read(0, target);
      await reader.close();
    }),
  ]);
  for (const [number, target] of bytes.entries()) sameBytes(t, target, images[number]!);
  t.deepEqual(await readdir(join(store.folder, 'tmp')), []);
  t.true((await store.verify()).isWhole);
});
