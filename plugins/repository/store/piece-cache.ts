import { read } from 'node:fs';
import { promisify } from 'node:util';
import type { SegmentRef } from './block-index.ts';
import { objectDamaged } from './faults.ts';
import { onPath } from './folder-errors.ts';
import { pagePieceBytes, pagePiecesAhead, pagePiecesMax } from './limits.ts';
import type { SegmentFiles } from './segment-files.ts';

const readAt = promisify(read);

/**
 * Fills `target` from an open file; `path` and `offset` are for the error about a file that ends
 * too early.
 */
export async function readFully(
  fd: number,
  target: Uint8Array,
  offset: number,
  path: string,
): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const rest = target.length - done;
    const call = () => readAt(fd, target, done, rest, offset + done);
    const { bytesRead } = await onPath(path, call);
    if (bytesRead === 0) throw objectDamaged(path, offset + done, 'the file ends here, too early');
    done += bytesRead;
  }
}

/**
 * Reads small entries through larger pieces of their segments, because the next one wanted lies
 * close by.
 */
export class PieceCache {
  private readonly files: SegmentFiles;
  private readonly pieces = new Map<string, Uint8Array>();

  constructor(files: SegmentFiles) {
    this.files = files;
  }

  clear(): void {
    this.pieces.clear();
  }

  /**
   * `length` bytes at `offset` of a segment; a view that must not be changed when they lie in one
   * piece.
   */
  async read(
    segment: SegmentRef,
    offset: number,
    length: number,
    path: string,
  ): Promise<Uint8Array> {
    const first = Math.floor(offset / pagePieceBytes);
    const last = Math.floor((offset + length - 1) / pagePieceBytes);
    const start = offset - first * pagePieceBytes;
    if (first === last) {
      return (await this.piece(segment, first, path)).subarray(start, start + length);
    }
    const whole = new Uint8Array(length);
    const held = await this.files.hold(segment.id);
    try {
      await readFully(held.fd, whole, offset, path);
    } finally {
      held.release();
    }
    return whole;
  }

  private async piece(segment: SegmentRef, number: number, path: string): Promise<Uint8Array> {
    const cached = this.pieces.get(`${segment.id}/${number}`);
    if (cached !== undefined) {
      this.remember(segment, number, cached);
      return cached;
    }
    // A walk goes forward; samples jump, and would read much that nobody wants.
    const isWalk = this.pieces.has(`${segment.id}/${number - 1}`);
    const start = number * pagePieceBytes;
    const wanted = pagePieceBytes * (isWalk ? pagePiecesAhead : 1);
    const bytes = new Uint8Array(Math.min(wanted, segment.segmentBytes - start));
    const held = await this.files.hold(segment.id);
    try {
      await readFully(held.fd, bytes, start, path);
    } finally {
      held.release();
    }
    for (let at = 0; at < bytes.length; at += pagePieceBytes) {
      const piece = bytes.subarray(at, at + pagePieceBytes);
      this.remember(segment, number + at / pagePieceBytes, piece);
    }
    return bytes.subarray(0, pagePieceBytes);
  }

  private remember(segment: SegmentRef, number: number, piece: Uint8Array): void {
    const key = `${segment.id}/${number}`;
    this.pieces.delete(key);
    this.pieces.set(key, piece);
    if (this.pieces.size > pagePiecesMax) this.pieces.delete(this.pieces.keys().next().value!);
  }
}
