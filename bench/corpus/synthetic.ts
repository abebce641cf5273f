/** Images that are made, not found: the same bytes for the same seed. */
import { createCipheriv, createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

export type Extent = { start: number; length: number };

const pieceBytes = 1024 * 1024;

/** Pieces spread evenly over a disk, at multiples of 64 KiB, together `bytes` long. */
export function scatter(diskBytes: number, bytes: number, piece: number): Extent[] {
  const count = bytes / piece;
  const stride = Math.floor(diskBytes / count / 65536) * 65536;
  return Array.from({ length: count }, (_, i) => ({ start: i * stride, length: piece }));
}

/** Writes a sparse file whose extents are filled from the start of another file, zeros left out. */
export async function writeSparse(
  path: string,
  sizeBytes: number,
  content: string,
  extents: readonly Extent[],
): Promise<void> {
  const [source, target] = await Promise.all([open(content), open(path, 'w')]);
  try {
    const { size } = await source.stat();
    const buffer = Buffer.alloc(pieceBytes);
    let at = 0;
    for (const { start, length } of extents) {
      // A piece without data would make a hole where data is wanted.
      for (let tries = 0; tries * pieceBytes < size; tries++) {
        await source.read(buffer, 0, length, at % size);
        at += length;
        if (buffer.subarray(0, length).some((byte) => byte !== 0)) break;
      }
      await target.write(buffer, 0, length, start);
    }
    await target.truncate(sizeBytes);
    await target.sync();
  } finally {
    await Promise.all([source.close(), target.close()]);
  }
}

/** Fills extents of a file, which is made when it is missing, with bytes that do not compress. */
export async function writeNoise(
  path: string,
  extents: readonly Extent[],
  seed: string,
): Promise<void> {
  const key = createHash('sha256').update(seed).digest();
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  const file = await open(path, 'a')
    .then((made) => made.close())
    .then(() => open(path, 'r+'));
  try {
    for (const { start, length } of extents) {
      for (let at = 0; at < length; at += pieceBytes) {
        const noise = cipher.update(Buffer.alloc(Math.min(pieceBytes, length - at)));
        await file.write(noise, 0, noise.length, start + at);
      }
    }
    await file.sync();
  } finally {
    await file.close();
  }
}
