import { resourceExhausted } from '../../../sdk/errors.ts';
import type { ByteRange, ChangeTrackingSource } from './source.ts';

/** Pieces that a dirty bitmap may have: 16 bytes each in memory. */
const changedPiecesMax = 4 * 2 ** 20;

/** What changed in a source that was opened with a bitmap, and who says so. */
export async function changesOf(source: ChangeTrackingSource) {
  const changed: ByteRange[] = [];
  for await (const { offset, length } of source.changed()) {
    if (changed.length === changedPiecesMax) {
      const text =
        `${source.name}: what changed is in more than ${changedPiecesMax} pieces: pack without ` +
        'the bitmap';
      throw resourceExhausted('MAP_TOO_LARGE', text, { pieces: String(changedPiecesMax) });
    }
    changed.push({ start: offset, length });
  }
  return { changed, changedOrigin: source.changedOrigin };
}
