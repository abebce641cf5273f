import { type FileHandle, link, mkdir, open, rename, rm, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Area, Publication, StagedObject } from './backend.ts';
import { leaseLost } from './faults.ts';
import { hasCode, onPath, toStoreError } from './folder-errors.ts';

/** The operating system takes at most 1024 parts in one call. */
const partsMax = 1024;

/** Makes the names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  await onPath(path, async () => {
    const handle = await open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

/** One holder's folder below `tmp/`. */
export class FolderArea implements Area {
  readonly id: string;
  private readonly root: string;
  private readonly folder: string;
  private readonly open = new Set<FolderStagedObject>();

  /** `folder` exists; `root` is the repository's folder. */
  constructor(id: string, root: string, folder: string) {
    this.id = id;
    this.root = root;
    this.folder = folder;
  }

  async stage(label: string): Promise<StagedObject> {
    const path = join(this.folder, label);
    const handle = await this.guard(path, 0, () => open(path, 'wx+', 0o644));
    const staged = new FolderStagedObject(label, path, handle, () => this.open.delete(staged));
    this.open.add(staged);
    return staged;
  }

  async replace(label: string, bytes: Uint8Array): Promise<void> {
    const path = join(this.folder, label);
    await this.guard(path, bytes.length, async () => {
      const handle = await open(`${path}.new`, 'w', 0o644);
      try {
        await handle.writeFile(bytes);
      } finally {
        await handle.close();
      }
      await rename(`${path}.new`, path);
    });
  }

  async remove(label: string): Promise<void> {
    await this.guard(join(this.folder, label), 0, () => unlink(join(this.folder, label)));
  }

  async publish(objects: readonly Publication[], options: { undo?: boolean } = {}): Promise<void> {
    const linked: string[] = [];
    const folders = new Set<string>();
    try {
      for (const { staged, name } of objects) {
        const target = join(this.root, name);
        await this.guard(target, 0, () => link(join(this.folder, staged.label), target));
        linked.push(target);
        folders.add(dirname(target));
      }
      for (const folder of folders) await syncFolder(folder);
    } catch (error) {
      if (options.undo) for (const path of linked) await unlink(path).catch(() => undefined);
      throw error;
    }
  }

  async replaceObject({ staged, name }: Publication): Promise<void> {
    const target = join(this.root, name);
    await this.guard(target, 0, async () => {
      // A repository of an older program has no such folder yet.
      await mkdir(dirname(target), { recursive: true });
      await rename(join(this.folder, staged.label), target);
      await syncFolder(dirname(target));
    });
  }

  async close(): Promise<void> {
    for (const staged of [...this.open]) await staged.abandon();
    await onPath(this.folder, () => rm(this.folder, { recursive: true, force: true }));
  }

  /** Runs `work`; a missing folder of this area means that the lease was taken away. */
  private async guard<T>(path: string, bytes: number, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (hasCode(error, 'ENOENT') && !(await exists(this.folder))) throw leaseLost(this.id);
      throw toStoreError(error, path, bytes);
    }
  }
}

class FolderStagedObject implements StagedObject {
  readonly label: string;
  sizeBytes = 0;
  private readonly path: string;
  private readonly onEnd: () => void;
  private handle: FileHandle | undefined;

  constructor(label: string, path: string, handle: FileHandle, onEnd: () => void) {
    this.label = label;
    this.path = path;
    this.handle = handle;
    this.onEnd = onEnd;
  }

  async append(parts: readonly Uint8Array[]): Promise<void> {
    for (let first = 0; first < parts.length; first += partsMax) {
      await this.appendSome(parts.slice(first, first + partsMax));
    }
  }

  async sync(): Promise<void> {
    await onPath(this.path, () => this.handle!.datasync());
  }

  async finish(): Promise<void> {
    const handle = this.handle!;
    await onPath(this.path, () => handle.sync());
    await this.abandon();
  }

  async abandon(): Promise<void> {
    const handle = this.handle;
    this.handle = undefined;
    this.onEnd();
    await handle?.close();
  }

  async discard(): Promise<void> {
    await this.abandon();
    await onPath(this.path, () => rm(this.path, { force: true }));
  }

  async readBack(): Promise<Uint8Array> {
    return await onPath(this.path, async () => {
      const handle = await open(this.path, 'r');
      try {
        return new Uint8Array(await handle.readFile());
      } finally {
        await handle.close();
      }
    });
  }

  // The system may take only some of the bytes: a full disk shows as a short write first.
  private async appendSome(parts: readonly Uint8Array[]): Promise<void> {
    let rest = parts.filter((part) => part.length > 0);
    while (rest.length > 0) {
      const wanted = rest.reduce((sum, part) => sum + part.length, 0);
      const write = () => this.handle!.writev(rest, this.sizeBytes);
      const { bytesWritten } = await onPath(this.path, write, wanted);
      this.sizeBytes += bytesWritten;
      rest = dropBytes(rest, bytesWritten);
    }
  }
}

function dropBytes(parts: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count;
  const rest: Uint8Array[] = [];
  for (const part of parts) {
    const dropped = Math.min(left, part.length);
    left -= dropped;
    if (dropped < part.length) rest.push(part.subarray(dropped));
  }
  return rest;
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw toStoreError(error, path);
  }
}
