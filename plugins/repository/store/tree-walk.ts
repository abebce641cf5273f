/** Goes through everything that a manifest reaches, as ordinals of the catalog's index. */
import type { RpcError } from '../../../sdk/errors.ts';
import type { Catalog } from './catalog.ts';
import type { CheckpointImage } from './checkpoint.ts';
import { formatId, holeId, idAt, isHole, parseId } from './ids.ts';
import { type EntryKind, entryKind } from './index-codec.ts';
import { idSize } from './limits.ts';
import type { Manifest } from './manifest.ts';
import { treeOf } from './pinned-package.ts';
import { blocksPerId, decodePage, treeBlockCount } from './tree-page.ts';
import { type PagePlace, Tree } from './tree-reader.ts';

/**
 * Where in a package something belongs; `first` and `count` are blocks of the image. `isCut`: it is
 * cut by content, so they are places of chunks.
 */
export type Place =
  | { packageId: string; image: string; first: number; count: number; isCut?: true }
  | { packageId: string; file: string };

/** What is missing or damaged. */
export type Wanted = { kind: EntryKind; id: Uint8Array; level?: number };

export interface WalkVisitor {
  /** A page is reached. False leaves out what is under it, because it was seen before. */
  enterPage(ordinal: number): boolean;
  /** A file or block is reached, or the base of a block, at the place of the block. */
  reach(ordinal: number, place: Place): void;
  /** Everything under a page was gone through, and nothing was wrong. */
  leavePage(ordinal: number): void;
  /**
   * Asked before `fault` is told: the plain bytes from elsewhere. With them the walk goes on as if
   * they had been there.
   */
  replace?(wanted: Wanted, place: Place): Promise<Uint8Array | undefined>;
  /** A page or file is missing or damaged, or a block is missing. The walk goes on behind it. */
  fault(error: RpcError, place: Place): void;
}

/** Walks all images and files of a package. The catalog must not be refreshed meanwhile. */
export async function walkPackage(
  catalog: Catalog,
  manifest: Manifest,
  visitor: WalkVisitor,
): Promise<void> {
  const packageId = manifest.id;
  for (const image of manifest.images) {
    const tree = treeOf(catalog, image);
    const isCut = image.chunking !== undefined;
    const walk = new ImageWalk(catalog, tree, visitor, { packageId, image: image.name, isCut });
    if (!isHole(tree.root)) await walk.page(tree.root, { level: tree.levels - 1, first: 0 });
  }
  for (const file of manifest.files) {
    if (file.sizeBytes === 0) continue;
    const place = { packageId, file: file.name };
    const id = parseId(file.id)!;
    const ordinal = (await catalog.index.find(entryKind.file, id))[0]!;
    if (ordinal !== -1) visitor.reach(ordinal, place);
    else if ((await visitor.replace?.({ kind: entryKind.file, id }, place)) === undefined) {
      visitor.fault(catalog.missing(id), place);
    }
  }
}

/**
 * Walks what a checkpoint says of an image: the whole tree, or the part that is done.
 */
export async function walkCheckpoint(
  catalog: Catalog,
  packageId: string,
  image: CheckpointImage,
  visitor: WalkVisitor,
): Promise<void> {
  const root = image.root === undefined ? holeId : parseId(image.root)!;
  const tree = new Tree(catalog, root, treeBlockCount(image));
  const walk = new ImageWalk(catalog, tree, visitor, { packageId, image: image.name });
  if (!isHole(root)) await walk.page(root, { level: tree.levels - 1, first: 0 });
  let first = 0;
  for (const [level, ids] of [...image.open.entries()].reverse()) {
    if (level === 0) await walk.blocks(ids, first);
    else await walk.pages(ids, { level, first });
    first += (ids.length / idSize) * blocksPerId(level);
  }
}

class ImageWalk {
  private readonly catalog: Catalog;
  private readonly tree: Tree;
  private readonly visitor: WalkVisitor;
  private readonly where: { packageId: string; image: string; isCut?: boolean };

  constructor(catalog: Catalog, tree: Tree, visitor: WalkVisitor, where: ImageWalk['where']) {
    this.catalog = catalog;
    this.tree = tree;
    this.visitor = visitor;
    this.where = where;
  }

  /** Goes through a page and what is under it. True when nothing was wrong. */
  async page(id: Uint8Array, at: PagePlace): Promise<boolean> {
    const ordinal = (await this.catalog.index.find(entryKind.page, id))[0]!;
    if (ordinal !== -1 && !this.visitor.enterPage(ordinal)) return true;
    const ids = await this.idsOf(id, at);
    if (ids === undefined) return false;
    const isWhole = at.level === 0 ? await this.blocks(ids, at.first) : await this.pages(ids, at);
    if (isWhole && ordinal !== -1) this.visitor.leavePage(ordinal);
    return isWhole;
  }

  private async idsOf(id: Uint8Array, at: PagePlace): Promise<Uint8Array | undefined> {
    try {
      return await this.tree.page(id, at);
    } catch (error) {
      const { reason } = error as RpcError;
      if (reason !== 'OBJECT_DAMAGED' && reason !== 'OBJECT_MISSING') throw error;
      const reach = blocksPerId(at.level + 1);
      const count = Math.min(reach, this.tree.blockCount - at.first);
      const place = this.place(at.first, count);
      const wanted = { kind: entryKind.page, id, level: at.level };
      const found = await this.visitor.replace?.(wanted, place);
      if (found !== undefined) {
        const expected = { level: at.level, count: this.tree.idCount(at) };
        return decodePage(found, expected, this.catalog.backend.path(formatId(id)), 0);
      }
      this.visitor.fault(error as RpcError, place);
      return undefined;
    }
  }

  async pages(ids: Uint8Array, at: PagePlace): Promise<boolean> {
    let isWhole = true;
    for (let index = 0; index < ids.length / idSize; index++) {
      if (isHole(ids, index)) continue;
      const first = at.first + index * blocksPerId(at.level);
      const isChildWhole = await this.page(idAt(ids, index), { level: at.level - 1, first });
      isWhole &&= isChildWhole;
    }
    return isWhole;
  }

  async blocks(ids: Uint8Array, first: number): Promise<boolean> {
    const ordinals = await this.catalog.index.find(entryKind.block, ids);
    let isWhole = true;
    for (const [index, ordinal] of ordinals.entries()) {
      if (isHole(ids, index)) continue;
      const place = this.place(first + index, 1);
      if (ordinal !== -1) {
        this.visitor.reach(ordinal, place);
        const base = await this.catalog.index.baseOf(ordinal);
        if (base !== -1) this.visitor.reach(base, place);
        continue;
      }
      const wanted = { kind: entryKind.block, id: idAt(ids, index) };
      if ((await this.visitor.replace?.(wanted, place)) === undefined) {
        isWhole = false;
        this.visitor.fault(this.catalog.missing(idAt(ids, index)), place);
      }
    }
    return isWhole;
  }

  private place(first: number, count: number): Place {
    const { packageId, image, isCut } = this.where;
    return { packageId, image, first, count, ...(isCut && { isCut }) };
  }
}
