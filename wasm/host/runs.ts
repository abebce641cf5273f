/**
 * Bytes of a run that come from a file: `length` bytes at `fileOffset`, placed at `bufferOffset` of
 * the run.
 */
export type Extent = { fd: number; fileOffset: number; bufferOffset: number; length: number };

/** How new blocks are stored: LZ4, raw, or zstd. One that does not shrink is stored raw anyway. */
export type Compression = boolean | { zstdLevel: number };

/** How a block is stored in full, i.e. without a base. */
export type FullEncoding = 'lz4' | 'raw' | 'zstd';

/** A block that is stored in full and that differences refer to. */
export type StoredBase = {
  id: Uint8Array;
  encoding: FullEncoding;
  fd: number;
  offset: number;
  length: number;
};

/**
 * A run to encode. Its bytes come from `extents` or from `bytes`; whatever these do not cover is
 * zero.
 */
export type EncodeRun = {
  /** 1 to `runBlocksMax`. A last short block of an image is filled up with zeros. */
  blocks: number;
  /**
   * Bytes that the worker reads by itself; in any order, without overlaps. At most `extentsMax`.
   */
  extents?: readonly Extent[];
  /**
   * Bytes handed in instead, from the start of the run. They must not change until the call has
   * resolved.
   */
  bytes?: Uint8Array;
  /**
   * Ids of the parent's blocks, 32 bytes a block, all zero for a hole. Without it every block is
   * new.
   */
  parentIds?: Uint8Array;
  /**
   * The same blocks of the parent's image, as a file or bytes has them; needs `parentIds`. What is
   * equal gets the parent's id and is not hashed.
   */
  older?: Pick<EncodeRun, 'extents' | 'bytes'>;
  compress: Compression;
  /** Leaves the blocks that differ from one of the parent's to `EncodedRun.storeLeft`. */
  leaveChanged?: boolean;
};

/** An encoded run. All arrays are views of shared memory and hold until `release`. */
export type EncodedRun = {
  /**
   * Per block: 0 zero, 1 equal to the parent's, new and stored: 2 as LZ4, 3 raw (it did not
   * shrink), 5 as zstd, 6 as a difference; 4 new and left.
   */
  kinds: Uint8Array;
  /** BLAKE3-256 of each plain block, 32 bytes a block; all zero for a zero block. */
  ids: Uint8Array;
  /** Where each block's stored bytes begin in `data`. */
  offsets: Uint32Array;
  /** How many bytes each block takes in `data`; 0 for zero and equal blocks. */
  lengths: Uint32Array;
  /** The stored bytes of the new blocks, in order and without gaps. */
  data: Uint8Array;
  /**
   * Stores blocks that were left, each as the difference from its base where that is smaller, else
   * in full. `data` of the result has them behind the others; it is released in place of this run.
   * A base that is not what its id says is counted and not used.
   */
  storeLeft(blocks: readonly LeftBlock[]): Promise<EncodedRun & { damagedBases: number }>;
  /** Gives the slot back; must be called, a second call does nothing. */
  release(): void;
};

/** A block that was left: its number in the run, and what it may be stored as a difference from. */
export type LeftBlock = { index: number; base?: StoredBase };

/** One stored block to decode. An all-zero id is a zero block: nothing is read for it. */
export type StoredBlock = {
  id: Uint8Array;
  encoding: FullEncoding | 'delta';
  /** What a difference starts from; only for `delta`. Always read from its file. */
  base?: StoredBase;
  /**
   * Where its `length` stored bytes lie: in this file, or in `DecodeRun.stored` when that is given.
   */
  fd: number;
  offset: number;
  length: number;
  /** Where the plain block goes in `targetFd`; not used without one. */
  targetOffset: number;
  /**
   * How many of its bytes to write: less than a block at the end of an image whose size is no
   * multiple.
   */
  targetLength?: number;
};

export type DecodeRun = {
  /** 1 to `runBlocksMax` blocks. */
  blocks: readonly StoredBlock[];
  /** Stored bytes handed in instead of read: at most 4 MiB. */
  stored?: Uint8Array;
  /**
   * Written to at each block's `targetOffset`. Zero blocks are not written: the target is sparse
   * and fresh.
   */
  targetFd?: number;
  /** Also hands out each block as LZ4 or raw, in `DecodedRun.exported`. */
  wantsLz4?: boolean;
};

/** A decoded run: every block agrees with its id. */
export type DecodedRun = {
  /**
   * Without `targetFd`: the plain blocks one after another, a view of shared memory until
   * `release`. Else empty.
   */
  bytes: Uint8Array;
  /**
   * With `wantsLz4` each block as an LZ4 frame wants it, undefined for a hole: as it is stored, or
   * compressed again when it is stored in another way. Views of shared memory until `release`.
   */
  exported?: ({ encoding: 'lz4' | 'raw'; bytes: Uint8Array } | undefined)[];
  /** Gives the slot back; must be called, a second call does nothing. */
  release(): void;
};
