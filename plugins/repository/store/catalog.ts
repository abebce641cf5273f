import { dataLoss, isRpcError, type RpcError } from '../../../sdk/errors.ts';
import { hash } from '../../../wasm/host/blake3.ts';
import type { Backend } from './backend.ts';
import { BlockIndex, type Location, type Suspects } from './block-index.ts';
import { objectDamaged } from './faults.ts';
import { formatId, isHole, sameId } from './ids.ts';
import { checkEncoding, type EntryKind, entryKind } from './index-codec.ts';
import {
  countEntries,
  type DamagedIndex,
  listIndexes,
  loadIndex,
  loadIndexes,
  segmentRef,
} from './index-loader.ts';
import { idSize, memoryEntriesMax } from './limits.ts';
import { LookupTable } from './lookup-table.ts';
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
  private readonly memoryEntriesMax: number;
  private readonly checksAll: boolean;
  private readonly suspects: Suspects;
  private lookup: LookupTable | undefined;
  private readonly retired: LookupTable[] = [];

  /**
   * `checksAll`: a refresh reads every index, so that `damaged` is complete. `memoryEntriesMax` is
   * for tests. `suspects`: their entries are not found, the others of their segments last.
   */
  constructor(
    backend: Backend,
    options: {
      checksAll?: boolean;
      memoryEntriesMax?: number | undefined;
      suspects?: Suspects;
    } = {},
  ) {
    this.backend = backend;
    this.checksAll = options.checksAll ?? false;
    this.memoryEntriesMax = options.memoryEntriesMax ?? memoryEntriesMax;
    this.suspects = options.suspects ?? new Map();
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
    const isSafe = (at: number) => at !== -1 && !index.segmentOf(at).isQuarantined;
    const shared = Array.from(found, isSafe);
    for (const [number, at] of found.entries()) {
      if (!shared[number]) continue;
      const base = await index.baseOf(at);
      if (base !== -1) shared[number] = isSafe(base);
    }
    return shared;
  }

  /**
   * Where a block lies that a writer may store a difference from, given the block that it is to
   * differ from: that block itself, or its base when it is a difference. Undefined when there is
   * none that the writer may rely on.
   */
  async locateBaseFor(id: Uint8Array): Promise<Location | undefined> {
    const index = this.now;
    const at = (await index.find(entryKind.block, id, 1))[0]!;
    if (at === -1) return undefined;
    const base = await index.baseOf(at);
    const full = base === -1 ? at : base;
    return index.segmentOf(full).isQuarantined ? undefined : await index.locate(full);
  }

  /** Where a block is stored in full; undefined when it is not. */
  async locateFull(id: Uint8Array): Promise<Location | undefined> {
    const index = this.now;
    const at = await index.findFull(id);
    return at === -1 ? undefined : await index.locate(at);
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

  /**
   * Gives up what keeps the space of deleted segments. `isIdle`: nobody is looking anything up, so
   * tables that were replaced can go as well.
   */
  async release(isIdle = false): Promise<void> {
    this.pieces.clear();
    await this.files.closeUnused();
    if (isIdle) for (const table of this.retired.splice(0)) await table.close();
  }

  /** Gives up everything. */
  async close(): Promise<void> {
    await this.release(true);
    await this.lookup?.close();
    this.lookup = undefined;
    this.now = new BlockIndex();
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
    return dataLoss('OBJECT_MISSING', `nothing whole has the id ${formatId(id)}${because}`, {
      path: damaged?.error.metadata.path ?? path,
      id: formatId(id),
    });
  }

  private async refreshNow(): Promise<void> {
    const ids = await listIndexes(this.backend);
    const marked = await readQuarantined(this.backend);
    const quarantined = new Set([...marked, ...this.suspects.keys()]);
    const known = new Map(this.now.segments.map((segment) => [segment.id, segment]));
    const listed = new Set(ids);
    const isSame = [...known.values()].every(
      ({ id, isQuarantined }) => listed.has(id) && quarantined.has(id) === isQuarantined,
    );
    if (isSame && known.size > 0) {
      const wanted = ids.filter((id) => !known.has(id));
      if (wanted.length === 0) return;
      const entries = this.now.memoryEntryCount + (await countEntries(this.backend, wanted));
      if (entries <= this.memoryEntriesMax) {
        const loaded = await loadIndexes(this.backend, wanted, quarantined, this.now);
        this.damagedNow = withoutMarked(loaded.damaged, quarantined);
        return;
      }
    }
    // Entries cannot be taken out of the index: then it is made anew.
    await this.makeIndex(ids, quarantined);
    if (!isSame) await this.release();
  }

  private async makeIndex(ids: readonly string[], quarantined: ReadonlySet<string>): Promise<void> {
    const damaged = await this.prepareLookup(ids);
    const table = this.lookup;
    const listed = new Set(ids);
    const inFile = new Set(table?.segments.map(({ id }) => id));
    const broken = new Set(damaged.map(({ segmentId }) => segmentId));
    const rest = ids.filter((id) => !inFile.has(id) && !broken.has(id));
    const refs = table?.segments.map((known) => {
      if (!listed.has(known.id) || broken.has(known.id)) return undefined;
      return { ...segmentRef(this.backend, known), isQuarantined: quarantined.has(known.id) };
    });
    const onUnusable = (segmentId: string, error: RpcError) => {
      this.damagedNow = [...this.damagedNow, { segmentId, error }];
    };
    const expected = await countEntries(this.backend, rest);
    const index = new BlockIndex(
      expected,
      table && refs && { table, refs, onUnusable },
      this.suspects,
    );
    const loaded = await loadIndexes(this.backend, rest, quarantined, index);
    this.now = index;
    this.damagedNow = withoutMarked([...damaged, ...loaded.damaged], quarantined);
  }

  // Opens the table in the file, or makes it anew when what it lacks would not fit in memory or
  // most of what it has is gone. What is damaged is returned.
  private async prepareLookup(ids: readonly string[]): Promise<DamagedIndex[]> {
    this.lookup ??= await LookupTable.open(this.backend);
    const listed = new Set(ids);
    const segments = this.lookup?.segments ?? [];
    const inFile = new Set(segments.map(({ id }) => id));
    const missing = await countEntries(
      this.backend,
      ids.filter((id) => !inFile.has(id)),
    );
    const held = sumOf(segments);
    const gone = sumOf(segments.filter(({ id }) => !listed.has(id)));
    if (missing <= this.memoryEntriesMax && gone * 2 <= held) {
      return this.checksAll ? await this.checkIndexes(segments, listed) : [];
    }
    // Whoever still looks up something keeps the old one.
    if (this.lookup) this.retired.push(this.lookup);
    this.lookup = undefined;
    const entries = await countEntries(this.backend, ids);
    if (entries <= this.memoryEntriesMax) return [];
    const built = await LookupTable.build(this.backend, ids, entries);
    this.lookup = built.table;
    return built.damaged;
  }

  private async checkIndexes(
    segments: readonly { id: string }[],
    listed: ReadonlySet<string>,
  ): Promise<DamagedIndex[]> {
    const damaged: DamagedIndex[] = [];
    const buffer = { bytes: new Uint8Array(0) };
    for (const { id } of segments) {
      if (!listed.has(id)) continue;
      try {
        await loadIndex(this.backend, id, buffer);
      } catch (error) {
        if (!isRpcError(error, 'OBJECT_DAMAGED')) throw error;
        damaged.push({ segmentId: id, error });
      }
    }
    return damaged;
  }
}

// A marked segment is given up: what is needed of it shows as missing.
function withoutMarked(damaged: DamagedIndex[], marked: ReadonlySet<string>): DamagedIndex[] {
  return damaged.filter(({ segmentId }) => !marked.has(segmentId));
}

function sumOf(segments: readonly { entryCount: number }[]): number {
  return segments.reduce((sum, { entryCount }) => sum + entryCount, 0);
}
