import { crc32 } from 'node:zlib';
import { cancelled, resourceExhausted } from '../../../../sdk/errors.ts';
import type { OpenFile } from '../open-file.ts';
import { decodeLz4Block } from './decode-block.ts';
import { FrameIndex } from './frame-index.ts';
import {
  corruptFrame,
  type FrameHeader,
  headerMaxBytes,
  parseFrameHeader,
  rawBlockFlag,
} from './header.ts';
import { XxHash32, xxHash32 } from './xxhash32.ts';
import { zeroBlock } from './zeros.ts';

/** The bytes of a file that are the frame. */
export type FileRange = { start: number; end: number };

export type ScanOptions = {
  /** Sees every byte of the range once, in order: for digests. */
  onBytes?: (bytes: Uint8Array) => void;
  /** The image may not be larger than this: RESOURCE_EXHAUSTED `SOURCE_TOO_LARGE`. */
  sizeMaxBytes?: number;
  signal?: AbortSignal;
};

export type ScannedFrame = { header: FrameHeader; index: FrameIndex; sizeBytes: number };

const chunkBytes = 1 << 20;
const blockBytes = 65536;
const zeros = new Uint8Array(blockBytes);
/** Blocks that shrank to less are decoded right away to see whether they are zero. */
const zeroSuspectBytes = 1024;

/** Reads a range of a file once, in order, through a buffer of bounded size. */
class Cursor {
  position: number;
  readonly #file: OpenFile;
  readonly #range: FileRange;
  readonly #name: string;
  readonly #options: ScanOptions;
  #memory = new Uint8Array(2 * chunkBytes);
  #buffer = this.#memory.subarray(0, 0);
  #at = 0;
  #filled: number;

  constructor(file: OpenFile, range: FileRange, name: string, options: ScanOptions) {
    this.#file = file;
    this.#range = range;
    this.#name = name;
    this.#options = options;
    this.position = range.start;
    this.#filled = range.start;
  }

  get left(): number {
    return this.#range.end - this.position;
  }

  /** The next `length` bytes; valid until the next call. */
  async take(length: number): Promise<Uint8Array> {
    if (length > this.left) {
      throw corruptFrame(this.#name, 'the frame is cut short', this.#range.end);
    }
    if (this.#buffer.length - this.#at < length) await this.#fill(length);
    const bytes = this.#buffer.subarray(this.#at, this.#at + length);
    this.#at += length;
    this.position += length;
    return bytes;
  }

  async #fill(length: number): Promise<void> {
    if (this.#options.signal?.aborted) throw cancelled('CANCELLED', 'reading was cancelled');
    const kept = this.#buffer.subarray(this.#at);
    const fresh = Math.min(Math.max(chunkBytes, length), this.#range.end - this.#filled);
    const size = kept.length + fresh;
    const next = size <= this.#memory.length ? this.#memory : new Uint8Array(size);
    next.set(kept);
    this.#memory = next;
    this.#buffer = next.subarray(0, size);
    this.#at = 0;
    const target = next.subarray(kept.length, size);
    await this.#file.read(this.#filled, target);
    this.#options.onBytes?.(target);
    this.#filled += fresh;
  }
}

/**
 * Walks all blocks of a frame: lengths, checksums where there are some, the end mark, nothing
 * behind it. Decodes only what it must (the last block of a frame without a size; everything if
 * there is a content checksum).
 */
export async function scanFrame(
  file: OpenFile,
  range: FileRange,
  name: string,
  options: ScanOptions = {},
): Promise<ScannedFrame> {
  const cursor = new Cursor(file, range, name, options);
  const start = new Uint8Array(Math.min(headerMaxBytes, range.end - range.start));
  await file.read(range.start, start);
  const header = parseFrameHeader(start, name);
  await cursor.take(header.headerBytes);
  const scan = new Scan(header, name, options.sizeMaxBytes ?? Number.MAX_SAFE_INTEGER);
  for (;;) {
    const position = cursor.position;
    const word = view(await cursor.take(4)).getUint32(0, true);
    if (word === 0) break;
    const length = word & ~rawBlockFlag;
    if (length > header.blockMaxBytes || length === 0) {
      throw corruptFrame(name, `a block of ${length} bytes`, position);
    }
    const stored = await cursor.take(length + (header.blockChecksums ? 4 : 0));
    scan.block(position, word, stored);
  }
  const sizeBytes = scan.finish(cursor.position - 4);
  if (header.contentChecksum) {
    const expected = view(await cursor.take(4)).getUint32(0, true);
    if (expected !== scan.contentHash.digest()) {
      throw corruptFrame(name, 'the checksum of the content is wrong', cursor.position - 4);
    }
  }
  if (cursor.left > 0) throw corruptFrame(name, 'bytes follow the frame', cursor.position);
  return { header, index: scan.index, sizeBytes };
}

function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += blockBytes) {
    const part = bytes.subarray(at, at + blockBytes);
    if (Buffer.compare(part, zeros.subarray(0, part.length)) !== 0) return false;
  }
  return true;
}

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

class Scan {
  readonly index: FrameIndex;
  readonly contentHash = new XxHash32();
  readonly #header: FrameHeader;
  readonly #name: string;
  readonly #sizeMaxBytes: number;
  readonly #plain: Uint8Array;
  #check = 0;
  /** The last block so far: its decoded length decides the size of the image. */
  readonly #lastStored: Uint8Array;
  #last: { word: number; length: number; position: number } | undefined;

  constructor(header: FrameHeader, name: string, sizeMaxBytes: number) {
    this.#header = header;
    this.#name = name;
    this.#sizeMaxBytes = Math.min(sizeMaxBytes, header.contentBytes ?? sizeMaxBytes);
    this.#plain = new Uint8Array(header.blockMaxBytes);
    this.#lastStored = new Uint8Array(header.blockMaxBytes);
    this.index = new FrameIndex(header.blockMaxBytes);
    if (header.contentBytes !== undefined && header.contentBytes > sizeMaxBytes) {
      throw this.#tooLarge(header.contentBytes, sizeMaxBytes);
    }
  }

  block(position: number, word: number, stored: Uint8Array) {
    const { index } = this;
    const before = index.blockCount * this.#header.blockMaxBytes;
    if (before >= this.#sizeMaxBytes) throw this.#tooLarge(before + 1, this.#sizeMaxBytes);
    const length = word & ~rawBlockFlag;
    if (index.blockCount > 0 && index.blockCount % index.blocksPerRun === 0) {
      index.closeRun(this.#check, position);
      this.#check = 0;
    }
    const prefix = new Uint8Array(4);
    view(prefix).setUint32(0, word, true);
    this.#check = crc32(stored, crc32(prefix, this.#check));
    if (this.#header.blockChecksums) {
      const expected = view(stored).getUint32(length, true);
      if (expected !== xxHash32(stored.subarray(0, length))) {
        throw corruptFrame(this.#name, 'the checksum of a block is wrong', position);
      }
    }
    this.#inspect(position, word, stored.subarray(0, length));
  }

  #inspect(position: number, word: number, stored: Uint8Array) {
    let zero = this.#isZeroBlock(stored);
    const suspect = !zero && !(word & rawBlockFlag) && stored.length < zeroSuspectBytes;
    if (suspect || this.#header.contentChecksum) {
      const plain = this.#decode(word, stored, position);
      zero ||= suspect && isZero(plain);
      if (this.#header.contentChecksum) this.contentHash.update(plain);
    }
    this.index.add(position, zero);
    this.#lastStored.set(stored);
    this.#last = { word, length: stored.length, position };
  }

  /** The bytes that our own exports write for 64 KiB of zeros: no need to decode them. */
  #isZeroBlock(stored: Uint8Array): boolean {
    const known = zeroBlock.bytes;
    const same = stored.length === known.length && Buffer.compare(stored, known) === 0;
    return same && this.#header.blockMaxBytes === blockBytes;
  }

  #decode(word: number, stored: Uint8Array, position: number): Uint8Array {
    if (word & rawBlockFlag) return stored;
    const length = decodeLz4Block(stored, this.#plain);
    if (length < 0) throw corruptFrame(this.#name, 'a block does not decompress', position);
    return this.#plain.subarray(0, length);
  }

  /** The size of the image: full blocks and what the last one gives. */
  finish(end: number): number {
    const { blockCount } = this.index;
    const { contentBytes, blockMaxBytes } = this.#header;
    let sizeBytes = 0;
    if (this.#last !== undefined) {
      this.index.closeRun(this.#check, end);
      const { word, length, position } = this.#last;
      const stored = this.#lastStored.subarray(0, length);
      sizeBytes = (blockCount - 1) * blockMaxBytes + this.#decode(word, stored, position).length;
    }
    if (contentBytes !== undefined && contentBytes !== sizeBytes) {
      const what = `the frame claims ${contentBytes} bytes and holds ${sizeBytes}`;
      throw corruptFrame(this.#name, what, end);
    }
    if (sizeBytes > this.#sizeMaxBytes) throw this.#tooLarge(sizeBytes, this.#sizeMaxBytes);
    return sizeBytes;
  }

  #tooLarge(sizeBytes: number, limitBytes: number) {
    const message = `${this.#name} unpacks to ${sizeBytes} bytes or more, not ${limitBytes}`;
    return resourceExhausted('SOURCE_TOO_LARGE', message, {
      path: this.#name,
      sizeBytes: String(sizeBytes),
      limitBytes: String(limitBytes),
    });
  }
}
