import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { close, fstat, fsync, ftruncate, open, read, write } from 'node:fs';
import { link, open as openHandle, readdir, rename, rm, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import {
  alreadyExists,
  failedPrecondition,
  permissionDenied,
  RpcError,
  resourceExhausted,
} from '../../../sdk/errors.ts';
import { formatPartialName, type PartialName, parsePartialName } from './partial-name.ts';

const openFd = promisify(open);
const closeFd = promisify(close);
const statFd = promisify(fstat);
const syncFd = promisify(fsync);
const truncateFd = promisify(ftruncate);

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
  /** How long the file was that another process left unfinished and this one goes on with; or 0. */
  readonly keptBytes: number;
  readonly #partial: string;
  #open = true;

  private constructor(path: string, partial: string, fd: number, keptBytes: number) {
    this.path = path;
    this.keptBytes = keptBytes;
    this.#partial = partial;
    this.fd = fd;
  }

  /**
   * `tag` says what the file becomes. A file with the same tag that nobody writes any more is taken
   * over: its bytes are no more than a guess, which the caller checks. Others are removed.
   */
  static async create(path: string, tag = randomTag()): Promise<NewFile> {
    const [folder, name] = [dirname(path), basename(path)];
    // Where this process writes the same thing to the same place already, nothing is taken over.
    const isTaken = ownPartials.has(formatPartialName(name, tag));
    const own = formatPartialName(name, isTaken ? randomTag() : tag);
    ownPartials.add(own);
    try {
      const isKept = !isTaken && (await takeOver(folder, name, tag, own));
      await sweepPartials(folder, name);
      const fd = await openFd(join(folder, own), isKept ? 'r+' : 'wx+', 0o666);
      const keptBytes = isKept ? (await statFd(fd)).size : 0;
      return new NewFile(path, join(folder, own), fd, keptBytes);
    } catch (error) {
      ownPartials.delete(own);
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

  /** Ends writing; what was written stays for a later `create` with the same tag. */
  async suspend(): Promise<void> {
    await this.#close();
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

/** Takes a file with this tag that nobody writes; of two that try, the rename lets one. */
async function takeOver(folder: string, name: string, tag: string, own: string): Promise<boolean> {
  for (const found of await leftPartials(folder, name, own)) {
    if (found.tag !== tag) continue;
    // In a container a predecessor had the same process id, hence the same name.
    if (found.file === own) return true;
    try {
      await rename(join(folder, found.file), join(folder, own));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return false;
}

/** What processes of this machine that no longer run left half-written in this folder. */
async function leftPartials(
  folder: string,
  name?: string,
  own?: string,
): Promise<(PartialName & { file: string })[]> {
  const left: (PartialName & { file: string })[] = [];
  for (const file of await readdir(folder)) {
    const known = parsePartialName(file);
    if (known === undefined || (name !== undefined && known.wanted !== name)) continue;
    const isOwn = known.pid === process.pid;
    const isWritten = isOwn ? ownPartials.has(file) : isAlive(known.pid);
    if (!isWritten || file === own) left.push({ ...known, file });
  }
  return left;
}

/**
 * Removes what processes of this machine that no longer run left half-written in this folder, and
 * returns the names. With `name` only what was to become that file: so a second try clears up after
 * a first that was killed.
 */
export async function sweepPartials(folder: string, name?: string): Promise<string[]> {
  const left = await leftPartials(folder, name);
  for (const { file } of left) await rm(join(folder, file), { force: true });
  return left.map(({ file }) => file);
}

const randomTag = () => randomBytes(6).toString('hex');

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
