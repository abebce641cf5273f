import type { ByteRange, SourceExtent } from './source.ts';

/** The extents of some parts of an image; what lies between them counts as `data` unseen. */
export async function* extentsWithin(
  sizeBytes: number,
  within: readonly ByteRange[] | undefined,
  extentsOf: (start: number, end: number) => AsyncIterable<SourceExtent>,
): AsyncGenerator<SourceExtent> {
  let at = 0;
  for (const { start, length } of within ?? [{ start: 0, length: sizeBytes }]) {
    if (start > at) yield { offset: at, length: start - at, kind: 'data' };
    if (length > 0) yield* extentsOf(start, start + length);
    at = start + length;
  }
  if (at < sizeBytes) yield { offset: at, length: sizeBytes - at, kind: 'data' };
}
