import { readSync, writeSync } from 'node:fs';
import { CoreError, ShortReadError } from './errors.ts';

// Most bytes of one read or write: larger calls are no faster, and this bounds how long a worker
// hears nothing.
const callBytesMax = 1024 * 1024;

function failed(error: unknown, verb: string, fd: number, fileOffset: number): CoreError {
  const { code = 'UNKNOWN', message } = error as NodeJS.ErrnoException;
  const text = `cannot ${verb} file descriptor ${fd} at byte ${fileOffset}: ${message}`;
  return new CoreError('IO_FAILED', text, { code, syscall: verb, fd, fileOffset });
}

/**
 * Fills `target` from `fd` at `fileOffset`. Throws ShortReadError when the file ends before,
 * CoreError IO_FAILED.
 */
export function readFully(fd: number, target: Uint8Array, fileOffset: number): void {
  let done = 0;
  while (done < target.length) {
    const length = Math.min(target.length - done, callBytesMax);
    let got: number;
    try {
      got = readSync(fd, target, done, length, fileOffset + done);
    } catch (error) {
      throw failed(error, 'read', fd, fileOffset + done);
    }
    done += got;
    if (got === 0) {
      const details = { fd, fileOffset, wanted: target.length, got: done };
      const text = `file descriptor ${fd} ends at byte ${fileOffset + done}`;
      const message = `${text}: ${target.length} bytes at ${fileOffset} were expected`;
      throw new ShortReadError('SHORT_READ', message, details);
    }
  }
}

/**
 * Writes all of `source` to `fd` at `fileOffset`. Throws CoreError IO_FAILED; some bytes may then
 * be written.
 */
export function writeFully(fd: number, source: Uint8Array, fileOffset: number): void {
  let done = 0;
  while (done < source.length) {
    const length = Math.min(source.length - done, callBytesMax);
    try {
      done += writeSync(fd, source, done, length, fileOffset + done);
    } catch (error) {
      throw failed(error, 'write', fd, fileOffset + done);
    }
  }
}
