/** Goes through everything that a manifest reaches, as ordinals of the catalog's index. */
import type { RpcError } from '../../../sdk/errors.ts';
import type { Catalog } from './catalog.ts';
import { idAt, isHole, parseId } from './ids.ts';
import { entryKind } from './index-codec.ts';
import { idSize } from './limits.ts';
import type { Manifest } from './manifest.ts';
import { treeOf } from './pinned-package.ts';
import { blocksPerId } from './tree-page.ts';
import type { PagePlace, Tree } from './tree-reader.ts';

/** Where in a package something belongs; `first` and `count` are blocks of the image. */
export type Place =
  | { packageId: string; image: string; first: number; count: number }
  | { packageId: string; file: string };

export interface WalkVisitor {
  /** A page is reached. False leaves out what is under it, because it was seen before. */
  enterPage(ordinal: number): boolean;
  /** A file or block is reached. */
  reach(ordinal: number, place: Place): void;
  /** Everything under a page was gone through, and nothing was wrong. */
  leavePage(ordinal: number): void;
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
    const walk = new ImageWalk(catalog, tree, visitor, packageId, image.name);
    if (!isHole(tree.root)) await walk.page(tree.root, { level: tree.levels - 1, first: 0 });
  }
  for (const file of manifest.files) {
    if (file.sizeBytes === 0) continue;
    const place = { packageId, file: file.name };
    const id = parseId(file.id)!;
    const ordinal = (await catalog.index.find(entryKind.file, id))[0]!;
    if (ordinal === -1) visitor.fault(catalog.missing(id), place);
    else visitor.reach(ordinal, place);
  }
}

class ImageWalk {
  private readonly catalog: Catalog;
  private readonly tree: Tree;
  private readonly visitor: WalkVisitor;
  private readonly packageId: string;
  private readonly image: string;

  constructor(
    catalog: Catalog,
    tree: Tree,
    visitor: WalkVisitor,
    packageId: string,
    image: string,
  ) {
    this.catalog = catalog;
    this.tree = tree;
    this.visitor = visitor;
    this.packageId = packageId;
    this.image = image;
  }

  /** Goes through a page and what is under it. True when nothing was wrong. */
  async page(id: Uint8Array, at: PagePlace): Promise<boolean> {
    const ordinal = (await this.catalog.index.find(entryKind.page, id))[0]!;
    if (ordinal !== -1 && !this.visitor.enterPage(ordinal)) return true;
    const ids = await this.idsOf(id, at);
    if (ids === undefined) return false;
    const isWhole = at.level === 0 ? await this.blocks(ids, at.first) : await this.pages(ids, at);
    if (isWhole) this.visitor.leavePage(ordinal);
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
      this.visitor.fault(error as RpcError, this.place(at.first, count));
      return undefined;
    }
  }

  private async pages(ids: Uint8Array, at: PagePlace): Promise<boolean> {
    let isWhole = true;
    for (let index = 0; index < ids.length / idSize; index++) {
      if (isHole(ids, index)) continue;
      const first = at.first + index * blocksPerId(at.level);
      const isChildWhole = await this.page(idAt(ids, index), { level: at.level - 1, first });
      isWhole &&= isChildWhole;
    }
    return isWhole;
  }

  private async blocks(ids: Uint8Array, first: number): Promise<boolean> {
    const ordinals = await this.catalog.index.find(entryKind.block, ids);
    let isWhole = true;
    for (const [index, ordinal] of ordinals.entries()) {
      if (isHole(ids, index)) continue;
      const place = this.place(first + index, 1);
      if (ordinal !== -1) this.visitor.reach(ordinal, place);
      else {
        isWhole = false;
        this.visitor.fault(this.catalog.missing(idAt(ids, index)), place);
      }
    }
    return isWhole;
  }

  private place(first: number, count: number): Place {
    return { packageId: this.packageId, image: this.image, first, count };
  }
}
