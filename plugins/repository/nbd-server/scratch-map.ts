/** Which blocks of a disk the scratch file holds; docs/storage-format.md section 10. */

/** `base`: the package's. `data`: in the scratch file. `zero`: zero, wherever. */
export const blockState = { base: 0, data: 1, zero: 2 } as const;
export type BlockState = (typeof blockState)[keyof typeof blockState];

/** States on a page, one byte each: a page speaks for 256 MiB of the disk. */
export const mapPageBytes = 4096;

export type ReadMapPage = (page: number, target: Uint8Array) => Promise<void>;

/**
 * The states of all blocks, in pages that are read when they are needed first. Memory is 4 KiB for
 * each 256 MiB of the disk that somebody touched.
 */
export class ScratchMap {
  readonly #read: ReadMapPage | undefined;
  readonly #pages = new Map<number, Promise<Uint8Array>>();
  #changed = new Map<number, Uint8Array>();

  /** Without `read` every block is the package's at first. */
  constructor(read?: ReadMapPage) {
    this.#read = read;
  }

  async state(block: number): Promise<BlockState> {
    const page = await this.page(block);
    return page[block % mapPageBytes] as BlockState;
  }

  /** The page of a block; the state of a block is at its number modulo 4,096. */
  page(block: number): Promise<Uint8Array> {
    const number = Math.floor(block / mapPageBytes);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = this.#load(number);
      this.#pages.set(number, page);
      page.catch(() => this.#pages.delete(number));
    }
    return page;
  }

  async set(block: number, state: BlockState): Promise<void> {
    const page = await this.page(block);
    if (page[block % mapPageBytes] === state) return;
    page[block % mapPageBytes] = state;
    this.#changed.set(Math.floor(block / mapPageBytes), page);
  }

  /** Copies of the pages that changed since the last call, as they are now, by their numbers. */
  takeChanged(): Map<number, Uint8Array> {
    const taken = new Map([...this.#changed].map(([number, page]) => [number, page.slice()]));
    this.#changed = new Map();
    return taken;
  }

  async #load(number: number): Promise<Uint8Array> {
    const page = new Uint8Array(mapPageBytes);
    await this.#read?.(number, page);
    return page;
  }
}
