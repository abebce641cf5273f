/** Pages of the Merkle tree; docs/storage-format.md 2.5. */
import { cutRunBytes } from '../../../wasm/host/cut.ts';
import { formatTooNew, objectDamaged } from './faults.ts';
import { blockSize, formatVersion, idSize, pageFanOut, pageHeaderBytes } from './limits.ts';

/** Blocks in the tree of an image. */
export function treeBlockCount(image: { logicalBytes: number; chunking?: 'content' }): number {
  return (image.chunking ? cutBlockCountOf : blockCountOf)(image.logicalBytes);
}

/** Blocks of an image of that many bytes. */
export function blockCountOf(logicalBytes: number): number {
  return Math.ceil(logicalBytes / blockSize);
}

/** Blocks of an image that is cut by content: each run of 4 MiB has a page of its own. */
function cutBlockCountOf(logicalBytes: number): number {
  return Math.ceil(logicalBytes / cutRunBytes) * pageFanOut;
}

/** Levels of the tree over that many blocks; 0 for an image of no bytes. */
export function levelsOf(blockCount: number): number {
  if (blockCount === 0) return 0;
  let levels = 1;
  for (let reach = pageFanOut; reach < blockCount; reach *= pageFanOut) levels += 1;
  return levels;
}

/** Blocks under one id of a page of that level: 1 for level 0. */
export function blocksPerId(level: number): number {
  return pageFanOut ** level;
}

/** Renders a page of `ids` (32 bytes each). */
export function encodePage(level: number, ids: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(pageHeaderBytes + ids.length);
  bytes.write('NFVP', 'latin1');
  bytes.writeUInt8(formatVersion, 4);
  bytes.writeUInt8(level, 5);
  bytes.writeUInt16LE(ids.length / idSize, 6);
  bytes.set(ids, pageHeaderBytes);
  return bytes;
}

/**
 * Checks a page whose digest is right, and returns a view of its ids. `path` and `offset` say where
 * it lies; a page that belongs elsewhere in the tree is OBJECT_DAMAGED.
 */
export function decodePage(
  bytes: Uint8Array,
  expected: { level: number; count: number },
  path: string,
  offset: number,
): Uint8Array {
  const page = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (page.length < pageHeaderBytes || page.toString('latin1', 0, 4) !== 'NFVP') {
    throw objectDamaged(path, offset, 'is no page');
  }
  if (page[4]! > formatVersion) throw formatTooNew(path, page[4]!);
  const level = page[5]!;
  const count = page.readUInt16LE(6);
  if (level !== expected.level || count !== expected.count) {
    const text =
      `is a page of level ${level} with ${count} ids where level ${expected.level} with ` +
      `${expected.count} belongs`;
    throw objectDamaged(path, offset, text);
  }
  if (page.length !== pageHeaderBytes + count * idSize) {
    throw objectDamaged(path, offset, `a page of ${count} ids has ${page.length} bytes`);
  }
  return bytes.subarray(pageHeaderBytes);
}
