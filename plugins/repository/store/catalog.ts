import { dataLoss, type RpcError } from '../../../sdk/errors.ts';
import { hash } from '../../../wasm/host/blake3.ts';
import type { Backend } from './backend.ts';
import { BlockIndex, type Location } from './block-index.ts';
import { objectDamaged } from './faults.ts';
import { formatId, isHole, sameId } from './ids.ts';
import { checkEncoding, type EntryKind } from './index-codec.ts';
import { type DamagedIndex, listIndexes, loadIndexes } from './index-loader.ts';
import { idSize } from './limits.ts';
import { segmentName } from './object-names.ts';
import { PieceCache } from './piece-cache.ts';
import { readQuarantined } from './quarantine.ts';
import { SegmentFiles } from './segment-files.ts';

/**
 * What is stored where, in all segments that existed at the last `refresh`; reads single entries.
 */
export class Catalog {
  readonly backend: Backend;
  readonly files: SegmentFiles;
  private readonly pieces: PieceCache;
  private now = new BlockIndex();
  private damagedNow: DamagedIndex[] = [];
  private refreshing: Promise<void> = Promise.resolve();

  constructor(backend: Backend) {
    this.backend = backend;
    this.files = new SegmentFiles(backend);
    this.pieces = new PieceCache(this.files);
  }

  get index(): BlockIndex {
    return this.now;
  }

  /** Indexes that could not be used. */
  get damaged(): readonly DamagedIndex[] {
    return this.damagedNow;
  }

  /** Takes up what other processes and collections changed. Call it only under a lease. */
  async refresh(): Promise<void> {
    const next = this.refreshing.then(
      () => this.refreshNow(),
      () => this.refreshNow(),
    );
    this.refreshing = next;
    await next;
  }

  /** For each id whether an entry of that kind is stored that a writer may rely on. */
  async mayShare(kind: EntryKind, ids: Uint8Array, count?: number): Promise<boolean[]> {
    const index = this.now;
    const found = await index.find(kind, ids, count);
    return Array.from(found, (at) => at !== -1 && !index.segmentOf(at).isQuarantined);
  }

  /** Where the entries with these ids lie; undefined for holes. A missing one is OBJECT_MISSING. */
  async locate(kind: EntryKind, ids: Uint8Array): Promise<(Location | undefined)[]> {
    const index = this.now;
    const found = await index.find(kind, ids);
    const locations: (Location | undefined)[] = [];
    for (let at = 0; at < found.length; at++) {
      if (isHole(ids, at)) locations.push(undefined);
      else if (found[at] === -1) throw this.missing(ids.subarray(at * idSize, (at + 1) * idSize));
      else locations.push(await index.locate(found[at]!));
    }
    return locations;
  }

  /** The plain bytes of a page or file, checked against its id. */
  async readRecord(kind: EntryKind, id: Uint8Array): Promise<{ bytes: Uint8Array; at: Location }> {
    const [at] = await this.locate(kind, id);
    if (at === undefined) throw new Error('a hole has no bytes');
    return { bytes: await this.readChecked(at), at };
  }

  /** The path of the segment of an entry, for messages. */
  segmentPath(at: Location): string {
    return this.backend.path(segmentName(at.segment.id));
  }

  async close(): Promise<void> {
    this.pieces.clear();
    await this.files.closeUnused();
  }

  private async readChecked(at: Location): Promise<Uint8Array> {
    const path = this.segmentPath(at);
    checkEncoding(at.entry, path);
    const { offset, storedLength, id } = at.entry;
    const bytes = await this.pieces.read(at.segment, offset, storedLength, path);
    if (!sameId(hash(bytes), 0, id, 0)) {
      throw objectDamaged(path, offset, `its bytes do not have the digest ${formatId(id)}`);
    }
    return bytes;
  }

  /** The error about an id that no segment has. */
  missing(id: Uint8Array): RpcError {
    const damaged = this.damagedNow[0];
    const because = damaged === undefined ? '' : `; perhaps because ${damaged.error.message}`;
    const path = this.backend.path(formatId(id));
    return dataLoss('OBJECT_MISSING', `nothing stored has the id ${formatId(id)}${because}`, {
      path: damaged?.error.metadata.path ?? path,
      id: formatId(id),
    });
  }

  private async refreshNow(): Promise<void> {
    const ids = await listIndexes(this.backend);
    const quarantined = await readQuarantined(this.backend);
    const known = new Map(this.now.segments.map((segment) => [segment.id, segment]));
    const listed = new Set(ids);
    const isSame = [...known.values()].every(
      ({ id, isQuarantined }) => listed.has(id) && quarantined.has(id) === isQuarantined,
    );
    // Entries cannot be taken out of the index: then it is made anew.
    const wanted = isSame ? ids.filter((id) => !known.has(id)) : ids;
    const into = isSame && known.size > 0 ? this.now : undefined;
    if (into !== undefined && wanted.length === 0) return;
    const loaded = await loadIndexes(this.backend, wanted, quarantined, into);
    this.now = loaded.index;
    this.damagedNow = loaded.damaged;
    if (!isSame) await this.close();
  }
}
