import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { close, fsync, ftruncate, open, read, write } from 'node:fs';
import { link, open as openHandle, readdir, rename, rm, unlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import {
  alreadyExists,
  failedPrecondition,
  permissionDenied,
  RpcError,
  resourceExhausted,
} from '../../../sdk/errors.ts';

const openFd = promisify(open);
const closeFd = promisify(close);
const syncFd = promisify(fsync);
const truncateFd = promisify(ftruncate);

/**
 * The name of a file that is being written: hidden, with the machine and the process that write it.
 */
const partialName = /^\.(.*)\.([A-Za-z0-9_.-]+)@(\d+)-[0-9a-f]{12}\.partial$/;
const machine = hostname().replace(/[^A-Za-z0-9_-]/g, '_') || 'host';

/** Turns what the file system says into what the caller can act on. */
export function targetError(path: string, error: unknown): RpcError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
    return resourceExhausted('TARGET_NO_SPACE', `no space to write ${path}`, { path, code });
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return permissionDenied('TARGET_UNWRITABLE', `${path} may not be written`, { path, code });
  }
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const message = `the folder of ${path} does not exist`;
    return failedPrecondition('TARGET_FOLDER_MISSING', message, { path });
  }
  if (code === 'EEXIST') {
    return alreadyExists('TARGET_EXISTS', `${path} exists already`, { path });
  }
  return RpcError.from(error);
}

/**
 * The names of what this process writes now. In a container each start has the same process id, so a file with
 * it may be a predecessor's.
 */
const ownPartials = new Set<string>();

/**
 * A file under a temporary name in the folder where it belongs. `publish` makes it durable and
 * gives it its name, in one step and only if nothing has that name; until then a crash leaves a
 * `.partial` file that `sweepPartials` removes.
 */
export class NewFile {
  readonly path: string;
  readonly fd: number;
  readonly #partial: string;
  #open = true;

  private constructor(path: string, partial: string, fd: number) {
    this.path = path;
    this.#partial = partial;
    this.fd = fd;
  }

  static async create(path: string): Promise<NewFile> {
    const unique = `${machine}@${process.pid}-${randomBytes(6).toString('hex')}`;
    const partial = join(dirname(path), `.${basename(path)}.${unique}.partial`);
    try {
      await sweepPartials(dirname(path), basename(path));
      const fd = await openFd(partial, 'wx+', 0o666);
      ownPartials.add(basename(partial));
      return new NewFile(path, partial, fd);
    } catch (error) {
      throw targetError(path, error);
    }
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      done += await new Promise<number>((resolve, reject) => {
        const finished = (error: Error | null, count: number) =>
          error ? reject(targetError(this.path, error)) : resolve(count);
        write(this.fd, bytes, done, bytes.length - done, position + done, finished);
      });
    }
  }

  /** Reads back what was written; the end of the file before that is a programmer's error. */
  async read(position: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length; ) {
      const count = await new Promise<number>((resolve, reject) => {
        const finished = (error: Error | null, bytes: number) =>
          error ? reject(RpcError.from(error)) : resolve(bytes);
        read(this.fd, target, done, target.length - done, position + done, finished);
      });
      assert(count > 0, 'only what was written is read');
      done += count;
    }
  }

  async truncate(sizeBytes: number): Promise<void> {
    try {
      await truncateFd(this.fd, sizeBytes);
    } catch (error) {
      throw targetError(this.path, error);
    }
  }

  async sync(): Promise<void> {
    try {
      await syncFd(this.fd);
    } catch (error) {
      throw targetError(this.path, error);
    }
  }

  /** Data first, then the name, then the folder that holds the name. */
  async publish(): Promise<void> {
    try {
      await this.sync();
      await this.#close();
      await nameIfAbsent(this.#partial, this.path);
      ownPartials.delete(basename(this.#partial));
      await syncFolder(dirname(this.path));
    } catch (error) {
      await this.abort();
      throw targetError(this.path, error);
    }
  }

  async abort(): Promise<void> {
    await this.#close();
    await rm(this.#partial, { force: true });
    ownPartials.delete(basename(this.#partial));
  }

  async #close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await closeFd(this.fd);
  }
}

/** A hard link never replaces a file; file systems without links get the weaker rename. */
async function nameIfAbsent(partial: string, path: string): Promise<void> {
  try {
    await link(partial, path);
    await unlink(partial);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'EMLINK') {
      throw error;
    }
    const claim = await openHandle(path, 'wx');
    await claim.close();
    await rename(partial, path);
  }
}

export async function syncFolder(folder: string): Promise<void> {
  const handle = await openHandle(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Removes what processes of this machine that no longer run left half-written in this folder, and
 * returns the names. With `name` only what was to become that file: so a second try clears up after
 * a first that was killed.
 */
export async function sweepPartials(folder: string, name?: string): Promise<string[]> {
  const removed: string[] = [];
  for (const found of await readdir(folder)) {
    const [, wanted, host, pid] = partialName.exec(found) ?? [];
    if (host !== machine || (name !== undefined && wanted !== name)) continue;
    const isWritten = Number(pid) === process.pid ? ownPartials.has(found) : isAlive(Number(pid));
    if (isWritten) continue;
    await rm(join(folder, found), { force: true });
    removed.push(found);
  }
  return removed;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
