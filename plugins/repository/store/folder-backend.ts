import { mkdir, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isRpcError } from '../../../sdk/errors.ts';
import type { Area, Backend, CacheFile, OpenedFile } from './backend.ts';
import { objectDamaged } from './faults.ts';
import { FolderArea, syncFolder } from './folder-area.ts';
import { createCacheFile, openCacheFile } from './folder-cache.ts';
import { hasCode, onPath, toStoreError } from './folder-errors.ts';
import { reserveBytes } from './limits.ts';
import { prefixes, reserveName } from './object-names.ts';

const temporary = 'tmp';
const newPrefix = '.new-';
const deadPrefix = '.dead-';

/** Objects as files below one folder of a local file system. */
export class FolderBackend implements Backend {
  private readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  /** Makes the folders of an empty repository, durably. Repeating it is harmless. */
  async createFolders(): Promise<void> {
    const create = () => mkdir(this.root, { recursive: true });
    const first = await onPath(this.root, create);
    for (const prefix of [...prefixes, `${temporary}/`]) {
      const path = join(this.root, prefix);
      await onPath(path, () => mkdir(path, { recursive: true }));
    }
    await this.keepReserve();
    await syncFolder(this.root);
    if (first !== undefined) await syncAbove(this.root, dirname(first));
  }

  path(name: string): string {
    return join(this.root, name);
  }

  async readAll(name: string, bytesMax: number): Promise<Uint8Array | undefined> {
    const file = await this.openFile(name);
    if (file === undefined) return undefined;
    try {
      if (file.sizeBytes > bytesMax) {
        throw objectDamaged(this.path(name), 0, `is longer than ${bytesMax} bytes`);
      }
      return await onPath(this.path(name), async () => new Uint8Array(await file.readFile()));
    } finally {
      await file.close();
    }
  }

  async list(prefix: string): Promise<string[]> {
    const path = this.path(prefix);
    return await orIfMissing([], path, async () =>
      (await readdir(path)).map((name) => `${prefix}${name}`),
    );
  }

  async size(name: string): Promise<number | undefined> {
    const path = this.path(name);
    return await orIfMissing(undefined, path, async () => (await stat(path)).size);
  }

  async openFile(
    name: string,
  ): Promise<(OpenedFile & { readFile(): Promise<Uint8Array> }) | undefined> {
    const path = this.path(name);
    return await orIfMissing(undefined, path, async () => {
      const handle = await open(path, 'r');
      const { size } = await handle.stat();
      return {
        fd: handle.fd,
        sizeBytes: size,
        readFile: () => handle.readFile(),
        close: () => handle.close(),
      };
    });
  }

  async createCacheFile(): Promise<CacheFile> {
    return await createCacheFile(this.root, this.temporaryPath(''));
  }

  async openCacheFile(name: string): Promise<CacheFile | undefined> {
    return await openCacheFile(this.root, name);
  }

  async delete(name: string): Promise<boolean> {
    const path = this.path(name);
    return await orIfMissing(false, path, async () => {
      await unlink(path);
      return true;
    });
  }

  async sync(prefix: string): Promise<void> {
    await syncFolder(this.path(prefix));
  }

  async createArea(areaId: string, lease: Uint8Array): Promise<Area> {
    const unborn = this.temporaryPath(`${newPrefix}${areaId}`);
    const folder = this.temporaryPath(areaId);
    await onPath(unborn, () => mkdir(unborn));
    try {
      const area = new FolderArea(areaId, this.root, unborn);
      await area.replace('lease', lease);
      await onPath(folder, () => rename(unborn, folder));
    } catch (error) {
      await rm(unborn, { recursive: true, force: true });
      throw error;
    }
    return new FolderArea(areaId, this.root, folder);
  }

  async listAreas(): Promise<string[]> {
    const names = await this.listTemporary();
    return names.filter((name) => !name.startsWith('.')).sort();
  }

  async takeAwayArea(areaId: string): Promise<void> {
    const dead = this.temporaryPath(`${deadPrefix}${areaId}`);
    const taken = await orIfMissing(false, dead, async () => {
      await rename(this.temporaryPath(areaId), dead);
      return true;
    });
    if (taken) await onPath(dead, () => rm(dead, { recursive: true, force: true }));
  }

  async keepReserve(): Promise<void> {
    if ((await this.size(reserveName)) === reserveBytes) return;
    const path = this.path(reserveName);
    try {
      await onPath(path, () => writeReserve(path), reserveBytes);
    } catch (error) {
      // Less than the reserve is free: then there is none until somebody makes room.
      await this.delete(reserveName);
      if (!isRpcError(error, 'STORE_FULL')) throw error;
    }
  }

  async releaseReserve(): Promise<boolean> {
    return await this.delete(reserveName);
  }

  async removeLeftovers(nowMs: number, ageMs: number): Promise<void> {
    for (const name of await this.listTemporary()) {
      const path = this.temporaryPath(name);
      const isDead = name.startsWith(deadPrefix);
      if (!isDead && !(name.startsWith(newPrefix) && (await isOlder(path, nowMs - ageMs))))
        continue;
      await onPath(path, () => rm(path, { recursive: true, force: true }));
    }
  }

  private async listTemporary(): Promise<string[]> {
    const path = this.temporaryPath('');
    return await orIfMissing([], path, () => readdir(path));
  }

  private temporaryPath(name: string): string {
    return join(this.root, temporary, name);
  }
}

/** Makes the names of new folders durable: of all between `path` and `top`, which was there. */
async function syncAbove(path: string, top: string): Promise<void> {
  for (let folder = path; folder !== top; ) {
    folder = dirname(folder);
    await syncFolder(folder);
  }
}

async function writeReserve(path: string): Promise<void> {
  const handle = await open(path, 'w', 0o644);
  try {
    await handle.writeFile(new Uint8Array(reserveBytes));
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function isOlder(path: string, thenMs: number): Promise<boolean> {
  return await orIfMissing(false, path, async () => (await stat(path)).mtimeMs < thenMs);
}

async function orIfMissing<T>(missing: T, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return missing;
    throw toStoreError(error, path);
  }
}
