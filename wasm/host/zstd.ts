// zstd frames of one block each, by the zlib module of Node.
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { blockSize } from './layout.ts';

/** Levels that zstd has and that make sense for blocks of 64 KiB. */
export const zstdLevelMax = 19;

// The first bytes of a frame that says its size in two bytes, needs no window but the block and no
// dictionary: the only ones that are written, so the only ones that are read.
const magic = 0xfd2fb528;
const descriptor = 0x60;
const sizeBias = 256;
const headerBytes = 7;
// The largest window (a power of two, in bytes) that a decoder may allocate.
const windowLogMax = 17;
// Bytes of the buffer of a call: room for a block that does not shrink.
const outputBytes = blockSize + 1024;
// What Node says about a frame that is cut short or holds more than a block.
const malformed = new Set(['Z_BUF_ERROR', 'ERR_BUFFER_TOO_LARGE']);

/**
 * Writes one zstd frame of a block to `target` when it is shorter than the block, and returns its
 * length.
 */
export function zstdCompress(block: Uint8Array, level: number, target: Uint8Array): number {
  const frame = zstdCompressSync(block, {
    pledgedSrcSize: blockSize,
    chunkSize: outputBytes,
    params: {
      [constants.ZSTD_c_compressionLevel]: level,
      // The block is checked against its id.
      [constants.ZSTD_c_checksumFlag]: 0,
    },
  });
  const { length } = frame;
  if (length < blockSize) target.set(frame);
  giveBack(frame);
  return length;
}

// Node makes a buffer for each call and leaves it to the garbage collector, which lets 60 MiB of
// them pile up in a thread. (One of another size may be shared, and stays.)
function giveBack({ buffer }: Uint8Array<ArrayBuffer>): void {
  if (buffer.byteLength === outputBytes) buffer.transfer(0);
}

// Where the last block of a frame ends, by the headers of its blocks: a decoder would go on with
// what comes behind a frame.
function frameBytes(frame: Uint8Array): number | undefined {
  let at = headerBytes;
  for (;;) {
    if (at + 3 > frame.length) return undefined;
    const header = frame[at]! | (frame[at + 1]! << 8) | (frame[at + 2]! << 16);
    const isRepeated = ((header >> 1) & 3) === 1;
    at += 3 + (isRepeated ? 1 : header >> 3);
    if ((header & 1) === 1) return at;
  }
}

/**
 * Writes the block in a frame to `target`. Returns false when the bytes are not a frame of one
 * block. Whatever they are, they get no more memory than a block and its window.
 */
export function zstdDecompress(frame: Uint8Array, target: Uint8Array): boolean {
  if (frame.length < headerBytes) return false;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const isOne =
    view.getUint32(0, true) === magic &&
    view.getUint8(4) === descriptor &&
    view.getUint16(5, true) === blockSize - sizeBias;
  if (!isOne || frameBytes(frame) !== frame.length) return false;
  try {
    const plain = zstdDecompressSync(frame, {
      maxOutputLength: blockSize,
      // A buffer that is filled to the end is followed by another one.
      chunkSize: outputBytes,
      params: { [constants.ZSTD_d_windowLogMax]: windowLogMax },
    });
    const isBlock = plain.length === blockSize;
    if (isBlock) target.set(plain);
    giveBack(plain);
    return isBlock;
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code.startsWith('ZSTD_') || malformed.has(code)) return false;
    throw error;
  }
}
