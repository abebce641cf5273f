import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { BlockSource } from '../../../../plugins/repository/sources/source.ts';

const execute = promisify(execFile);

/** Runs a tool to its end; a failure carries what it wrote to stderr. */
export async function run(tool: string, ...words: string[]): Promise<string> {
  const { stdout } = await execute(tool, words, { maxBuffer: 64 * 2 ** 20 });
  return stdout;
}

/** A stream of numbers in [0, 1) that is the same for the same seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const below = (random: () => number, limit: number) => Math.floor(random() * limit);

export function randomBytes(random: () => number, length: number, alphabet = 256): Uint8Array {
  return Uint8Array.from({ length }, () => below(random, alphabet));
}

/** Writes pieces into a new sparse file, without sync, and returns the bytes of the whole file. */
export async function writeSparse(
  path: string,
  sizeBytes: number,
  pieces: { offset: number; bytes: Uint8Array }[],
): Promise<Uint8Array> {
  const whole = new Uint8Array(sizeBytes);
  const file = await open(path, 'w');
  try {
    for (const { offset, bytes } of pieces) {
      const inside = bytes.subarray(0, Math.max(0, sizeBytes - offset));
      await file.write(inside, 0, inside.length, offset);
      whole.set(inside, Math.min(offset, sizeBytes));
    }
    await file.truncate(sizeBytes);
  } finally {
    await file.close();
  }
  return whole;
}

/** Reads the image the way a packer does: by its extents, in runs, only where there may be data. */
export async function readByExtents(source: BlockSource, runBytes = 1 << 20): Promise<Uint8Array> {
  const whole = new Uint8Array(source.sizeBytes);
  let covered = 0;
  for await (const { offset, length, kind } of source.extents()) {
    if (offset !== covered || length <= 0) throw new Error(`extents leave a gap at ${covered}`);
    covered += length;
    if (kind === 'zero') continue;
    for (let at = offset; at < offset + length; at += runBytes) {
      const part = whole.subarray(at, Math.min(at + runBytes, offset + length));
      part.fill(0xee);
      await source.read(at, part);
    }
  }
  if (covered !== source.sizeBytes) throw new Error(`extents end at ${covered}`);
  return whole;
}

/** Reads the image the way a worker does: by the files' extents where there are some. */
export async function readByFiles(source: BlockSource, runBytes: number): Promise<Uint8Array> {
  const { readSync } = await import('node:fs');
  const whole = new Uint8Array(source.sizeBytes);
  for (let at = 0; at < source.sizeBytes; at += runBytes) {
    const part = whole.subarray(at, Math.min(at + runBytes, source.sizeBytes));
    const extents = source.fileExtents?.(at, part.length);
    if (extents === undefined) await source.read(at, part);
    for (const { fd, fileOffset, bufferOffset, length } of extents ?? []) {
      if (readSync(fd, part, bufferOffset, length, fileOffset) !== length) {
        throw new Error('short');
      }
    }
  }
  return whole;
}

export const equal = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;
