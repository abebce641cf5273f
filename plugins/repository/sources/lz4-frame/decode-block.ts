import { decompressBlock } from '../../../../wasm/host/blocks.ts';
import { BlockError } from '../../../../wasm/host/errors.ts';

/**
 * Decodes one block of LZ4 data into `target` (at most 4 MiB) and returns how many bytes it gave, or -1 if the data are
 * not valid or do not fit. Nothing outside of `target` is written.
 */
export function decodeLz4Block(stored: Uint8Array, target: Uint8Array): number {
  try {
    const plain = decompressBlock(stored, target.length);
    target.set(plain);
    return plain.length;
  } catch (error) {
    if (error instanceof BlockError) return -1;
    throw error;
  }
}
