import { blockSize } from '../store/limits.ts';
import { cacheBlocksMax } from './limits.ts';

/** A plain block; undefined for a hole. Never to be changed. */
export type PlainBlock = Uint8Array | undefined;

/**
 * A block that is decoded or being decoded. Its memory is used again when the cache and everybody
 * who held it have let it go: gigabytes that pass through would else keep the garbage collector
 * busier than the decoder.
 */
export class CachedBlock {
  readonly loaded: Promise<PlainBlock>;
  readonly #free: Uint8Array[];
  #bytes: PlainBlock;
  /** The cache is the first. */
  #holders = 1;

  constructor(loading: Promise<PlainBlock>, free: Uint8Array[]) {
    this.#free = free;
    this.loaded = loading.then((bytes) => {
      this.#bytes = bytes;
      if (this.#holders === 0) this.#reuse();
      return bytes;
    });
  }

  hold(): void {
    this.#holders += 1;
  }

  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.#reuse();
  }

  #reuse(): void {
    if (this.#bytes !== undefined && this.#free.length < cacheBlocksMax) {
      this.#free.push(this.#bytes);
    }
    this.#bytes = undefined;
  }
}

/** The blocks that all images of a server keep together; the least recently used go first. */
export class BlockCache {
  readonly #blocks = new Map<string, CachedBlock>();
  readonly #free: Uint8Array[] = [];

  has(key: string): boolean {
    return this.#blocks.has(key);
  }

  /** The block, held for the caller, who releases it. */
  hold(key: string): CachedBlock | undefined {
    const block = this.#blocks.get(key);
    if (block === undefined) return undefined;
    this.#blocks.delete(key);
    this.#blocks.set(key, block);
    block.hold();
    return block;
  }

  /** A block that cannot be read is forgotten: the next reader tries again. */
  put(key: string, loading: Promise<PlainBlock>): void {
    const block = new CachedBlock(loading, this.#free);
    this.#blocks.set(key, block);
    block.loaded.catch(() => {
      if (this.#blocks.get(key) === block) this.#blocks.delete(key);
    });
    if (this.#blocks.size <= cacheBlocksMax) return;
    const [oldest] = this.#blocks;
    this.#blocks.delete(oldest![0]);
    oldest![1].release();
  }

  /** Memory for one block, with anything in it. */
  memory(): Uint8Array {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(blockSize);
  }
}
