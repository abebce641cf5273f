import assert from 'node:assert/strict';
import { dataLoss } from '../../../sdk/errors.ts';
import { decodeLz4Block } from '../sources/lz4-frame/decode-block.ts';
import { encodeFrameHeader, rawBlockFlag } from '../sources/lz4-frame/header.ts';
import { encodeZeros, zeroBlock } from '../sources/lz4-frame/zeros.ts';
import { giveUp } from './give-up.ts';
import { NewFile } from './new-file.ts';
import type { BlockTarget } from './target.ts';

export const blockBytes = 65536;
/** What is handed on at once. */
const batchBytes = 1 << 20;

/**
 * A block as it is stored: LZ4 block data that decode to 64 KiB, or 64 KiB as they are. `id`, where
 * known, is the BLAKE3-256 of the plain block.
 */
export type StoredBlock = {
  index: number;
  encoding: 'lz4' | 'raw';
  bytes: Uint8Array;
  id?: Uint8Array;
};

/** Where in the frame a block's stored bytes are (without their length field). */
export type PlacedBlock = StoredBlock & { frameOffset: number };

/** The plain bytes of a stored block. Data that do not decode are DATA_LOSS `BLOCK_CORRUPT`. */
export function plainBlock({ index, encoding, bytes }: StoredBlock): Uint8Array {
  if (encoding === 'raw') return bytes;
  const plain = new Uint8Array(blockBytes);
  if (decodeLz4Block(bytes, plain) === blockBytes) return plain;
  throw dataLoss('BLOCK_CORRUPT', `block ${index} does not decompress`, { index: String(index) });
}

/** How much of a frame is there: its header and first blocks; or nothing at all. */
export type FrameStart = { blocks: number; bytes: number };
const nothing: FrameStart = { blocks: 0, bytes: 0 };

/**
 * Writes stored blocks as an LZ4 frame, copying them byte for byte. The blocks come in ascending
 * order; those left out are zero. Only a last block that the image fills in part is written anew.
 */
export class Lz4FrameEncoder {
  readonly #sizeBytes: number;
  readonly #blockCount: number;
  #next = 0;
  #position = 0;
  #pieces: Uint8Array[] = [];
  #pendingBytes = 0;

  /** `from`: what is written already, header included. */
  constructor(sizeBytes: number, from: FrameStart = nothing) {
    this.#sizeBytes = sizeBytes;
    this.#blockCount = Math.ceil(sizeBytes / blockBytes);
    this.#next = from.blocks;
    this.#position = from.bytes;
    if (from.bytes === 0) this.#push(encodeFrameHeader(sizeBytes));
  }

  /** Adds zero blocks up to but without block `index`. Take the output when `full`. */
  *zerosUntil(index: number): Generator<void> {
    while (this.#next < index) {
      const length = this.#lengthOf(this.#next);
      this.#block(length === blockBytes ? zeroBlock : encodeZeros(length));
      if (this.full) yield;
    }
  }

  add(stored: StoredBlock): PlacedBlock {
    assert(stored.index === this.#next && stored.index < this.#blockCount, 'blocks in order');
    const length = this.#lengthOf(stored.index);
    const part: StoredBlock =
      length === blockBytes
        ? stored
        : { ...stored, encoding: 'raw', bytes: plainBlock(stored).subarray(0, length) };
    assert(part.bytes.length > 0 && part.bytes.length <= blockBytes, 'a stored block of 1..64 KiB');
    const frameOffset = this.#block(part) + 4;
    return { ...part, frameOffset };
  }

  get blockCount(): number {
    return this.#blockCount;
  }

  get full(): boolean {
    return this.#pendingBytes >= batchBytes;
  }

  /** What was added since the last call, as one piece. */
  take(): Uint8Array {
    const pieces = this.#pieces;
    const bytes = Buffer.concat(pieces, this.#pendingBytes);
    this.#pieces = [];
    this.#pendingBytes = 0;
    return bytes;
  }

  end() {
    assert(this.#next === this.#blockCount, 'all blocks before the end');
    this.#push(new Uint8Array(4));
  }

  #lengthOf(index: number): number {
    return Math.min(blockBytes, this.#sizeBytes - index * blockBytes);
  }

  #block({ encoding, bytes }: Pick<StoredBlock, 'encoding' | 'bytes'>): number {
    const start = this.#position;
    const length = new Uint8Array(4);
    const word = encoding === 'raw' ? bytes.length + rawBlockFlag : bytes.length;
    new DataView(length.buffer).setUint32(0, word, true);
    this.#push(length);
    this.#push(bytes);
    this.#next += 1;
    return start;
  }

  #push(bytes: Uint8Array) {
    this.#pieces.push(bytes);
    this.#pendingBytes += bytes.length;
    this.#position += bytes.length;
  }
}

/**
 * The frame as pieces of about 1 MiB. `onBlock` sees every copied block with its place in the frame
 * before the piece that holds it is handed out.
 */
export async function* encodeFrame(
  blocks: AsyncIterable<StoredBlock>,
  sizeBytes: number,
  onBlock?: (block: PlacedBlock) => void,
  from?: FrameStart,
): AsyncGenerator<Uint8Array> {
  const encoder = new Lz4FrameEncoder(sizeBytes, from);
  for await (const block of blocks) {
    for (const _ of encoder.zerosUntil(block.index)) yield encoder.take();
    const placed = encoder.add(block);
    onBlock?.(placed);
    if (encoder.full) yield encoder.take();
  }
  for (const _ of encoder.zerosUntil(encoder.blockCount)) yield encoder.take();
  encoder.end();
  yield encoder.take();
}

/** Compresses a block of 64 KiB; undefined if it does not shrink. */
export type Compress = (
  plain: Uint8Array,
) => Uint8Array | undefined | Promise<Uint8Array | undefined>;

/** What a `.raw.lz4` file is written from. */
export type FrameSource = {
  sizeBytes: number;
  /** The stored blocks from that one on. */
  blocks(first: number): AsyncIterable<StoredBlock>;
  /** How much of a file that was begun is right. Without it nothing is. */
  check?(fd: number, keptBytes: number): Promise<FrameStart>;
  /** Keep what was written when this is interrupted. */
  keepPartial?: boolean | undefined;
};

/** Writes stored blocks into a new `.raw.lz4` file; see NewFile for `tag`. Returns what it kept. */
export async function writeLz4Frame(
  path: string,
  source: FrameSource,
  tag?: string,
): Promise<FrameStart> {
  const { sizeBytes, check } = source;
  const file = await NewFile.create(path, tag);
  try {
    const isBegun = file.keptBytes > 0 && check !== undefined;
    const from = isBegun ? await check(file.fd, file.keptBytes) : nothing;
    let position = from.bytes;
    for await (const piece of encodeFrame(source.blocks(from.blocks), sizeBytes, undefined, from)) {
      await file.write(position, piece);
      position += piece.length;
    }
    await file.truncate(position);
    await file.publish();
    return from;
  } catch (error) {
    await giveUp(file, error, source.keepPartial);
    throw error;
  }
}

/**
 * A `.raw.lz4` file as a target for plain blocks. A frame is written from its start to its end:
 * offsets must ascend, each a multiple of 64 KiB. Without `compress` blocks are stored as they are.
 */
export async function createLz4Frame(
  path: string,
  sizeBytes: number,
  compress?: Compress,
): Promise<BlockTarget> {
  const file = await NewFile.create(path);
  const encoder = new Lz4FrameEncoder(sizeBytes);
  let position = 0;
  const flush = async () => {
    const piece = encoder.take();
    await file.write(position, piece);
    position += piece.length;
  };
  const add = async (index: number, plain: Uint8Array) => {
    for (const _ of encoder.zerosUntil(index)) await flush();
    const padded = plain.length === blockBytes ? plain : padTo(plain, blockBytes);
    const packed = plain.length === blockBytes ? await compress?.(padded) : undefined;
    const bytes = packed ?? padded.slice();
    encoder.add({ index, encoding: packed === undefined ? 'raw' : 'lz4', bytes });
    if (encoder.full) await flush();
  };
  return {
    async write(offset, bytes) {
      assert(offset % blockBytes === 0 && offset + bytes.length <= sizeBytes, 'a whole block');
      for (let at = 0; at < bytes.length; at += blockBytes) {
        await add((offset + at) / blockBytes, bytes.subarray(at, at + blockBytes));
      }
    },
    async finish() {
      for (const _ of encoder.zerosUntil(encoder.blockCount)) await flush();
      encoder.end();
      await flush();
      await file.publish();
    },
    abort: () => file.abort(),
  };
}

function padTo(bytes: Uint8Array, length: number): Uint8Array {
  const padded = new Uint8Array(length);
  padded.set(bytes);
  return padded;
}
