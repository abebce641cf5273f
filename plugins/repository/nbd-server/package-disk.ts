import { isHole } from '../store/ids.ts';
import { blockSize } from '../store/limits.ts';
import type { ImageReader } from '../store/store.ts';
import type { BlockCache, PlainBlock } from './block-cache.ts';
import { DecodedBlocks } from './decoded-blocks.ts';
import type { DiskExtent, DiskPart, DiskRead, ServedDisk } from './disk.ts';

/** An image of an open package as a read-only disk. */
export class PackageDisk implements ServedDisk {
  readonly sizeBytes: number;
  readonly #image: ImageReader;
  readonly #blocks: DecodedBlocks;

  constructor(image: ImageReader, cache: BlockCache) {
    this.sizeBytes = image.record.logicalBytes;
    this.#image = image;
    this.#blocks = new DecodedBlocks(image, cache);
  }

  async read(offset: number, length: number): Promise<DiskRead> {
    const { first, count } = blocksOf(offset, length);
    const { blocks, release } = await this.#blocks.hold(first, count);
    const parts = blocks.map((block, index) => partOf(block, first + index, offset, length));
    return { parts, release };
  }

  async *extents(offset: number, length: number): AsyncGenerator<DiskExtent> {
    const { first, count } = blocksOf(offset, length);
    for await (const span of this.#image.tree.spans(first, count)) {
      const { ids } = span;
      if (ids === undefined) {
        yield { length: clip(span.first, span.count, offset, length), isZero: true };
        continue;
      }
      for (let index = 0; index < span.count; index++) {
        yield { length: clip(span.first + index, 1, offset, length), isZero: isHole(ids, index) };
      }
    }
  }
}

/** The blocks that a range of bytes touches. */
export function blocksOf(offset: number, length: number): { first: number; count: number } {
  const first = Math.floor(offset / blockSize);
  return { first, count: Math.ceil((offset + length) / blockSize) - first };
}

/** The part of a block that lies in the range. */
export function partOf(block: PlainBlock, index: number, offset: number, length: number): DiskPart {
  const start = Math.max(0, offset - index * blockSize);
  const part = clip(index, 1, offset, length);
  if (block === undefined) return { length: part };
  return { length: part, bytes: block.subarray(start, start + part) };
}

/** How many bytes of some blocks lie in a range. */
export function clip(first: number, count: number, offset: number, length: number): number {
  const start = Math.max(first * blockSize, offset);
  return Math.min((first + count) * blockSize, offset + length) - start;
}
