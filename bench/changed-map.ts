import { type FileHandle, open } from 'node:fs/promises';

/** The granularity of QEMU's dirty bitmaps. */
const granularity = 65536;
const pieceBytes = 64 * granularity;

/** What a dirty bitmap would say of two versions of a disk: the blocks that differ, joined. */
export async function changedRanges(
  before: string,
  after: string,
): Promise<{ start: number; length: number }[]> {
  const [old, now] = await Promise.all([open(before), open(after)]);
  try {
    const ranges: { start: number; length: number }[] = [];
    const { size } = await now.stat();
    const [a, b] = [Buffer.alloc(pieceBytes), Buffer.alloc(pieceBytes)];
    for (let start = 0; start < size; start += pieceBytes) {
      const length = Math.min(pieceBytes, size - start);
      const [oldBytes] = await Promise.all([
        fill(old, a, start, length),
        fill(now, b, start, length),
      ]);
      if (oldBytes === length && a.compare(b, 0, length, 0, length) === 0) continue;
      for (let at = 0; at < length; at += granularity) {
        const end = Math.min(at + granularity, length);
        if (end <= oldBytes && a.compare(b, at, end, at, end) === 0) continue;
        const last = ranges.at(-1);
        if (last && last.start + last.length === start + at) last.length += end - at;
        else ranges.push({ start: start + at, length: end - at });
      }
    }
    return ranges;
  } finally {
    await Promise.all([old.close(), now.close()]);
  }
}

/** Reads up to `length` bytes; returns how many there were. */
async function fill(
  file: FileHandle,
  target: Buffer,
  position: number,
  length: number,
): Promise<number> {
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(target, done, length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
