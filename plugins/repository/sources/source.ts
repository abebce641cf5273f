/**
 * Where the blocks of an image come from: a raw file, a qcow2 file with its backing chain, an NBD
 * export, an LZ4 frame. Everything that reads images asks for no more than these interfaces.
 */

/** A piece of the image that is either zero throughout or has to be read. Offsets are in bytes. */
export type SourceExtent = { offset: number; length: number; kind: 'data' | 'zero' };

/** A part of the image in bytes. */
export type ByteRange = { start: number; length: number };

/**
 * Bytes of an open file that are bytes of the image: `length` bytes at `fileOffset` of `fd` belong
 * at `bufferOffset` of the buffer that is being filled.
 */
export type FileExtent = { fd: number; fileOffset: number; bufferOffset: number; length: number };

/** A piece of the image that may differ from an older version of it. Offsets are in bytes. */
export type ChangedExtent = { offset: number; length: number };

/** OPEN → CLOSED. After `close` every other call is a programmer's error. */
export interface BlockSource {
  /** What is read, for messages: a path or the address of an export. */
  readonly name: string;
  /** The size of the image in bytes, not of the file that holds it. */
  readonly sizeBytes: number;
  /**
   * In order, without gaps or overlaps, the whole image. `zero` is certain, `data` may be zero too.
   * `within`: sorted, the only parts about which it matters; all else may count as `data`
   * without a look, so that asking costs no more than the parts do.
   */
  extents(within?: readonly ByteRange[]): AsyncIterable<SourceExtent>;
  /**
   * The pieces of open files that hold this range, so that a worker can read by itself. What no
   * piece covers is zero. Undefined when the range cannot be read that way: then use `read`.
   */
  fileExtents?(offset: number, length: number): FileExtent[] | undefined;
  /**
   * Fills `target` with the bytes from `offset` on, zeros for holes.
   * A file that ends too early is DATA_LOSS `SOURCE_TRUNCATED` with path and offset.
   */
  read(offset: number, target: Uint8Array): Promise<void>;
  /**
   * Differs after any change of what is read. Absent or undefined where that cannot be told: then
   * an interrupted run starts anew.
   */
  fingerprint?(): Promise<string | undefined>;
  close(): Promise<void>;
}

/** A source that can say what changed since an older point in time without reading the data. */
export interface ChangeTrackingSource extends BlockSource {
  /** Ordered, no overlaps. Where this knowledge comes from, for the record of a delta. */
  readonly changedOrigin: string;
  changed(): AsyncIterable<ChangedExtent>;
}
