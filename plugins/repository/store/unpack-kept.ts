/** How much of a file that an earlier process left is right; docs/storage-format.md 11. */
import type { KeptFile } from '../targets/target.ts';
import { isHole } from './ids.ts';
import type { ImageReader } from './image-reader.ts';
import { inOrder, Turns } from './in-order.ts';
import { runsInFlightMax } from './limits.ts';
import type { IdSpan } from './tree-reader.ts';

/**
 * The number of blocks, from the start of the image, that the file holds already. Everything of it
 * is read and hashed: that is what unpacking promises of every block, and takes less than to decode
 * and write it.
 */
export async function countKept(
  image: ImageReader,
  kept: KeptFile,
  signal?: AbortSignal,
): Promise<number> {
  const wrong = new AbortController();
  const turns = new Turns();
  let right = 0;
  const check = {
    start: (span: IdSpan) =>
      turns.take(
        async () => undefined,
        async () => {
          const extents = await kept.locate(span.first, span.count, presentIn(span));
          return extents !== undefined && (await image.holds(span, extents));
        },
      ),
    finish: async (span: IdSpan, holds: boolean) => {
      if (!holds) wrong.abort();
      wrong.signal.throwIfAborted();
      right = span.first + span.count;
    },
    discard: () => undefined,
  };
  try {
    await inOrder(image.cutSpans(), runsInFlightMax, check, signal);
  } catch (error) {
    if (error !== wrong.signal.reason) throw error;
  }
  await kept.endAt(right);
  return right;
}

function presentIn({ count, ids }: IdSpan): boolean[] | undefined {
  if (ids === undefined) return undefined;
  const present = Array.from({ length: count }, (_, index) => !isHole(ids, index));
  return present.includes(true) ? present : undefined;
}
