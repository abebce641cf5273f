import { readSync } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemRandom } from '../../../sdk/ports/random.ts';
import type { CacheFile } from './backend.ts';
import { hasCode, onPath, toStoreError } from './folder-errors.ts';

/** A file of derived data below `temporary`, until it is published. */
export async function createCacheFile(root: string, temporary: string): Promise<CacheFile> {
  const path = join(temporary, `.new-${systemRandom.uuid()}`);
  const handle = await onPath(path, () => open(path, 'wx+', 0o644));
  return new FolderCacheFile(root, path, handle, 0);
}

export async function openCacheFile(root: string, name: string): Promise<CacheFile | undefined> {
  const path = join(root, name);
  try {
    const handle = await open(path, 'r');
    return new FolderCacheFile(root, undefined, handle, (await handle.stat()).size);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw toStoreError(error, path);
  }
}

class FolderCacheFile implements CacheFile {
  sizeBytes: number;
  private readonly root: string;
  /** Where it lies as long as it has no name. */
  private temporary: string | undefined;
  private readonly handle: FileHandle;

  constructor(root: string, temporary: string | undefined, handle: FileHandle, sizeBytes: number) {
    this.root = root;
    this.temporary = temporary;
    this.handle = handle;
    this.sizeBytes = sizeBytes;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const rest = bytes.length - done;
      const call = () => this.handle.write(bytes, done, rest, position + done);
      done += (await onPath(this.temporary ?? this.root, call, rest)).bytesWritten;
    }
    this.sizeBytes = Math.max(this.sizeBytes, position + bytes.length);
  }

  async read(target: Uint8Array, position: number): Promise<boolean> {
    for (let done = 0; done < target.length; ) {
      const call = () => this.handle.read(target, done, target.length - done, position + done);
      const { bytesRead } = await onPath(this.temporary ?? this.root, call);
      if (bytesRead === 0) return false;
      done += bytesRead;
    }
    return true;
  }

  readNow(target: Uint8Array, position: number): boolean {
    for (let done = 0; done < target.length; ) {
      const { fd } = this.handle;
      const count = readSync(fd, target, done, target.length - done, position + done);
      if (count === 0) return false;
      done += count;
    }
    return true;
  }

  async publish(name: string): Promise<void> {
    const path = join(this.root, name);
    const from = this.temporary!;
    await onPath(path, async () => {
      await mkdir(dirname(path), { recursive: true });
      await rename(from, path);
    });
    this.temporary = undefined;
  }

  async close(): Promise<void> {
    await this.handle.close();
    const path = this.temporary;
    if (path !== undefined) await onPath(path, () => rm(path, { force: true }));
  }
}
