/**
 * What differs between two packages, from their trees alone: no block is read, and equal subtrees
 * are skipped.
 */
import { failedPrecondition } from '../../../sdk/errors.ts';
import type { BlockRange, ByteRange } from './change-map.ts';
import { bytesOfChunks } from './cut-source.ts';
import { holeId, idAt, isHole, sameId } from './ids.ts';
import { blockSize, idSize, pageFanOut } from './limits.ts';
import type { ImageRecord } from './manifest.ts';
import type { PackageReader } from './package-reader.ts';
import { blocksPerId } from './tree-page.ts';
import type { Tree } from './tree-reader.ts';

/** Ranges that one image's result lists; more are counted in the bytes only. */
export const diffRangesMax = 100_000;

export type ImageDiff = {
  name: string;
  status: 'equal' | 'changed' | 'added' | 'removed';
  /** Sizes in bytes; absent where the package does not have the image. */
  oldBytes?: number;
  newBytes?: number;
  /** Bytes in changed blocks, up to the end of the larger image. */
  changedBytes: number;
  /** Sorted, joined, whole blocks. At most 100,000; `isCut` when there are more. */
  ranges: ByteRange[];
  isCut: boolean;
};

/**
 * Compares the images of two open packages name by name, or, when each has one, these two. Beyond
 * its end an image counts as zeros.
 */
export async function diffPackages(a: PackageReader, b: PackageReader): Promise<ImageDiff[]> {
  if (a.manifest.images.length === 1 && b.manifest.images.length === 1) {
    const [from, to] = [a.manifest.images[0]!, b.manifest.images[0]!];
    return [await diffImage(to.name, a.image(from.name).tree, b.image(to.name).tree, from, to)];
  }
  const names = new Set([...a.manifest.images, ...b.manifest.images].map(({ name }) => name));
  const diffs: ImageDiff[] = [];
  for (const name of names) {
    const [from, to] = [recordOf(a, name), recordOf(b, name)];
    if (from && to)
      diffs.push(await diffImage(name, a.image(name).tree, b.image(name).tree, from, to));
    else diffs.push(oneSided(name, from, to));
  }
  return diffs;
}

async function diffImage(
  name: string,
  a: Tree,
  b: Tree,
  from: ImageRecord,
  to: ImageRecord,
): Promise<ImageDiff> {
  refuseOtherChunks(name, from, to);
  const end = Math.max(from.logicalBytes, to.logicalBytes);
  const ranges: ByteRange[] = [];
  const isCut = to.chunking !== undefined;
  let changedBytes = 0;
  let isTooMany = false;
  for await (const range of joined(isCut ? wholeRuns(changedBlocks(a, b)) : changedBlocks(a, b))) {
    const { start, length } = bytesOf(range, end, isCut);
    changedBytes += length;
    if (ranges.length < diffRangesMax) ranges.push({ start, length });
    else isTooMany = true;
  }
  const isEqual = changedBytes === 0 && from.logicalBytes === to.logicalBytes;
  const sizes = { oldBytes: from.logicalBytes, newBytes: to.logicalBytes };
  const status = isEqual ? 'equal' : 'changed';
  return { name, status, ...sizes, changedBytes, ranges, isCut: isTooMany };
}

// Blocks that are cut otherwise lie at other places, so nothing is known without reading all.
function refuseOtherChunks(image: string, from: ImageRecord, to: ImageRecord): void {
  if (from.chunking === to.chunking) return;
  const [one, other] = [from, to].map(({ chunking }) => chunking ?? 'fixed');
  const text = `image "${image}" is cut ${one} in one package and ${other} in the other: unpack and compare them`;
  throw failedPrecondition('CHUNKING_DIFFERS', text, { image });
}

function bytesOf({ first, end }: BlockRange, imageEnd: number, isCut: boolean): ByteRange {
  const { offset, length } = isCut
    ? bytesOfChunks(first, end - first)
    : { offset: first * blockSize, length: (end - first) * blockSize };
  return { start: offset, length: Math.min(offset + length, imageEnd) - offset };
}

/** The blocks whose ids differ, in order; neighbours are not joined. */
export async function* changedBlocks(a: Tree, b: Tree): AsyncGenerator<BlockRange> {
  const levels = Math.max(a.levels, b.levels);
  if (levels > 0) yield* compare(nodeOf(a, levels), nodeOf(b, levels), levels, 0);
}

/**
 * A subtree: its id, or for a tree of fewer levels a node above its root that is stored nowhere.
 */
type Node = { tree: Tree; id: Uint8Array } | { tree: Tree; above: true };

function nodeOf(tree: Tree, levels: number): Node {
  if (tree.levels === levels) return { tree, id: tree.root };
  return tree.levels === 0 ? { tree, id: holeId } : { tree, above: true };
}

// `level` counts the pages from here down to the blocks; at 0 the ids are those of blocks.
async function* compare(
  a: Node,
  b: Node,
  level: number,
  first: number,
): AsyncGenerator<BlockRange> {
  if ('id' in a && 'id' in b && sameId(a.id, 0, b.id, 0)) return;
  if (level === 0) {
    yield { first, end: first + 1 };
    return;
  }
  const [aChildren, bChildren] = [await children(a, level, first), await children(b, level, first)];
  for (let index = 0; index < pageFanOut; index++) {
    const start = first + index * blocksPerId(level - 1);
    yield* compare(aChildren(index), bChildren(index), level - 1, start);
  }
}

async function children(
  node: Node,
  level: number,
  first: number,
): Promise<(index: number) => Node> {
  const { tree } = node;
  const hole: Node = { tree, id: holeId };
  if ('above' in node) {
    const below: Node = tree.levels === level - 1 ? { tree, id: tree.root } : node;
    return (index) => (index === 0 ? below : hole);
  }
  if (isHole(node.id)) return () => hole;
  const ids = await tree.page(node.id, { level: level - 1, first });
  const count = ids.length / idSize;
  return (index) => (index < count ? { tree, id: idAt(ids, index) } : hole);
}

// Where a chunk moved within its run nobody sees from the trees alone.
async function* wholeRuns(blocks: AsyncIterable<BlockRange>): AsyncGenerator<BlockRange> {
  let last = -1;
  for await (const { first } of blocks) {
    const run = Math.floor(first / pageFanOut);
    if (run > last) yield { first: run * pageFanOut, end: (run + 1) * pageFanOut };
    last = run;
  }
}

async function* joined(ranges: AsyncIterable<BlockRange>): AsyncGenerator<BlockRange> {
  let open: BlockRange | undefined;
  for await (const range of ranges) {
    if (open?.end === range.first) open.end = range.end;
    else {
      if (open !== undefined) yield open;
      open = { ...range };
    }
  }
  if (open !== undefined) yield open;
}

function recordOf(reader: PackageReader, name: string): ImageRecord | undefined {
  return reader.manifest.images.find((image) => image.name === name);
}

function oneSided(name: string, from?: ImageRecord, to?: ImageRecord): ImageDiff {
  const bytes = (from ?? to)!.logicalBytes;
  return {
    name,
    status: from === undefined ? 'added' : 'removed',
    ...(from && { oldBytes: bytes }),
    ...(to && { newBytes: bytes }),
    changedBytes: bytes,
    ranges: bytes === 0 ? [] : [{ start: 0, length: bytes }],
    isCut: false,
  };
}
