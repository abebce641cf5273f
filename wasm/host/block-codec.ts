// Single blocks between their plain and their stored form, for what encodeRun and decodeRun leave
// to the host.
import { readFully } from './file-io.ts';
import { blockSize, deltaArea, idSize, kindDelta, kindLz4, kindRaw, kindZstd } from './layout.ts';
import type { Core } from './load.ts';
import type { Compression, FullEncoding, StoredBase } from './runs.ts';
import { zstdCompress, zstdDecompress } from './zstd.ts';

export type StoredForm = { kind: number; length: number };

/** A difference up to this size is not compared with the block stored in full: it is as good. */
const smallDeltaBytes = 4096;
// A larger difference is given up. Both forms of a block must fit behind a full output.
const deltaBytesMax = blockSize - 1024;

/** Stores the block at address `block` in full at `target`, which needs 512 bytes more. */
export function storeFull(
  core: Core,
  block: number,
  target: number,
  compress: Compression,
): StoredForm {
  if (compress === true) {
    const length = core.exports.compress(block, blockSize, target, core.scratch);
    if (length < blockSize) return { kind: kindLz4, length };
  } else if (compress !== false) {
    const plain = core.bytes.subarray(block, block + blockSize);
    const room = core.bytes.subarray(target, target + blockSize);
    const length = zstdCompress(plain, compress.zstdLevel, room);
    if (length < blockSize) return { kind: kindZstd, length };
  }
  core.bytes.copyWithin(target, block, block + blockSize);
  return { kind: kindRaw, length: blockSize };
}

/**
 * Stores the block at `block` at `target`, as the difference from the base that `loadBase` put into
 * the work area or in full, whichever is smaller.
 */
export function storeChanged(
  core: Core,
  block: number,
  target: number,
  compress: Compression,
): StoredForm {
  const { base, tables } = deltaArea(core.scratch);
  core.bytes.copyWithin(base + blockSize, block, block + blockSize);
  const length = core.exports.deltaCompress(base, target, deltaBytesMax, tables);
  if (length === 0) return storeFull(core, block, target, compress);
  const delta: StoredForm = { kind: kindDelta, length };
  if (length <= smallDeltaBytes) return delta;
  const full = storeFull(core, block, target + length, compress);
  if (full.length >= length) return delta;
  core.bytes.copyWithin(target, target + length, target + length + full.length);
  return full;
}

/**
 * Reads a base and puts its plain bytes into the work area. Returns false when its bytes are
 * malformed. Throws as `readFully` does.
 */
export function loadBase(core: Core, { fd, offset, length, encoding }: StoredBase): boolean {
  const { base, stored } = deltaArea(core.scratch);
  readFully(fd, core.bytes.subarray(stored, stored + length), offset);
  return restoreFull(core, encoding, stored, length, base);
}

/** Whether the base in the work area is what its id says. */
export function isBaseSound(core: Core, id: Uint8Array): boolean {
  const { base, stored } = deltaArea(core.scratch);
  core.exports.hashSubtree(base, blockSize, 0, 1, stored, core.scratch);
  return Buffer.compare(core.bytes.subarray(stored, stored + idSize), id) === 0;
}

/** Decodes the difference at `stored` from the base in the work area to `target`. */
export function restoreDelta(core: Core, stored: number, length: number, target: number): boolean {
  const { base } = deltaArea(core.scratch);
  if (core.exports.deltaDecompress(stored, length, base) === 0) return false;
  core.bytes.copyWithin(target, base + blockSize, base + 2 * blockSize);
  return true;
}

/** Decodes a block that is stored in full at `stored` to `target`. False when it is malformed. */
export function restoreFull(
  core: Core,
  encoding: FullEncoding,
  stored: number,
  length: number,
  target: number,
): boolean {
  if (encoding === 'lz4') {
    return core.exports.decompress(stored, length, target, blockSize) === blockSize;
  }
  const bytes = core.bytes.subarray(stored, stored + length);
  const plain = core.bytes.subarray(target, target + blockSize);
  if (encoding === 'zstd') return zstdDecompress(bytes, plain);
  if (length === blockSize) plain.set(bytes);
  return length === blockSize;
}
