/** Stores blocks that changed as the difference from what the parent has at the same place. */
import { isRpcError } from '../../../sdk/errors.ts';
import type { EncodedRun, LeftBlock, StoredBase } from '../../../wasm/host/core-pool.ts';
import { kindLeft } from '../../../wasm/host/layout.ts';
import type { Catalog } from './catalog.ts';
import { HeldSegments } from './held-segments.ts';
import { idAt } from './ids.ts';
import { entryKind } from './index-codec.ts';

/** A run whose new blocks are all stored, and the base of each block, by its number in the run. */
export type StoredRun = { run: EncodedRun; bases: ReadonlyMap<number, Uint8Array> };

export class ChangedBlocks {
  /** Blocks of the parent that could not be used because they are damaged. */
  damagedBases = 0;
  private readonly catalog: Catalog;

  constructor(catalog: Catalog) {
    this.catalog = catalog;
  }

  /** Stores the blocks that the run left, but for those that are stored already. Owns the run. */
  async store(encoded: EncodedRun, parentIds: Uint8Array): Promise<StoredRun> {
    const held = new HeldSegments(this.catalog);
    try {
      const left = await this.withBases(encoded, parentIds, held);
      if (left.length === 0) return { run: encoded, bases: new Map() };
      const run = await encoded.storeLeft(left);
      this.damagedBases += run.damagedBases;
      const bases = left.flatMap(({ index, base }) => (base ? [[index, base.id] as const] : []));
      return { run, bases: new Map(bases) };
    } catch (error) {
      encoded.release();
      throw error;
    } finally {
      held.release();
    }
  }

  private async withBases(
    { kinds, ids }: EncodedRun,
    parentIds: Uint8Array,
    held: HeldSegments,
  ): Promise<LeftBlock[]> {
    if (!kinds.includes(kindLeft)) return [];
    const shared = await this.catalog.mayShare(entryKind.block, ids, kinds.length);
    const left: LeftBlock[] = [];
    for (const [index, kind] of kinds.entries()) {
      if (kind !== kindLeft || shared[index]) continue;
      const base = await this.baseFor(idAt(parentIds, index), held);
      left.push(base === undefined ? { index } : { index, base });
    }
    return left;
  }

  // What was lost before does not keep a block from being stored: it is stored in full.
  private async baseFor(id: Uint8Array, held: HeldSegments): Promise<StoredBase | undefined> {
    try {
      const at = await this.catalog.locateBaseFor(id);
      return at && (await held.base(at));
    } catch (error) {
      if (!isRpcError(error, 'OBJECT_MISSING') && !isRpcError(error, 'OBJECT_DAMAGED')) throw error;
      this.damagedBases += 1;
      return undefined;
    }
  }
}
