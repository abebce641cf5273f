/** Which blocks of an image may differ from its parent, according to somebody's map. Pure. */
import { invalidArgument } from '../../../sdk/errors.ts';
import type { ByteRange } from '../sources/source.ts';
import { blockSize } from './limits.ts';
import { blockCountOf } from './tree-page.ts';

export type { ByteRange };
/** Blocks `first` to `end`, without `end`. */
export type BlockRange = { first: number; end: number };

/**
 * The blocks that `changed` touches, sorted and joined. MAP_OUT_OF_RANGE beyond the end of the
 * image.
 */
export function mappedBlocks(
  changed: readonly ByteRange[],
  logicalBytes: number,
  image: string,
): BlockRange[] {
  for (const [index, { start, length }] of changed.entries()) {
    const isRange = [start, length].every((value) => Number.isSafeInteger(value) && value >= 0);
    if (isRange && start + length <= logicalBytes) continue;
    const text =
      `the changed map of image "${image}" says ${length} bytes at ${start} (entry ${index}), ` +
      `but the image has ${logicalBytes}`;
    throw invalidArgument('MAP_OUT_OF_RANGE', text, {
      image,
      index: String(index),
      start: String(start),
      length: String(length),
      logicalBytes: String(logicalBytes),
    });
  }
  return joinRanges(
    changed
      .filter(({ length }) => length > 0)
      .map(({ start, length }) => ({
        first: Math.floor(start / blockSize),
        end: Math.ceil((start + length) / blockSize),
      })),
  );
}

/**
 * The blocks that must be read although no map says so, because the image has another size than the
 * parent's: what was added, and a last block of which another part is padding.
 */
export function blocksOfSizeChange(parentBytes: number, logicalBytes: number): BlockRange[] {
  if (parentBytes === logicalBytes) return [];
  const first = Math.floor(Math.min(parentBytes, logicalBytes) / blockSize);
  const end = blockCountOf(logicalBytes);
  return first < end ? [{ first, end }] : [];
}

/** Sorts ranges and joins those that touch. */
export function joinRanges(ranges: readonly BlockRange[]): BlockRange[] {
  const joined: BlockRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.first - b.first)) {
    const last = joined.at(-1);
    if (last !== undefined && range.first <= last.end) last.end = Math.max(last.end, range.end);
    else joined.push({ ...range });
  }
  return joined;
}

/** Blocks in the ranges. */
export function countBlocks(ranges: readonly BlockRange[]): number {
  return ranges.reduce((sum, { first, end }) => sum + end - first, 0);
}

/**
 * Picks up to `samples` blocks that are in no range, spread over the image: one at random from each
 * of as many equal parts of the clean blocks. `fraction` gives numbers in [0, 1).
 */
export function pickSamples(
  mapped: readonly BlockRange[],
  blockCount: number,
  samples: number,
  fraction: () => number,
): number[] {
  const clean = blockCount - countBlocks(mapped);
  const count = Math.min(samples, clean);
  const picked: number[] = [];
  let range = 0;
  let skipped = 0;
  for (let part = 0; part < count; part++) {
    const start = Math.floor((part * clean) / count);
    const end = Math.floor(((part + 1) * clean) / count);
    const cleanNumber = start + Math.floor(fraction() * (end - start));
    // The clean block of that number lies behind all ranges that begin at or before it.
    while (range < mapped.length && mapped[range]!.first <= cleanNumber + skipped) {
      skipped += mapped[range]!.end - mapped[range]!.first;
      range += 1;
    }
    picked.push(cleanNumber + skipped);
  }
  return picked;
}
