import type { FullEncoding, StoredBase, StoredBlock } from '../../../wasm/host/core-pool.ts';
import type { Location } from './block-index.ts';
import type { Catalog } from './catalog.ts';
import { checkEncoding, encoding } from './index-codec.ts';
import type { HeldSegment } from './segment-files.ts';

const names: Record<number, StoredBlock['encoding']> = {
  [encoding.raw]: 'raw',
  [encoding.lz4]: 'lz4',
  [encoding.delta]: 'delta',
  [encoding.zstd]: 'zstd',
};

/** Segments that are open for one run of blocks, and the blocks as the core wants them. */
export class HeldSegments {
  private readonly catalog: Catalog;
  private readonly held = new Map<string, HeldSegment>();

  constructor(catalog: Catalog) {
    this.catalog = catalog;
  }

  /** A stored block, with its base when it is a difference. FORMAT_TOO_NEW, OBJECT_MISSING. */
  async block(at: Location): Promise<Omit<StoredBlock, 'targetOffset'>> {
    const stored = await this.stored(at);
    const { base } = at.entry;
    if (base === undefined) return stored;
    const found = await this.catalog.locateFull(base);
    if (found === undefined) throw this.catalog.missing(base);
    return { ...stored, base: await this.base(found) };
  }

  /** A block that is stored in full. */
  async base(at: Location): Promise<StoredBase> {
    const stored = await this.stored(at);
    return { ...stored, encoding: stored.encoding as FullEncoding };
  }

  release(): void {
    for (const segment of this.held.values()) segment.release();
    this.held.clear();
  }

  private async stored(at: Location): Promise<Omit<StoredBlock, 'targetOffset'>> {
    const { entry, segment } = at;
    checkEncoding(entry, this.catalog.segmentPath(at));
    let file = this.held.get(segment.id);
    if (file === undefined) {
      file = await this.catalog.files.hold(segment.id);
      this.held.set(segment.id, file);
    }
    const { id, offset, storedLength: length } = entry;
    return { id, encoding: names[entry.encoding]!, fd: file.fd, offset, length };
  }
}
