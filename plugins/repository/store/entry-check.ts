/** Reads stored entries back and compares them with their ids. */

import { isRpcError, type RpcError } from '../../../sdk/errors.ts';
import { hash } from '../../../wasm/host/blake3.ts';
import {
  BlockError,
  CoreError,
  type CorePool,
  type StoredBlock,
} from '../../../wasm/host/core-pool.ts';
import type { SegmentRef } from './block-index.ts';
import type { Catalog } from './catalog.ts';
import { objectDamaged } from './faults.ts';
import { HeldSegments } from './held-segments.ts';
import { formatId, sameId } from './ids.ts';
import { checkEncoding, type Entry, entryKind } from './index-codec.ts';
import { runBlocksMax } from './limits.ts';
import { segmentName } from './object-names.ts';
import { readFully } from './piece-cache.ts';

/** Checks the entries of one segment; `segment` was held by the caller. */
export class EntryCheck {
  private readonly catalog: Catalog;
  private readonly segment: SegmentRef;
  private readonly pool: CorePool;
  private readonly fd: number;
  private readonly path: string;

  constructor(catalog: Catalog, pool: CorePool, segment: SegmentRef, fd: number) {
    this.catalog = catalog;
    this.segment = segment;
    this.pool = pool;
    this.fd = fd;
    this.path = catalog.backend.path(segmentName(segment.id));
  }

  /** For each entry what is wrong with it, or undefined. At most 64 entries, all blocks or none. */
  async check(entries: readonly Entry[]): Promise<(RpcError | undefined)[]> {
    if (entries.length > runBlocksMax) throw new RangeError(`at most ${runBlocksMax} entries`);
    for (const entry of entries) checkEncoding(entry, this.path);
    if (entries[0]?.kind !== entryKind.block) return await this.checkEach(entries, this.record);
    const fault = await this.blocks(entries);
    // One bad block spoils the run: then each is asked alone.
    return fault === undefined
      ? entries.map(() => undefined)
      : await this.checkEach(entries, (entry) => this.blocks([entry]));
  }

  private async checkEach(
    entries: readonly Entry[],
    check: (entry: Entry) => Promise<RpcError | undefined>,
  ): Promise<(RpcError | undefined)[]> {
    const faults: (RpcError | undefined)[] = [];
    for (const entry of entries) faults.push(await check(entry));
    return faults;
  }

  private async blocks(entries: readonly Entry[]): Promise<RpcError | undefined> {
    const held = new HeldSegments(this.catalog);
    try {
      const blocks: StoredBlock[] = [];
      for (const entry of entries) {
        const stored = await held.block({ entry, segment: this.segment, ordinal: 0 });
        blocks.push({ ...stored, targetOffset: 0 });
      }
      (await this.pool.decode({ blocks })).release();
      return undefined;
    } catch (error) {
      const isDamage =
        error instanceof BlockError ||
        (error instanceof CoreError && ['SHORT_READ', 'IO_FAILED'].includes(error.reason));
      // A base is not there: asked alone, the entry that it belongs to is told.
      if (isRpcError(error, 'OBJECT_MISSING')) return error;
      if (!isDamage) throw error;
      const entry = entries[error instanceof BlockError ? error.blockIndex : 0]!;
      return objectDamaged(this.path, entry.offset, error.message);
    } finally {
      held.release();
    }
  }

  private readonly record = async (entry: Entry): Promise<RpcError | undefined> => {
    const bytes = new Uint8Array(entry.storedLength);
    try {
      await readFully(this.fd, bytes, entry.offset, this.path);
    } catch (error) {
      if (isRpcError(error)) return error;
      throw error;
    }
    if (sameId(hash(bytes), 0, entry.id, 0)) return undefined;
    const problem = `its bytes do not have the digest ${formatId(entry.id)}`;
    return objectDamaged(this.path, entry.offset, problem);
  };
}
