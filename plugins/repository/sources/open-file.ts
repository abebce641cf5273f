import {
  constants,
  close as fsClose,
  open as fsOpen,
  read as fsRead,
  fstat,
  fstatSync,
  readSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  dataLoss,
  failedPrecondition,
  notFound,
  permissionDenied,
  RpcError,
} from '../../../sdk/errors.ts';
import { systemClock } from '../../../sdk/ports/clock.ts';

const openFd = promisify(fsOpen);
const closeFd = promisify(fsClose);
const statFd = promisify(fstat);

/** A file that is open for reading. Its size is the one it had when it was opened. */
export type OpenFile = {
  readonly fd: number;
  readonly path: string;
  readonly sizeBytes: number;
  /** Equal exactly for the same file, whatever its name. */
  readonly identity: string;
  /**
   * Differs after any change of the content; undefined where the system cannot tell (a device).
   */
  fingerprint(): Promise<string | undefined>;
  /** Bytes that the file system has given to it; less than the size means holes. */
  readonly allocatedBytes: number;
  /** Fills `target` from `position`; a file that ends before is DATA_LOSS `SOURCE_TRUNCATED`. */
  read(position: number, target: Uint8Array): Promise<void>;
  /** The same, for small tables that the caller keeps in a cache. */
  readNow(position: number, target: Uint8Array): void;
  close(): Promise<void>;
};

export function truncated(path: string, offset: number): RpcError {
  return dataLoss('SOURCE_TRUNCATED', `${path} ends before offset ${offset}`, {
    path,
    offset: String(offset),
  });
}

function cannotOpen(path: string, error: NodeJS.ErrnoException): RpcError {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') {
    return notFound('SOURCE_NOT_FOUND', `there is no image ${path}`, { path });
  }
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return permissionDenied('SOURCE_UNREADABLE', `${path} may not be read`, { path });
  }
  return RpcError.from(error);
}

/**
 * The size of a block device: fstat gives 0, the kernel tells it in sysfs in sectors of 512 bytes.
 */
async function deviceSize(device: number): Promise<number> {
  const major = ((device >>> 8) & 0xfff) >>> 0;
  const minor = (device & 0xff) | ((device >>> 12) & 0xfff00);
  return Number(await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * 512;
}

/**
 * Opens a regular file or a block device for reading. Anything else (a folder, a pipe, a socket) is
 * FAILED_PRECONDITION `SOURCE_NOT_A_FILE`; it is opened without waiting, because a pipe has no end.
 */
export async function openFile(path: string): Promise<OpenFile> {
  let fd: number;
  try {
    fd = await openFd(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw cannotOpen(path, error as NodeJS.ErrnoException);
  }
  try {
    const stat = await statFd(fd);
    if (!stat.isFile() && !stat.isBlockDevice()) {
      throw failedPrecondition(
        'SOURCE_NOT_A_FILE',
        `${path} is neither a file nor a block device`,
        {
          path,
        },
      );
    }
    const sizeBytes = stat.isFile() ? stat.size : await deviceSize(stat.rdev);
    return {
      fd,
      path,
      sizeBytes,
      identity: `${stat.dev}:${stat.ino}`,
      fingerprint: () => fingerprint(fd),
      allocatedBytes: stat.isFile() ? stat.blocks * 512 : sizeBytes,
      read: (position, target) => readFully(fd, path, position, target),
      readNow: (position, target) => readFullyNow(fd, path, position, target),
      close: () => closeFd(fd),
    };
  } catch (error) {
    await closeFd(fd);
    throw error;
  }
}

/**
 * The kernel stamps changes with a clock that ticks every 1 to 10 ms, so a change right after
 * another may leave no trace. Then the next tick is waited for, at most this often.
 */
const tickMs = 20;
const ticksMax = 50;

async function fingerprint(fd: number): Promise<string | undefined> {
  for (let tick = 0; tick < ticksMax; tick += 1) {
    const stat = fstatSync(fd, { bigint: true });
    if (!stat.isFile()) return undefined;
    const ageMs = Math.abs(systemClock.now().getTime() - Number(stat.ctimeMs));
    if (ageMs > tickMs) {
      return `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`;
    }
    await delay(tickMs);
  }
  // Somebody writes to it all the time.
  return undefined;
}

function readSome(fd: number, target: Uint8Array, from: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fsRead(fd, target, from, target.length - from, position, (error, count) =>
      error ? reject(error) : resolve(count),
    );
  });
}

async function readFully(fd: number, path: string, position: number, target: Uint8Array) {
  for (let done = 0; done < target.length; ) {
    const count = await readSome(fd, target, done, position + done);
    if (count === 0) throw truncated(path, position + done);
    done += count;
  }
}

function readFullyNow(fd: number, path: string, position: number, target: Uint8Array) {
  for (let done = 0; done < target.length; ) {
    const count = readSync(fd, target, done, target.length - done, position + done);
    if (count === 0) throw truncated(path, position + done);
    done += count;
  }
}
