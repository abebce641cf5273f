import type { Catalog } from './catalog.ts';
import { idAt, isHole } from './ids.ts';
import { entryKind } from './index-codec.ts';
import { idSize, pageFanOut } from './limits.ts';
import { blocksPerId, decodePage, levelsOf } from './tree-page.ts';

/** A stretch of blocks: `ids` are theirs, 32 bytes each; without ids all are holes. */
export type IdSpan = { first: number; count: number; ids?: Uint8Array };

/** `count` blocks: a whole page, or ids of blocks, 32 bytes each; with neither all are holes. */
export type Subtree = {
  count: number;
  page?: { level: number; id: Uint8Array };
  ids?: Uint8Array;
};

export type TreeShape = { blockCount: number; levels: number };

/** Where a page belongs in a tree. */
export type PagePlace = { level: number; first: number };

/** What a tree reads its pages from. */
export type PageSource = Pick<Catalog, 'readRecord' | 'segmentPath'>;

/** The tree of one image. */
export class Tree {
  readonly blockCount: number;
  readonly levels: number;
  readonly root: Uint8Array;
  private readonly catalog: PageSource;
  /** The last page used of each level: walks go forward. */
  private readonly last = new Map<number, { first: number; ids: Uint8Array }>();

  constructor(catalog: PageSource, root: Uint8Array, blockCount: number) {
    this.catalog = catalog;
    this.root = root;
    this.blockCount = blockCount;
    this.levels = levelsOf(blockCount);
  }

  /** Ids in the page at that place: fewer than the fan-out only at the end of the image. */
  idCount(place: PagePlace): number {
    const blocks = this.blockCount - place.first;
    return Math.min(pageFanOut, Math.ceil(blocks / blocksPerId(place.level)));
  }

  /** The ids of the page with that id, checked. OBJECT_MISSING or OBJECT_DAMAGED otherwise. */
  async page(id: Uint8Array, place: PagePlace): Promise<Uint8Array> {
    const { bytes, at } = await this.catalog.readRecord(entryKind.page, id);
    const expected = { level: place.level, count: this.idCount(place) };
    return decodePage(bytes, expected, this.catalog.segmentPath(at), at.entry.offset);
  }

  /** The ids of a range of blocks, in order, a page or an empty subtree at a time. */
  async *spans(first = 0, count = this.blockCount - first): AsyncGenerator<IdSpan> {
    let next = first;
    const end = first + count;
    while (next < end) {
      const span = await this.spanAt(next);
      const take = Math.min(span.first + span.count, end) - next;
      const skip = next - span.first;
      const ids = span.ids?.subarray(skip * idSize, (skip + take) * idSize);
      yield ids === undefined ? { first: next, count: take } : { first: next, count: take, ids };
      next += take;
    }
  }

  /**
   * The ids of a range of blocks in one piece; beyond the end of the image everything is a hole.
   */
  async ids(first: number, count: number): Promise<Uint8Array> {
    const ids = new Uint8Array(count * idSize);
    const inside = Math.min(count, Math.max(0, this.blockCount - first));
    if (inside === 0) return ids;
    for await (const span of this.spans(first, inside)) {
      if (span.ids !== undefined) ids.set(span.ids, (span.first - first) * idSize);
    }
    return ids;
  }

  /**
   * A range of blocks for a tree of another shape: pages that belong there as they are, so that
   * nothing below them is read, and the ids of the blocks between them.
   */
  async *subtrees(first: number, count: number, other: TreeShape): AsyncGenerator<Subtree> {
    const end = first + count;
    const fits = (page: IdSpan, level: number) => {
      const pageEnd = page.first + page.count;
      const isSame = page.count === blocksPerId(level + 1) || pageEnd === other.blockCount;
      return isSame && page.first >= first && pageEnd <= end && level < other.levels - 1;
    };
    for (let next = first; next < end; ) {
      const span = await this.spanAt(next, fits);
      const skip = next - span.first;
      const take = Math.min(span.count - skip, end - next);
      if (span.page !== undefined) yield { count: take, page: span.page };
      else if (span.ids === undefined) yield { count: take };
      else yield { count: take, ids: span.ids.subarray(skip * idSize, (skip + take) * idSize) };
      next += take;
    }
  }

  // The leaf page, or the largest empty or accepted subtree, that holds a block.
  private async spanAt(
    block: number,
    accepts: (span: IdSpan, level: number) => boolean = () => false,
  ): Promise<IdSpan & Pick<Subtree, 'page'>> {
    let id = this.root;
    for (let level = this.levels - 1; ; level--) {
      const reach = blocksPerId(level + 1);
      const first = Math.floor(block / reach) * reach;
      const count = Math.min(reach, this.blockCount - first);
      if (isHole(id)) return { first, count };
      if (accepts({ first, count }, level)) return { first, count, page: { level, id } };
      const ids = await this.lastOrPage(id, { level, first });
      if (level === 0) return { first, count, ids };
      id = idAt(ids, Math.floor((block - first) / blocksPerId(level)));
    }
  }

  private async lastOrPage(id: Uint8Array, place: PagePlace): Promise<Uint8Array> {
    const last = this.last.get(place.level);
    if (last !== undefined && last.first === place.first) return last.ids;
    const ids = await this.page(id, place);
    this.last.set(place.level, { first: place.first, ids });
    return ids;
  }
}
