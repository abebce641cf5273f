import assert from 'node:assert/strict';
import { hash } from '../../../wasm/host/blake3.ts';
import { holeId, isHole } from './ids.ts';
import { idSize, pageFanOut } from './limits.ts';
import { blocksPerId, encodePage, levelsOf } from './tree-page.ts';
import type { Subtree } from './tree-reader.ts';

/** Takes the pages of a tree; the same page may come many times. */
export interface PageSink {
  putPage(id: Uint8Array, bytes: Uint8Array): Promise<void>;
}

type OpenPage = { ids: Uint8Array; count: number; isHole: boolean };

/** Builds the tree of one image from the ids of its blocks, in order. Memory: one page a level. */
export class TreeWriter {
  private readonly sink: PageSink;
  readonly blockCount: number;
  private readonly pages: OpenPage[];
  private written = 0;

  /** `open`: the open pages of a tree that was begun before, see `openPages`. */
  constructor(sink: PageSink, blockCount: number, open?: readonly Uint8Array[]) {
    this.sink = sink;
    this.blockCount = blockCount;
    this.pages = Array.from({ length: levelsOf(blockCount) }, newPage);
    for (const [level, ids] of (open ?? []).entries()) {
      const count = ids.length / idSize;
      const page = this.pages[level]!;
      page.ids.set(ids);
      page.count = count;
      for (let index = 0; index < count; index++) page.isHole &&= isHole(ids, index);
      this.written += count * blocksPerId(level);
    }
  }

  /** Blocks appended so far. */
  get doneBlocks(): number {
    return this.written;
  }

  /** Copies of the ids on the open page of each level: with them the tree can be continued. */
  openPages(): Uint8Array[] {
    return this.pages.map(({ ids, count }) => ids.slice(0, count * idSize));
  }

  /** Appends the ids of the next blocks, 32 bytes each. */
  async append(ids: Uint8Array): Promise<void> {
    for (let at = 0; at < ids.length; at += idSize) {
      await this.push(0, ids.subarray(at, at + idSize));
    }
    this.written += ids.length / idSize;
  }

  /** Appends that many holes, whole empty subtrees at once. */
  async appendHoles(count: number): Promise<void> {
    let left = count;
    while (left > 0) {
      const level = this.highestAlignedLevel(left);
      await this.push(level, holeId);
      left -= blocksPerId(level);
    }
    this.written += count;
  }

  get levels(): number {
    return this.pages.length;
  }

  /** Appends what another tree has for the next blocks, whole pages by their ids. */
  async appendSubtree({ count, page, ids }: Subtree): Promise<void> {
    if (page === undefined) return ids ? await this.append(ids) : await this.appendHoles(count);
    const below = this.pages.slice(0, page.level + 1);
    assert(
      below.every((open) => open.count === 0),
      'the page begins where one may begin',
    );
    await this.push(page.level + 1, page.id);
    this.written += count;
  }

  /** Closes all pages and returns the root. Every block must have been appended. */
  async finish(): Promise<Uint8Array> {
    assert.equal(this.written, this.blockCount, 'every block of the image is in the tree');
    const top = this.pages.length - 1;
    if (top < 0) return holeId;
    for (let level = 0; level < top; level++) {
      if (this.pages[level]!.count > 0) await this.push(level + 1, await this.close(level));
    }
    return await this.close(top);
  }

  // The largest subtree that begins here and holds no more than `left` blocks.
  private highestAlignedLevel(left: number): number {
    let level = 0;
    while (
      level + 1 < this.pages.length &&
      this.pages[level]!.count === 0 &&
      blocksPerId(level + 1) <= left
    ) {
      level += 1;
    }
    return level;
  }

  private async push(level: number, id: Uint8Array): Promise<void> {
    const page = this.pages[level]!;
    page.ids.set(id, page.count * idSize);
    page.count += 1;
    page.isHole &&= isHole(id);
    // The top page is closed by `finish` only, else a full one would need a page above it.
    const isFull = page.count === pageFanOut && level < this.pages.length - 1;
    if (isFull) await this.push(level + 1, await this.close(level));
  }

  private async close(level: number): Promise<Uint8Array> {
    const page = this.pages[level]!;
    this.pages[level] = newPage();
    if (page.isHole) return holeId;
    const bytes = encodePage(level, page.ids.subarray(0, page.count * idSize));
    const id = hash(bytes);
    await this.sink.putPage(id, bytes);
    return id;
  }
}

function newPage(): OpenPage {
  return { ids: new Uint8Array(pageFanOut * idSize), count: 0, isHole: true };
}
