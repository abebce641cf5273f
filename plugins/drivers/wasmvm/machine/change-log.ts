import { blockBytes } from '../limits.ts';

/** The bytes of a log of a volume: one bit for each block, the first in the lowest bit. */
export function logBytes(sizeBytes: number): number {
  return Math.ceil(Math.ceil(sizeBytes / blockBytes) / 8);
}

/**
 * Marks the blocks of a write, before the write: a crash between leaves a block marked that is
 * unchanged.
 */
export function markWritten(log: Uint8Array, offset: number, length: number): void {
  if (length === 0) return;
  const last = Math.floor((offset + length - 1) / blockBytes);
  for (let block = Math.floor(offset / blockBytes); block <= last; block++) {
    Atomics.or(log, block >> 3, 1 << (block & 7));
  }
}

/** Takes what is marked and clears it. */
export function rotateLog(log: Uint8Array): Uint8Array {
  const taken = new Uint8Array(log.length);
  for (let index = 0; index < log.length; index++) taken[index] = Atomics.exchange(log, index, 0);
  return taken;
}

/** Marks what `more` has marked. */
export function mergeLog(log: Uint8Array, more: Uint8Array): void {
  for (let index = 0; index < log.length; index++) Atomics.or(log, index, more[index] ?? 0);
}

/** The marked blocks as runs of bytes, ordered and not touching, within the size of the volume. */
export function logExtents(
  log: Uint8Array,
  sizeBytes: number,
): { start: number; length: number }[] {
  const extents: { start: number; length: number }[] = [];
  const blocks = Math.ceil(sizeBytes / blockBytes);
  for (let block = 0; block < blocks; block++) {
    if ((((log[block >> 3] as number) >> (block & 7)) & 1) === 0) continue;
    const start = block * blockBytes;
    const end = Math.min(start + blockBytes, sizeBytes);
    const before = extents.at(-1);
    if (before && before.start + before.length === start) before.length = end - before.start;
    else extents.push({ start, length: end - start });
  }
  return extents;
}
