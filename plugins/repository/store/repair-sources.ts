/** Where a repair finds good copies: another repository, or an image. */
import { isRpcError } from '../../../sdk/errors.ts';
import { hash } from '../../../wasm/host/blake3.ts';
import { BlockError, CoreError, type CorePool } from '../../../wasm/host/core-pool.ts';
import type { BlockSource } from '../sources/source.ts';
import type { Catalog } from './catalog.ts';
import { CutSource } from './cut-source.ts';
import { HeldSegments } from './held-segments.ts';
import { holeId, idAt, isHole } from './ids.ts';
import { entryKind } from './index-codec.ts';
import { blockSize, idSize } from './limits.ts';
import type { Manifest } from './manifest.ts';
import { readManifest } from './pinned-package.ts';
import { blocksPerId, encodePage } from './tree-page.ts';
import type { Place, Wanted } from './tree-walk.ts';

/** What it gives may be anything: the repair checks it against the id. */
export interface CopySource {
  /** The plain bytes, or undefined when it has no whole copy. */
  read(wanted: Wanted, place: Place): Promise<Uint8Array | undefined>;
  manifest(packageId: string): Promise<{ manifest: Manifest; bytes: Uint8Array } | undefined>;
}

/** An image that a package was made of, or that is like one; without names it may be any's. */
export type RepairImage = { source: BlockSource; packageId?: string; image?: string };

/** Another repository. Its catalog was refreshed under a lease. */
export class StoreCopies implements CopySource {
  private readonly catalog: Catalog;
  private readonly pool: CorePool;

  constructor(catalog: Catalog, pool: CorePool) {
    this.catalog = catalog;
    this.pool = pool;
  }

  async read({ kind, id }: Wanted): Promise<Uint8Array | undefined> {
    try {
      if (kind === entryKind.block) return await this.block(id);
      return new Uint8Array((await this.catalog.readRecord(kind, id)).bytes);
    } catch (error) {
      // Not there, or damaged there as well: then another source may have it.
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  async manifest(packageId: string) {
    try {
      return await readManifest(this.catalog.backend, packageId);
    } catch (error) {
      if (isRpcError(error, 'PACKAGE_UNKNOWN') || isAbsent(error)) return undefined;
      throw error;
    }
  }

  private async block(id: Uint8Array): Promise<Uint8Array | undefined> {
    const held = new HeldSegments(this.catalog);
    try {
      const [at] = await this.catalog.locate(entryKind.block, id);
      const stored = at && { ...(await held.block(at)), targetOffset: 0 };
      if (stored === undefined) return undefined;
      const decoded = await this.pool.decode({ blocks: [stored] });
      const bytes = new Uint8Array(decoded.bytes);
      decoded.release();
      return bytes;
    } finally {
      held.release();
    }
  }
}

/** An image: has blocks at their places, and the pages over them. */
export class ImageCopies implements CopySource {
  private readonly from: RepairImage;
  private readonly signal: AbortSignal;
  private readonly cut: BlockSource;

  constructor(from: RepairImage, signal: AbortSignal) {
    this.from = from;
    this.cut = new CutSource(from.source);
    this.signal = signal;
  }

  async read(wanted: Wanted, place: Place): Promise<Uint8Array | undefined> {
    const { source, packageId = place.packageId } = this.from;
    if ('file' in place || packageId !== place.packageId) return undefined;
    if ((this.from.image ?? place.image) !== place.image) return undefined;
    const blocks = place.isCut ? this.cut : source;
    if (place.first * blockSize >= blocks.sizeBytes) return undefined;
    if (wanted.kind === entryKind.block) return await readBlock(blocks, place.first);
    return await this.page(blocks, wanted.level ?? 0, place.first, place.count);
  }

  async manifest(): Promise<undefined> {
    return undefined;
  }

  // The page over `count` blocks, as packing would make it.
  private async page(source: BlockSource, level: number, first: number, count: number) {
    const reach = blocksPerId(level);
    const ids = new Uint8Array(Math.ceil(count / reach) * idSize);
    for (let done = 0; done < count; done += reach) {
      const under = Math.min(reach, count - done);
      ids.set(await this.idOf(source, level, first + done, under), (done / reach) * idSize);
    }
    return encodePage(level, ids);
  }

  private async idOf(source: BlockSource, level: number, first: number, count: number) {
    this.signal.throwIfAborted();
    if (level === 0) {
      const bytes = await readBlock(source, first);
      return bytes.every((byte) => byte === 0) ? holeId : hash(bytes);
    }
    const page: Uint8Array = await this.page(source, level - 1, first, count);
    const ids = page.subarray(page.length - Math.ceil(count / blocksPerId(level - 1)) * idSize);
    const isEmpty = Array.from({ length: ids.length / idSize }, (_, index) => idAt(ids, index));
    return isEmpty.every((id) => isHole(id)) ? holeId : hash(page);
  }
}

async function readBlock(source: BlockSource, index: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(blockSize);
  const length = Math.min(blockSize, source.sizeBytes - index * blockSize);
  if (length > 0) await source.read(index * blockSize, bytes.subarray(0, length));
  return bytes;
}

function isAbsent(error: unknown): boolean {
  if (error instanceof CoreError && ['SHORT_READ', 'IO_FAILED'].includes(error.reason)) return true;
  const isDamage = isRpcError(error, 'OBJECT_MISSING') || isRpcError(error, 'OBJECT_DAMAGED');
  return isDamage || error instanceof BlockError;
}
