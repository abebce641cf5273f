import {
  closeSync,
  constants,
  copyFileSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs';
import { dataLoss } from '../../../../sdk/errors.ts';
import { blockBytes, sliceBytes } from '../limits.ts';

const zeroBlock = Buffer.alloc(blockBytes);
/** What a file system says that cannot share blocks between files. */
const noClone = new Set(['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL', 'EXDEV', 'ENOTTY']);

/**
 * Copies a raw image in slices, so that its caller can do other things between them: shares the
 * blocks where the file system can, else writes only blocks that are not zero. The target must not
 * exist; nothing is synced. DATA_LOSS with reason SOURCE_TRUNCATED when the source is shorter than
 * `sizeBytes`.
 */
export function* copySparse(
  source: string,
  target: string,
  sizeBytes: number,
): Generator<void, void> {
  if (clone(source, target)) return;
  const from = openSync(source, 'r');
  try {
    const to = openSync(target, 'wx', 0o600);
    try {
      ftruncateSync(to, sizeBytes);
      const buffer = Buffer.allocUnsafe(Math.min(sliceBytes, Math.max(sizeBytes, 1)));
      for (let offset = 0; offset < sizeBytes; offset += sliceBytes) {
        const slice = buffer.subarray(0, Math.min(sliceBytes, sizeBytes - offset));
        readFully(from, slice, offset, source);
        writeBlocks(to, slice, offset);
        yield;
      }
    } finally {
      closeSync(to);
    }
  } finally {
    closeSync(from);
  }
}

/** Writes bytes at an offset of a fresh file, leaving holes where they are zero. */
export function writeBlocks(fd: number, bytes: Uint8Array, offset: number): void {
  let start = -1;
  for (let at = 0; at < bytes.length; at += blockBytes) {
    const block = bytes.subarray(at, at + blockBytes);
    const zero = zeroBlock.compare(block, 0, block.length, 0, block.length) === 0;
    if (!zero && start < 0) start = at;
    if (zero && start >= 0) {
      writeFully(fd, bytes.subarray(start, at), offset + start);
      start = -1;
    }
  }
  if (start >= 0) writeFully(fd, bytes.subarray(start), offset + start);
}

function clone(source: string, target: string): boolean {
  try {
    copyFileSync(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch (error) {
    if (noClone.has((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

function readFully(fd: number, target: Uint8Array, offset: number, path: string): void {
  let done = 0;
  while (done < target.length) {
    const count = readSync(fd, target, done, target.length - done, offset + done);
    if (count === 0) {
      const at = String(offset + done);
      throw dataLoss('SOURCE_TRUNCATED', `${path} ends at ${at}`, { path, offset: at });
    }
    done += count;
  }
}

function writeFully(fd: number, bytes: Uint8Array, offset: number): void {
  let done = 0;
  while (done < bytes.length) {
    done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
  }
}
