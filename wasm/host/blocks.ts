import assert from 'node:assert/strict';
import { BlockError } from './errors.ts';
import { blockSize, runBlocksMax } from './layout.ts';
import { localCore, localSlot } from './local-core.ts';

/** Most bytes that `decompressBlock` takes or gives: the largest block of an LZ4 frame, 4 MiB. */
export const decompressedMax = blockSize * runBlocksMax;

/**
 * Compresses 0 to 65536 bytes into one LZ4 block, in the calling thread. The result may be longer
 * than the input: whoever stores it compares the lengths and keeps the plain bytes then.
 */
export function compressBlock(bytes: Uint8Array): Uint8Array {
  assert(bytes.length <= blockSize, `a block has at most ${blockSize} bytes`);
  const core = localCore();
  core.bytes.set(bytes, localSlot.input);
  const size = core.exports.compress(localSlot.input, bytes.length, localSlot.output, core.scratch);
  return new Uint8Array(core.bytes.subarray(localSlot.output, localSlot.output + size));
}

/**
 * Decompresses one LZ4 block from any source to at most `maxLength` bytes (0 to 4 MiB), in the
 * calling thread. Throws BlockError BLOCK_MALFORMED when the bytes are no LZ4 block or hold more.
 */
export function decompressBlock(bytes: Uint8Array, maxLength: number): Uint8Array {
  assert(maxLength >= 0 && maxLength <= decompressedMax, `at most ${decompressedMax} bytes`);
  const core = localCore();
  const { input, output } = localSlot;
  const fits = bytes.length <= decompressedMax;
  if (fits) core.bytes.set(bytes, input);
  const size = fits ? core.exports.decompress(input, bytes.length, output, maxLength) : -1;
  if (size < 0) {
    const message = `${bytes.length} bytes are not an LZ4 block of at most ${maxLength} bytes`;
    const details = { blockIndex: 0, length: bytes.length, maxLength };
    throw new BlockError('BLOCK_MALFORMED', message, details);
  }
  return new Uint8Array(core.bytes.subarray(output, output + size));
}
