/**
 * Where the objects of a repository live. Objects are dumb: they have a name, are written once, and
 * are read in ranges. A folder implements this today; an object store can, with a local cache for
 * `openFile`.
 *
 * Every method may throw RESOURCE_EXHAUSTED `STORE_FULL` (path, bytes) where it writes, and
 * UNAVAILABLE `STORE_IO_FAILED` (path, code) when the device below fails.
 */
export interface Backend {
  /** What messages call the object, for example its path. */
  path(name: string): string;
  /**
   * The whole object, or undefined when there is none. Longer than `bytesMax` is OBJECT_DAMAGED.
   */
  readAll(name: string, bytesMax: number): Promise<Uint8Array | undefined>;
  /**
   * Names that begin with `prefix`, which ends in "/", one level deep. At most one listing's worth
   * of memory.
   */
  list(prefix: string): Promise<string[]>;
  /** Size in bytes, or undefined when there is no such object. */
  size(name: string): Promise<number | undefined>;
  /** Opens the object for reading, by workers too. Undefined when there is none. */
  openFile(name: string): Promise<OpenedFile | undefined>;
  /** Makes an empty file of derived data. */
  createCacheFile(): Promise<CacheFile>;
  /** Opens a published one; undefined when there is none. */
  openCacheFile(name: string): Promise<CacheFile | undefined>;
  /** False when it was not there. Durable only after `sync` of its prefix. */
  delete(name: string): Promise<boolean>;
  /** Makes earlier deletions under the prefix durable. */
  sync(prefix: string): Promise<void>;
  /**
   * Makes the place where one holder of a lease keeps what is not published; visible with `lease`
   * in it.
   */
  createArea(areaId: string, lease: Uint8Array): Promise<Area>;
  /** The ids of all areas. */
  listAreas(): Promise<string[]>;
  /**
   * From the moment this returns nothing can be published from the area; then its content is
   * removed.
   */
  takeAwayArea(areaId: string): Promise<void>;
  /**
   * Keeps some space back, as far as there is room, so that a full store can still be read and
   * freed.
   */
  keepReserve(): Promise<void>;
  /** Gives that space up; false when there was none. */
  releaseReserve(): Promise<boolean>;
  /**
   * Removes what was left by a process that died while it made or removed an area more than `ageMs`
   * ago.
   */
  removeLeftovers(nowMs: number, ageMs: number): Promise<void>;
}

/** A file of derived data: it may vanish or be garbage after a crash, and is then made anew. */
export interface CacheFile {
  readonly sizeBytes: number;
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Fills `target`; false when the file ends before. */
  read(target: Uint8Array, position: number): Promise<boolean>;
  /** The same for small pieces, without waiting for a turn. */
  readNow(target: Uint8Array, position: number): boolean;
  /** Gives it a name, in place of what had it. */
  publish(name: string): Promise<void>;
  /** Closes it; without a name it is gone then. */
  close(): Promise<void>;
}

export type OpenedFile = { fd: number; sizeBytes: number; close(): Promise<void> };

/**
 * OPEN → REMOVED or taken away. After either, every call that writes fails with ABORTED
 * `LEASE_LOST`.
 */
export interface Area {
  readonly id: string;
  /**
   * Starts an unpublished object. `label` is unique in the area and becomes part of a file name.
   */
  stage(label: string): Promise<StagedObject>;
  /** Writes a small object of the area itself (a lease, a pin), atomically, not durably. */
  replace(label: string, bytes: Uint8Array): Promise<void>;
  remove(label: string): Promise<void>;
  /**
   * Gives staged objects their names, none of which may exist, and makes the names durable. All
   * objects must be finished and belong under one prefix. When one fails, `undo` takes back the
   * names already given. A taken name is ALREADY_EXISTS `OBJECT_EXISTS`.
   */
  publish(objects: readonly Publication[], options?: { undo?: boolean }): Promise<void>;
  /**
   * Gives a finished object its name in place of the object that has it, if any, and makes that
   * durable. For checkpoints and damaged manifests only: everything else is written once.
   */
  replaceObject(publication: Publication): Promise<void>;
  /** Removes the area and everything staged in it. What is published stays. */
  close(): Promise<void>;
}

export type Publication = { staged: StagedObject; name: string };

/** WRITING → FINISHED. */
export interface StagedObject {
  readonly label: string;
  /** Bytes written so far. */
  readonly sizeBytes: number;
  /** Appends the parts. The bytes may be reused when it returns. */
  append(parts: readonly Uint8Array[]): Promise<void>;
  /** Makes everything appended so far durable. May run beside `append`. */
  sync(): Promise<void>;
  /** Makes all of it durable and ends writing. */
  finish(): Promise<void>;
  /** Removes what was written, in any state before it is published. */
  discard(): Promise<void>;
  /** Reads back the whole object, whatever its state. */
  readBack(): Promise<Uint8Array>;
}
