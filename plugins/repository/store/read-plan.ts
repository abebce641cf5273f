/**
 * What to do with each block of an image, from its extents and the blocks that may have changed.
 */
import type { SourceExtent } from '../sources/source.ts';
import type { BlockRange } from './change-map.ts';
import { blockCountMax, blockSize, runBlocksMax } from './limits.ts';
import { blockCountOf } from './tree-page.ts';

/** `read`: from the source. `hole`: known to be zero. `keep`: the parent's block. */
export type Step = { kind: 'read' | 'hole' | 'keep'; first: number; count: number };

/**
 * The steps for all blocks, in order. Without `mapped` none is kept. A block with any data in it is
 * read; a mapped block without data is a hole.
 */
export async function* planSteps(
  extents: AsyncIterable<SourceExtent>,
  logicalBytes: number,
  mapped?: readonly BlockRange[],
): AsyncGenerator<Step> {
  const all = [{ first: 0, end: blockCountOf(logicalBytes) }];
  const ranges = mapped ?? all;
  let rangeNumber = 0;
  const enough = mapped === undefined ? runBlocksMax : blockCountMax;
  for await (const span of dataSpans(extents, logicalBytes, enough)) {
    let at = span.first;
    while (at < span.end) {
      while (rangeNumber < ranges.length && ranges[rangeNumber]!.end <= at) rangeNumber += 1;
      const range = ranges[rangeNumber];
      const isMapped = range !== undefined && range.first <= at;
      const end = Math.min(span.end, isMapped ? range.end : (range?.first ?? span.end));
      const kind = isMapped ? (span.isData ? 'read' : 'hole') : 'keep';
      yield { kind, first: at, count: end - at };
      at = end;
    }
  }
}

/** The steps without those of the first `done` blocks. */
export async function* stepsBehind(steps: AsyncIterable<Step>, done: number): AsyncGenerator<Step> {
  for await (const { kind, first, count } of steps) {
    const skip = Math.max(0, Math.min(count, done - first));
    if (skip < count) yield { kind, first: first + skip, count: count - skip };
  }
}

/** Reading goes by runs; holes and kept blocks need no cutting. */
export async function* cutSteps(
  steps: AsyncIterable<Step>,
  blocksMax: number,
): AsyncGenerator<Step> {
  for await (const step of steps) {
    if (step.kind !== 'read') {
      yield step;
      continue;
    }
    for (let done = 0; done < step.count; done += blocksMax) {
      const count = Math.min(blocksMax, step.count - done);
      yield { kind: 'read', first: step.first + done, count };
    }
  }
}

type BlockSpan = BlockRange & { isData: boolean };

// Turns extents in bytes into spans of blocks: a block is data as soon as a part of it is. A span of
// `enough` blocks does not wait for what may adjoin it: a stream's extents come with their bytes.
async function* dataSpans(
  extents: AsyncIterable<SourceExtent>,
  logicalBytes: number,
  enough: number,
): AsyncGenerator<BlockSpan> {
  const isEnough = (span: BlockSpan) => span.end - span.first >= enough;
  let next = 0;
  let open: BlockSpan | undefined;
  for await (const { offset, length, kind } of extents) {
    if (kind !== 'data' || length === 0) continue;
    const first = Math.floor(offset / blockSize);
    const end = Math.ceil((offset + length) / blockSize);
    if (open !== undefined && (first < open.end || (first === open.end && !isEnough(open)))) {
      open.end = Math.max(open.end, end);
      continue;
    }
    if (open !== undefined) yield open;
    next = open?.end ?? next;
    if (first > next) yield { first: next, end: first, isData: false };
    open = { first, end, isData: true };
  }
  if (open !== undefined) yield open;
  next = open?.end ?? next;
  const blockCount = blockCountOf(logicalBytes);
  if (next < blockCount) yield { first: next, end: blockCount, isData: false };
}
