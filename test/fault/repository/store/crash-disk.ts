/**
 * A disk that can lose its power: below one folder it remembers what `fsync` has made durable. Data
 * of a file and names in a folder are durable only after a sync of that file or that folder; at the
 * power cut each of the others is kept, dropped or garbled, as a seed says.
 *
 * It stands below the real backend: the functions of `node:fs/promises` are replaced, so that no
 * sync of the product is taken on trust. One at a time in a process.
 */
import fs, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join, relative, sep } from 'node:path';

type FileNode = {
  kind: 'file';
  /** Another name of the file, which stays when all others are gone. */
  copy: string;
  writtenBytes: number;
  durableBytes: number;
};
type FolderNode = {
  kind: 'folder';
  now: Map<string, DiskNode>;
  durable: Map<string, DiskNode>;
  /** What was done since the last sync; a rename is one change of two names. */
  changes: [name: string, node: DiskNode | undefined][][];
};
type DiskNode = FileNode | FolderNode;

/** A number from 0 to below `limit`. */
export type Dice = (limit: number) => number;

/** The same numbers for the same seed. */
export function diceOf(seed: number): Dice {
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  return (limit) => {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

const real = { ...fs };

export type CrashDiskOptions = {
  /** The power goes before the call of this number, from 0; default never. */
  cutAt?: number;
  /** A sync of this path, relative to the disk, does nothing: a fault to be found. */
  omits?: (path: string) => boolean;
};

export class CrashDisk {
  /** The folder that is the disk. */
  readonly folder: string;
  /** How many calls changed or synced something. */
  calls = 0;
  /** How many syncs were omitted. */
  omitted = 0;
  private readonly copies: string;
  private readonly options: CrashDiskOptions;
  private readonly root: FolderNode = newFolder();
  private copyCount = 0;

  /** `home` is an empty folder. The disk is in use from now on, until `remove`. */
  static async insert(home: string, options: CrashDiskOptions = {}): Promise<CrashDisk> {
    const disk = new CrashDisk(home, options);
    await real.mkdir(disk.folder);
    await real.mkdir(disk.copies);
    disk.use();
    return disk;
  }

  private constructor(home: string, options: CrashDiskOptions) {
    this.folder = join(home, 'disk');
    this.copies = join(home, 'copies');
    this.options = options;
  }

  /** True when the power is gone: nothing can be changed any more. */
  get isDead(): boolean {
    return this.calls > (this.options.cutAt ?? Number.POSITIVE_INFINITY);
  }

  /** Puts it in place again. */
  use(): void {
    Object.assign(fs, this.functions());
    syncBuiltinESMExports();
  }

  remove(): void {
    Object.assign(fs, real);
    syncBuiltinESMExports();
  }

  /** What is found on the disk after a power cut now. `keeps`: whether what is not durable may stay. */
  async afterCut(target: string, dice: Dice, keeps: boolean): Promise<void> {
    await this.restore(this.root, target, dice, keeps);
  }

  private async restore(folder: FolderNode, target: string, dice: Dice, keeps: boolean) {
    await real.mkdir(target);
    const names = new Map(folder.durable);
    for (const change of folder.changes) {
      if (!keeps || dice(2) === 0) continue;
      for (const [name, node] of change) {
        if (node === undefined) names.delete(name);
        else names.set(name, node);
      }
    }
    for (const [name, node] of names) {
      const path = join(target, name);
      if (node.kind === 'folder') await this.restore(node, path, dice, keeps);
      else await real.writeFile(path, await contentAfterCut(node, dice, keeps));
    }
  }

  private functions() {
    const path = (value: unknown) => String(value);
    return {
      open: async (at: string, flags = 'r', mode?: number) => {
        if (!this.has(at)) return real.open(at, flags, mode);
        if (flags !== 'r') this.count();
        const handle = await real.open(at, flags, mode);
        return this.watched(handle, await this.nodeAt(at, flags), at);
      },
      link: async (from: string, to: string) => {
        if (!this.has(to)) return real.link(from, to);
        this.count();
        await real.link(from, to);
        this.change(to, [[basename(to), this.find(from)]]);
      },
      rename: async (from: string, to: string) => {
        if (!this.has(to)) return real.rename(from, to);
        this.count();
        if (dirname(from) !== dirname(to)) throw new Error('renames across folders are not known');
        await real.rename(from, to);
        const node = this.find(from);
        this.change(to, [
          [basename(from), undefined],
          [basename(to), node],
        ]);
      },
      unlink: async (at: string) => {
        if (!this.has(at)) return real.unlink(at);
        this.count();
        await real.unlink(at);
        this.change(at, [[basename(at), undefined]]);
      },
      rm: async (at: string, options: object) => {
        if (!this.has(at)) return real.rm(at, options);
        this.count();
        await real.rm(at, options);
        if (this.find(at)) this.change(at, [[basename(at), undefined]]);
      },
      mkdir: async (at: string, options?: { recursive?: boolean }) => {
        if (!this.has(path(at))) return real.mkdir(at, options);
        this.count();
        const first = await real.mkdir(at, options);
        this.makeFolders(at);
        return first;
      },
    };
  }

  private count(): void {
    this.calls += 1;
    if (this.isDead) throw Object.assign(new Error('the power is gone'), { code: 'EIO' });
  }

  private watched(handle: FileHandle, node: DiskNode, at: string): FileHandle {
    const sync = async () => {
      this.count();
      if (this.options.omits?.(relative(this.folder, at))) this.omitted += 1;
      else makeDurable(node);
    };
    const { writev, writeFile } = handle;
    const grow = (end: number) => {
      if (node.kind === 'file') node.writtenBytes = Math.max(node.writtenBytes, end);
    };
    return Object.assign(handle, {
      sync,
      datasync: sync,
      writev: async (parts: Uint8Array[], position: number) => {
        this.count();
        const written = await writev.call(handle, parts, position);
        grow(position + written.bytesWritten);
        return written;
      },
      writeFile: async (bytes: Uint8Array) => {
        this.count();
        await writeFile.call(handle, bytes);
        grow(bytes.length);
      },
    });
  }

  private has(path: string): boolean {
    return path === this.folder || path.startsWith(this.folder + sep);
  }

  private find(path: string): DiskNode | undefined {
    let node: DiskNode | undefined = this.root;
    for (const name of relative(this.folder, path).split(sep)) {
      if (name === '') continue;
      node = node?.kind === 'folder' ? node.now.get(name) : undefined;
    }
    return node;
  }

  /** The node of an opened path; a file that was made or emptied begins anew. */
  private async nodeAt(at: string, flags: string): Promise<DiskNode> {
    const found = this.find(at);
    if (found?.kind === 'file' && flags.startsWith('w')) {
      Object.assign(found, { writtenBytes: 0, durableBytes: 0 });
    }
    if (found) return found;
    const copy = join(this.copies, String(this.copyCount++));
    await real.link(at, copy);
    const made: FileNode = { kind: 'file', copy, writtenBytes: 0, durableBytes: 0 };
    this.change(at, [[basename(at), made]]);
    return made;
  }

  private change(at: string, change: [string, DiskNode | undefined][]): void {
    const parent = this.find(dirname(at));
    if (parent?.kind !== 'folder') throw new Error(`${at} is in no folder of the disk`);
    parent.changes.push(change);
    for (const [name, node] of change) {
      if (node === undefined) parent.now.delete(name);
      else parent.now.set(name, node);
    }
  }

  private makeFolders(at: string): void {
    let path = this.folder;
    for (const name of relative(this.folder, at).split(sep)) {
      path = join(path, name);
      if (!this.find(path)) this.change(path, [[name, newFolder()]]);
    }
  }
}

function newFolder(): FolderNode {
  return { kind: 'folder', now: new Map(), durable: new Map(), changes: [] };
}

function makeDurable(node: DiskNode): void {
  if (node.kind === 'file') node.durableBytes = node.writtenBytes;
  else {
    node.durable = new Map(node.now);
    node.changes = [];
  }
}

/** What was not synced is there, is missing, is zero (its place was never written), or is anything. */
async function contentAfterCut(node: FileNode, dice: Dice, keeps: boolean): Promise<Uint8Array> {
  const bytes = new Uint8Array(await real.readFile(node.copy));
  const { durableBytes } = node;
  const unsynced = bytes.length - durableBytes;
  if (unsynced === 0) return bytes;
  const fate = keeps ? dice(4) : 1;
  if (fate === 0) return bytes;
  if (fate === 1) return bytes.subarray(0, durableBytes + (keeps ? dice(unsynced) : 0));
  const tail = bytes.subarray(durableBytes);
  if (fate === 2) tail.fill(0);
  else tail[dice(unsynced)]! ^= 0xff;
  return bytes;
}
