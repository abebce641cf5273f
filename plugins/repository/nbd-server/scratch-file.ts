/** The file behind a writable export; docs/storage-format.md section 10. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, lstat, open, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import {
  dataLoss,
  failedPrecondition,
  type RpcError,
  resourceExhausted,
  unavailable,
} from '../../../sdk/errors.ts';
import { objectDamaged } from '../store/faults.ts';
import { formatFramed, parseFramed } from '../store/framed-text.ts';
import { blockSize } from '../store/limits.ts';
import { NewFile, targetError } from '../targets/new-file.ts';
import { mapPageBytes, ScratchMap } from './scratch-map.ts';

/** The image that a scratch file belongs to. */
export type ScratchBase = {
  packageId: string;
  image: string;
  root: string;
  logicalBytes: number;
};

const headerBytes = blockSize;

/** Where the data of block 0 would lie. */
function dataStart(logicalBytes: number): number {
  const blocks = Math.ceil(logicalBytes / blockSize);
  return headerBytes + Math.ceil(Math.max(blocks, 1) / blockSize) * blockSize;
}

/** An open scratch file. OPEN → CLOSED. */
export class ScratchFile {
  readonly map: ScratchMap;
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #dataStart: number;
  readonly #lock: DatabaseSync | undefined;

  private constructor(
    path: string,
    handle: FileHandle,
    logicalBytes: number,
    lock: DatabaseSync | undefined,
  ) {
    this.path = path;
    this.#handle = handle;
    this.#dataStart = dataStart(logicalBytes);
    this.#lock = lock;
    this.map = new ScratchMap(lock && ((page, target) => this.#readPage(page, target)));
  }

  /** A file without a name: it ends with the process, however that ends. */
  static async temporary(base: ScratchBase, folder = tmpdir()): Promise<ScratchFile> {
    const path = join(folder, `.mano-scratch-${randomBytes(8).toString('hex')}`);
    try {
      const handle = await open(path, 'wx+', 0o600);
      await unlink(path);
      return new ScratchFile(path, handle, base.logicalBytes, undefined);
    } catch (error) {
      throw targetError(path, error);
    }
  }

  /**
   * Opens the file, or makes it. SCRATCH_IN_USE, SCRATCH_FOREIGN (FAILED_PRECONDITION),
   * OBJECT_DAMAGED (DATA_LOSS).
   */
  static async kept(path: string, base: ScratchBase): Promise<ScratchFile> {
    const lock = takeLock(path);
    try {
      const found = await lstat(path).catch(() => undefined);
      if (found === undefined) await create(path, base);
      const handle = await open(path, 'r+').catch((error) => {
        throw targetError(path, error);
      });
      try {
        await checkHeader(handle, path, base);
        return new ScratchFile(path, handle, base.logicalBytes, lock);
      } catch (error) {
        await handle.close();
        throw error;
      }
    } catch (error) {
      lock.close();
      throw error;
    }
  }

  async readData(offset: number, target: Uint8Array): Promise<void> {
    await readFully(this.#handle, this.#dataStart + offset, target, this.path);
  }

  async writeData(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#write(this.#dataStart + offset, bytes);
  }

  /**
   * Everything written before, then the pages of the map, each on the disk before the next begins:
   * a map that was ahead of its data would give garbage for what nobody wrote.
   */
  async makeDurable(pages: ReadonlyMap<number, Uint8Array>): Promise<void> {
    // Nothing survives the process here.
    if (this.#lock === undefined) return;
    try {
      await this.#handle.datasync();
      if (pages.size === 0) return;
      for (const [number, page] of pages) {
        await this.#write(headerBytes + number * mapPageBytes, page);
      }
      await this.#handle.datasync();
    } catch (error) {
      throw scratchError(this.path, error);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
    this.#lock?.close();
  }

  async #readPage(page: number, target: Uint8Array): Promise<void> {
    await readFully(this.#handle, headerBytes + page * mapPageBytes, target, this.path);
    const wrong = target.findIndex((state) => state > 2);
    if (wrong < 0) return;
    const text = `${this.path}: the map has a state ${target[wrong]}, which no version writes`;
    throw dataLoss('SCRATCH_DAMAGED', text, { path: this.path });
  }

  async #write(position: number, bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) {
        const rest = bytes.length - done;
        const { bytesWritten } = await this.#handle.write(bytes, done, rest, position + done);
        done += bytesWritten;
      }
    } catch (error) {
      throw scratchError(this.path, error);
    }
  }
}

async function create(path: string, base: ScratchBase): Promise<void> {
  const file = await NewFile.create(path);
  try {
    await file.write(0, formatFramed('scratch', { ...base, blockSize }));
    await file.truncate(dataStart(base.logicalBytes) + base.logicalBytes);
    await file.publish();
  } catch (error) {
    await file.abort();
    throw error;
  }
}

async function checkHeader(handle: FileHandle, path: string, base: ScratchBase): Promise<void> {
  const header = new Uint8Array(headerBytes);
  await readFully(handle, 0, header, path);
  const end = header.indexOf(0);
  const found = parseFramed('scratch', header.subarray(0, Math.max(0, end)), path);
  const { packageId, image, root, logicalBytes } = found as Partial<ScratchBase>;
  if (typeof packageId !== 'string' || typeof image !== 'string') {
    throw objectDamaged(path, 0, 'does not say which image it belongs to');
  }
  const isSame = root === base.root && logicalBytes === base.logicalBytes;
  if (isSame) return;
  const text =
    `${path} holds changes of image "${image}" of package "${packageId}", which has other ` +
    `content than image "${base.image}" of package "${base.packageId}": name another file`;
  throw failedPrecondition('SCRATCH_FOREIGN', text, { path, packageId, image });
}

async function readFully(handle: FileHandle, position: number, target: Uint8Array, path: string) {
  for (let done = 0; done < target.length; ) {
    const rest = target.length - done;
    const { bytesRead } = await handle.read(target, done, rest, position + done);
    if (bytesRead === 0) throw dataLoss('SCRATCH_DAMAGED', `${path} is cut short`, { path });
    done += bytesRead;
  }
}

/** A lock beside the file that ends with its process, however that ends; as the kernel's. */
function takeLock(path: string): DatabaseSync {
  let lock: DatabaseSync;
  try {
    lock = new DatabaseSync(`${path}.lock`, { timeout: 0 });
  } catch (error) {
    throw failedPrecondition('TARGET_FOLDER_MISSING', `${path}: ${(error as Error).message}`, {
      path,
    });
  }
  try {
    lock.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock.close();
    if (!/locked|busy/i.test((error as Error).message)) throw error;
    const text = `another process serves with the scratch file ${path}: end it or name another file`;
    throw failedPrecondition('SCRATCH_IN_USE', text, { path });
  }
}

function scratchError(path: string, error: unknown): RpcError {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
    return resourceExhausted('SCRATCH_FULL', `no space for changes in ${path}`, { path, code });
  }
  return unavailable('SCRATCH_IO_FAILED', `${path}: ${message}`, { path, code: `${code}` });
}
