/** Decoded and verified blocks of images, kept for the next read, and read ahead of it. */
import { blockSize } from '../store/limits.ts';
import type { ImageReader } from '../store/store.ts';
import type { BlockCache, CachedBlock, PlainBlock } from './block-cache.ts';
import { readAheadBlocks } from './limits.ts';

/** Blocks that stay as they are until `release`. */
export type HeldBlocks = { blocks: PlainBlock[]; release(): void };

/** The blocks of one image by number. */
export class DecodedBlocks {
  readonly #image: ImageReader;
  readonly #cache: BlockCache;

  constructor(image: ImageReader, cache: BlockCache) {
    this.#image = image;
    this.#cache = cache;
  }

  /**
   * `count` blocks from `first` on; release them. A damaged block fails the read of this block
   * alone, with PACKAGE_DAMAGED (DATA_LOSS).
   */
  async hold(first: number, count: number): Promise<HeldBlocks> {
    const end = first + count;
    const held: CachedBlock[] = [];
    for (let at = first; at < end; at++) {
      let block = this.#cache.hold(this.#key(at));
      if (block === undefined) {
        this.#fetch(at, end);
        block = this.#cache.hold(this.#key(at))!;
      }
      held.push(block);
    }
    const release = () => {
      for (const block of held.splice(0)) block.release();
    };
    try {
      return { blocks: await Promise.all(held.map(({ loaded }) => loaded)), release };
    } catch (error) {
      release();
      throw error;
    }
  }

  #key(block: number): string {
    return `${this.#image.record.name}\n${block}`;
  }

  /** Whoever reads where the block before is known reads on: he gets two windows. */
  #fetch(first: number, wanted: number): void {
    const isForward = first > 0 && this.#cache.has(this.#key(first - 1));
    const window = Math.floor(first / readAheadBlocks) + 1;
    const end = isForward ? Math.max(wanted, window * readAheadBlocks) : wanted;
    this.#start(first, end);
    if (isForward) this.#start(end, end + readAheadBlocks);
  }

  /** Begins to decode blocks up to the first that is known already. */
  #start(first: number, limit: number): void {
    const blockCount = this.#image.record.blockCount;
    let end = first;
    while (end < Math.min(limit, blockCount) && !this.#cache.has(this.#key(end))) end += 1;
    if (end === first) return;
    const run = this.#decode(first, end - first);
    for (let at = first; at < end; at++) {
      const block = run.then(
        (blocks) => blocks[at - first],
        // One damaged block fails a whole run; the others are not to suffer.
        (error) => {
          if (end - first === 1) throw error;
          return this.#decode(at, 1).then((blocks) => blocks[0]);
        },
      );
      this.#cache.put(this.#key(at), block);
    }
  }

  async #decode(first: number, count: number): Promise<PlainBlock[]> {
    const blocks: PlainBlock[] = new Array(count);
    for await (const span of this.#image.cutSpans(first, count)) {
      const run = await this.#image.openRun(span);
      const decoded = await this.#image.decode(run).finally(run.release);
      for (const [index, stored] of (run.blocks ?? []).entries()) {
        if (stored === undefined) continue;
        // Memory of its own: the slot goes back to the core, and each block is dropped by itself.
        const plain = this.#cache.memory();
        plain.set(decoded!.bytes.subarray(index * blockSize, (index + 1) * blockSize));
        blocks[span.first - first + index] = plain;
      }
      decoded?.release();
    }
    return blocks;
  }
}
