/**
 * Bytes of a run that come from a file: `length` bytes at `fileOffset`, placed at `bufferOffset` of
 * the run.
 */
export type Extent = { fd: number; fileOffset: number; bufferOffset: number; length: number };

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
  /** False stores new blocks raw. */
  compress: boolean;
};

/** An encoded run. All arrays are views of shared memory and hold until `release`. */
export type EncodedRun = {
  /**
   * Per block: 0 zero, 1 equal to the parent's, 2 new and LZ4, 3 new and raw (it did not shrink).
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
  /** Gives the slot back; must be called, a second call does nothing. */
  release(): void;
};

/** One stored block to decode. An all-zero id is a zero block: nothing is read for it. */
export type StoredBlock = {
  id: Uint8Array;
  encoding: 'lz4' | 'raw';
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
};

/** A decoded run: every block agrees with its id. */
export type DecodedRun = {
  /**
   * Without `targetFd`: the plain blocks one after another, a view of shared memory until
   * `release`. Else empty.
   */
  bytes: Uint8Array;
  /** Gives the slot back; must be called, a second call does nothing. */
  release(): void;
};
