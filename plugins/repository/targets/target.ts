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
  /** Removes what was written. May be called in any state; after `finish` it does nothing. */
  abort(): Promise<void>;
}
