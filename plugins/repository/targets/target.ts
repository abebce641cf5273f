import type { FileExtent } from '../sources/source.ts';

/**
 * Where the blocks of an image go to. WRITING → FINISHED or ABORTED; nothing is visible before
 * FINISHED.
 */
export interface BlockTarget {
  /**
   * Writes `bytes` at `offset` (bytes). A multiple of 64 KiB, except that the last piece may be
   * short. What is never written reads as zero. Space that runs out is RESOURCE_EXHAUSTED
   * `TARGET_NO_SPACE`.
   */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Of a raw file: workers may write by themselves at the offsets of the image. */
  readonly fd?: number;
  /** Sets the size, makes the data durable and gives the file its name. Not before, not in part. */
  finish(): Promise<void>;
  /** What an earlier process left of this file, if anything: nothing of it is right before it is checked. */
  readonly kept?: KeptFile;
  /** Ends writing without a result, and keeps what was written for another process to go on with. */
  suspend?(): Promise<void>;
  /** Removes what was written. May be called in any state; after `finish` it does nothing. */
  abort(): Promise<void>;
}

/** A file that was begun. Asked in the order of the image, each block once, until `endAt`. */
export interface KeptFile {
  /**
   * The pieces of the file in which these blocks would lie; `present` says which of the `count` are
   * no holes, none when it is absent. Undefined when the file cannot hold them.
   */
  locate(
    first: number,
    count: number,
    present?: readonly boolean[],
  ): Promise<FileExtent[] | undefined>;
  /** The blocks before this one are right; it and all behind it will be written. */
  endAt(block: number): Promise<void>;
}
