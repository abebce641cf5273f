import assert from 'node:assert/strict';
import { decompressedMax } from '../../../../wasm/host/blocks.ts';
import { localCore, localSlot } from '../../../../wasm/host/local-core.ts';

/**
 * Decodes one block of LZ4 data into `target` (at most 4 MiB) and returns how many bytes it gave,
 * or -1 if the data are not valid or do not fit. Straight from the core's memory, because a copy
 * per block is what the collector would then run behind. Nothing outside of `target` is written.
 */
export function decodeLz4Block(stored: Uint8Array, target: Uint8Array): number {
  assert(target.length <= decompressedMax, 'a block of a frame has at most 4 MiB');
  if (stored.length > decompressedMax) return -1;
  const core = localCore();
  const { input, output } = localSlot;
  core.bytes.set(stored, input);
  const size = core.exports.decompress(input, stored.length, output, target.length);
  if (size < 0) return -1;
  target.set(core.bytes.subarray(output, output + size));
  return size;
}
