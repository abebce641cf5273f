import type { StoredBlock } from '../../../../plugins/repository/targets/lz4-frame.ts';
import { below, randomBytes, randomNumbers } from '../sources/images.ts';

type Lz4Wasm = {
  compress(input: Uint8Array): Uint8Array;
  decompress(input: Uint8Array): Uint8Array;
};

/** The foreign compressor: what it makes was not made by the code under test. */
export const lz4Wasm: Lz4Wasm = await import('lz4-wasm/lz4_wasm.js');

/**
 * LZ4 block data without the length that lz4-wasm puts in front; undefined if it did not shrink.
 */
export function packBlock(plain: Uint8Array): Uint8Array | undefined {
  const packed = lz4Wasm.compress(plain).subarray(4);
  return packed.length < plain.length ? packed.slice() : undefined;
}

/** An image with what disks have: holes, repetition, noise, all at sizes that fit no block. */
export function plainImage(seed: number, sizeBytes: number): Uint8Array {
  const random = randomNumbers(seed);
  const plain = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; ) {
    const length = Math.min(sizeBytes - at, 1 + below(random, 150_000));
    const kind = below(random, 3);
    if (kind === 1) plain.fill(1 + below(random, 255), at, at + length);
    if (kind === 2) {
      const noise = randomBytes(random, Math.min(length, 3000), random() < 0.5 ? 4 : 256);
      for (let copied = 0; copied < length; copied += noise.length) {
        plain.set(noise.subarray(0, Math.min(noise.length, length - copied)), at + copied);
      }
    }
    at += length;
  }
  return plain;
}

/** The image as a store would hold it: zero blocks left out, the last block padded. */
export async function* storedBlocks(plain: Uint8Array): AsyncGenerator<StoredBlock> {
  for (let index = 0; index * 65536 < plain.length; index += 1) {
    const block = new Uint8Array(65536);
    block.set(plain.subarray(index * 65536, (index + 1) * 65536));
    if (block.every((byte) => byte === 0)) continue;
    const packed = packBlock(block);
    if (packed === undefined) yield { index, encoding: 'raw', bytes: block };
    else yield { index, encoding: 'lz4', bytes: packed };
  }
}
