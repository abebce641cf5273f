import test from 'ava';
import fc from 'fast-check';
import { formatId } from '../../../../plugins/repository/store/ids.ts';
import { type PageSource, Tree } from '../../../../plugins/repository/store/tree-reader.ts';
import { TreeWriter } from '../../../../plugins/repository/store/tree-writer.ts';
import { hash } from '../../../../wasm/host/blake3.ts';

const idSize = 32;

/** Pages in memory, with a count of those read. */
class Pages {
  readonly stored = new Map<string, Uint8Array>();
  reads = 0;
  async putPage(id: Uint8Array, bytes: Uint8Array): Promise<void> {
    this.stored.set(formatId(id), bytes);
  }
  get source(): PageSource {
    const readRecord = async (_kind: number, id: Uint8Array) => {
      this.reads += 1;
      const at = { entry: { offset: 0 } };
      return { bytes: this.stored.get(formatId(id))!, at } as Awaited<
        ReturnType<PageSource['readRecord']>
      >;
    };
    return { readRecord, segmentPath: () => 'memory' };
  }
}

/** Ids of an image: stretches of holes and of data, different for each `version`. */
function idsOf(blockCount: number, stretches: number[], version: string): Uint8Array {
  const ids = new Uint8Array(blockCount * idSize);
  let at = 0;
  for (const [index, length] of stretches.entries()) {
    const end = Math.min(blockCount, at + length);
    if (index % 2 === 0) {
      const id = hash(Buffer.from(`${version}/${index}`));
      for (; at < end; at++) ids.set(id, at * idSize);
    }
    at = end;
  }
  return ids;
}

async function treeOf(pages: Pages, ids: Uint8Array): Promise<Uint8Array> {
  const tree = new TreeWriter(pages, ids.length / idSize);
  await tree.append(ids);
  return await tree.finish();
}

const blockCount = fc.oneof(
  fc.constantFrom(1, 127, 128, 129, 256, 16_383, 16_384, 16_385, 16_512),
  fc.integer({ min: 1, max: 20_000 }),
);
const stretches = fc.array(fc.oneof(fc.nat(300), fc.nat(9000)), { maxLength: 8 });
const cuts = fc.array(fc.nat(20_000), { maxLength: 6 });

test('subtrees: a tree that keeps parts of its parent has the root of one made from the ids alone', async (t) => {
  const property = fc.asyncProperty(
    blockCount,
    fc.option(blockCount, { nil: undefined }),
    stretches,
    cuts,
    async (oldCount, newCount = oldCount, pattern, points) => {
      const pages = new Pages();
      const oldIds = idsOf(oldCount, pattern, 'old');
      const parent = new Tree(pages.source, await treeOf(pages, oldIds), oldCount);
      const newIds = idsOf(newCount, [20_000], 'new');
      const tree = new TreeWriter(pages, newCount);
      // By turns kept and changed; what is beyond the parent's end cannot be kept.
      const ends = [...points, newCount].map((point) => Math.min(point, newCount));
      let at = 0;
      for (const [index, end] of ends.sort((a, b) => a - b).entries()) {
        const kept = index % 2 === 0 ? Math.max(0, Math.min(end, oldCount) - at) : 0;
        for await (const subtree of parent.subtrees(at, kept, tree)) {
          await tree.appendSubtree(subtree);
        }
        newIds.set(oldIds.subarray(at * idSize, (at + kept) * idSize), at * idSize);
        await tree.append(newIds.subarray((at + kept) * idSize, end * idSize));
        at = end;
      }
      return formatId(await tree.finish()) === formatId(await treeOf(new Pages(), newIds));
    },
  );
  await t.notThrowsAsync(() => fc.assert(property, { numRuns: 150 }));
});

test('subtrees: a parent that is kept wholly is kept without reading more than its root', async (t) => {
  const pages = new Pages();
  const ids = new Uint8Array(16_384 * idSize).fill(7);
  const parent = new Tree(pages.source, await treeOf(pages, ids), 16_384);
  const tree = new TreeWriter(pages, 16_384);
  for await (const subtree of parent.subtrees(0, 16_384, tree)) await tree.appendSubtree(subtree);
  t.is(formatId(await tree.finish()), formatId(parent.root));
  t.is(pages.reads, 1);
});
