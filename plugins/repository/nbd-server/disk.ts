/** A part of an answer to a read; without `bytes` it is zero. */
export type DiskPart = { length: number; bytes?: Uint8Array };

/** What was read. The bytes stay as they are until `release`. */
export type DiskRead = { parts: DiskPart[]; release(): void };

/** A stretch of a disk that is zero throughout or may hold anything. In bytes. */
export type DiskExtent = { length: number; isZero: boolean };

/** What one export serves. Any number of calls may be under way. OPEN → CLOSED. */
export interface ServedDisk {
  readonly sizeBytes: number;
  /** The bytes of a range inside the disk, in order; release them. PACKAGE_DAMAGED (DATA_LOSS). */
  read(offset: number, length: number): Promise<DiskRead>;
  /** What the range holds, in order, without reading blocks. */
  extents(offset: number, length: number): AsyncIterable<DiskExtent>;
  /** Absent: read-only. */
  readonly changes?: DiskChanges;
}

/** How a disk is written. A reported change is seen by every later read of any client. */
export interface DiskChanges {
  /** SCRATCH_FULL (RESOURCE_EXHAUSTED): there is no space for it; nothing else is lost. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Makes the range zero. */
  zero(offset: number, length: number): Promise<void>;
  /** The range is not needed: whole blocks of it become zero, the rest stays. */
  trim(offset: number, length: number): Promise<void>;
  /** Every change that was reported before survives what may come. */
  flush(): Promise<void>;
}
