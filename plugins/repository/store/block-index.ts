import assert from 'node:assert/strict';
import { isRpcError, type RpcError } from '../../../sdk/errors.ts';
import type { Bits } from './bits.ts';
import { IdTable } from './id-table.ts';
import {
  type Entry,
  type EntryKind,
  encoding,
  entryBytes,
  entryKind,
  readBase,
  readEntry,
} from './index-codec.ts';
import { idSize, indexCacheBytesMax } from './limits.ts';
import type { Lookup, LookupSegment } from './lookup-codec.ts';

/** A segment as the index knows it. */
export type SegmentRef = {
  /** 64 hexadecimal digits. */
  id: string;
  entryCount: number;
  segmentBytes: number;
  nonce: Uint8Array;
  /** Marked for deletion: may be read, must not be deduplicated against. */
  isQuarantined: boolean;
  /** Reads the entries again, once they have left the cache. */
  load(): Promise<Buffer>;
};

/** `base` is the first ordinal. `hasBases` is true too while the entries were not looked at. */
type Placed = { ref: SegmentRef; base: number; hasBases: boolean; isGone: boolean };

/**
 * Segments in which something is wrong, by their ids, and which of their entries, by their numbers in
 * the segment: these are not found.
 */
export type Suspects = Map<string, Bits>;

/** Which entries count: all, those that can be decoded, those that are stored in full. */
type Wanted = 'any' | 'whole' | 'full';

type Search = {
  kind: EntryKind;
  ids: Uint8Array;
  /** Which of the ids. */
  index: number;
  wanted: Wanted;
  /** What the table in the file says. */
  candidates: readonly number[];
  held: ReadonlyMap<number, Buffer>;
  /** Differences that were found to have no base. */
  baseless: ReadonlySet<number>;
};

/** Told once about a segment whose index turned out to be damaged or missing. */
export type OnUnusable = (segmentId: string, error: RpcError) => void;

/** An entry and the segment in which it lies. */
export type Location = { segment: SegmentRef; entry: Entry; ordinal: number };

/**
 * Finds entries by kind and id over any number of segments. Each entry has an ordinal, its number
 * in the order of adding. Memory: see docs/storage-format.md section 9. Segments are never removed:
 * make a new index.
 */
export class BlockIndex {
  private readonly tables: IdTable[];
  private readonly placed: Placed[] = [];
  private readonly cache = new Map<number, Buffer>();
  private cachedBytes = 0;
  private readonly lookup: Lookup | undefined;
  private readonly onUnusable: OnUnusable | undefined;
  private readonly inFile: number = 0;
  private readonly suspects: Suspects | undefined;
  private count = 0;

  /**
   * `expected`: how many entries will be added; more are possible, at some cost for each look-up.
   * `lookup`: has the first segments, `refs`; undefined stands for one that is gone.
   */
  constructor(
    expected = 0,
    lookup?: { table: Lookup; refs: (SegmentRef | undefined)[]; onUnusable: OnUnusable },
    suspects?: Suspects,
  ) {
    this.suspects = suspects;
    this.tables = [new IdTable(expected)];
    if (lookup === undefined) return;
    this.lookup = lookup.table;
    this.onUnusable = lookup.onUnusable;
    for (const [index, known] of lookup.table.segments.entries()) {
      const ref = lookup.refs[index];
      const place = { base: this.count, hasBases: true, isGone: !ref };
      this.placed.push({ ref: ref ?? goneSegment(known), ...place });
      this.count += known.entryCount;
    }
    this.inFile = this.count;
  }

  /** Entries whose place is kept in memory. */
  get memoryEntryCount(): number {
    return this.count - this.inFile;
  }

  get entryCount(): number {
    return this.count;
  }

  get segments(): readonly SegmentRef[] {
    return this.placed.filter(({ isGone }) => !isGone).map(({ ref }) => ref);
  }

  /**
   * Adds a segment with all of its entries, and their bases behind them. What was added first is
   * found first.
   */
  add(ref: SegmentRef, entries: Buffer): void {
    const entriesEnd = ref.entryCount * entryBytes;
    assert(entries.length >= entriesEnd);
    const hasBases = entries.length > entriesEnd;
    const number = this.placed.push({ ref, base: this.count, hasBases, isGone: false }) - 1;
    for (let at = 0; at < entriesEnd; at += entryBytes) {
      this.tableWithRoom().add(entries, at, this.count);
      this.count += 1;
    }
    this.remember(number, this.masked(ref.id, entries));
  }

  /**
   * For each of the `count` ids the ordinal of an entry of that kind, or -1. A difference counts
   * only when its base is stored in full.
   */
  async find(kind: EntryKind, ids: Uint8Array, count = ids.length / idSize): Promise<Int32Array> {
    const found = new Int32Array(count);
    for (let index = 0; index < count; index++) {
      found[index] = await this.findOne(kind, ids, index, 'whole');
    }
    return found;
  }

  /** Whether there is an entry, if only a difference without its base. */
  async has(kind: EntryKind, id: Uint8Array): Promise<boolean> {
    return (await this.findOne(kind, id, 0, 'any')) !== -1;
  }

  /** The ordinal of an entry of a block that is stored in full, or -1. */
  async findFull(id: Uint8Array): Promise<number> {
    return await this.findOne(entryKind.block, id, 0, 'full');
  }

  /** The ordinal of the base of an entry; -1 when it has none or the base is not stored in full. */
  async baseOf(ordinal: number): Promise<number> {
    const number = this.segmentNumber(ordinal);
    const { base, hasBases } = this.placed[number]!;
    if (!hasBases) return -1;
    const entries = await this.entriesOf(number);
    const id = readBase(entries, (ordinal - base) * entryBytes);
    return id === undefined ? -1 : await this.findFull(id);
  }

  private async findOne(
    kind: EntryKind,
    ids: Uint8Array,
    index: number,
    wanted: Wanted,
  ): Promise<number> {
    const candidates = await this.candidatesOf(ids, index);
    // Entries that one look-up needs stay here even when they push each other out of the cache.
    const held = new Map<number, Buffer>();
    const baseless = new Set<number>();
    for (;;) {
      const search = { kind, ids, index, wanted, candidates, held, baseless };
      const { ordinal, missing } = this.findCached(search);
      if (missing !== undefined) {
        await this.loadOrGiveUp(missing, held);
        continue;
      }
      if (ordinal === -1 || wanted !== 'whole') return ordinal;
      const base = this.baseIdAt(ordinal, held);
      if (base === undefined || (await this.findFull(base)) !== -1) return ordinal;
      baseless.add(ordinal);
    }
  }

  /** Where the entry with that ordinal lies. */
  async locate(ordinal: number): Promise<Location> {
    const number = this.segmentNumber(ordinal);
    const entries = await this.entriesOf(number);
    const { ref, base } = this.placed[number]!;
    return { segment: ref, entry: readEntry(entries, (ordinal - base) * entryBytes), ordinal };
  }

  /** The segment of an ordinal. */
  segmentOf(ordinal: number): SegmentRef {
    return this.placed[this.segmentNumber(ordinal)]!.ref;
  }

  /** Every segment with its first ordinal and its entries, in the order of adding. */
  async *contents(): AsyncGenerator<{ segment: SegmentRef; base: number; entries: Buffer }> {
    for (const [number, { ref, base, isGone }] of this.placed.entries()) {
      if (!isGone) yield { segment: ref, base, entries: await this.entriesOf(number) };
    }
  }

  private async candidatesOf(ids: Uint8Array, index: number): Promise<number[]> {
    if (this.lookup === undefined) return [];
    let candidates = this.lookup.candidates(ids, index);
    if (candidates === undefined) {
      await this.lookup.repair();
      candidates = this.lookup.candidates(ids, index);
      assert(candidates !== undefined, 'a table made anew is whole');
    }
    return candidates;
  }

  // An index in the file was not looked at when the repository was opened: it may be damaged.
  private async loadOrGiveUp(number: number, held: Map<number, Buffer>): Promise<void> {
    try {
      held.set(number, await this.entriesOf(number));
    } catch (error) {
      const isUnusable = isRpcError(error, 'OBJECT_DAMAGED') || isRpcError(error, 'OBJECT_MISSING');
      if (!isUnusable || this.onUnusable === undefined) throw error;
      const placed = this.placed[number]!;
      placed.isGone = true;
      this.onUnusable(placed.ref.id, error);
    }
  }

  // A candidate whose entries are not in memory stops the search; the caller loads them and tries
  // again. One in a quarantined segment is taken only when there is no other.
  private findCached(search: Search): { ordinal: number; missing?: number } {
    const { kind, ids, index, wanted, candidates, held, baseless } = search;
    let ordinal = -1;
    let missing: number | undefined;
    const accept = (candidate: number): boolean => {
      const number = this.segmentNumber(candidate);
      const { ref, base, isGone } = this.placed[number]!;
      if (isGone || baseless.has(candidate)) return false;
      const entries = this.cache.get(number) ?? held.get(number);
      if (entries === undefined) {
        missing = number;
        return true;
      }
      const at = (candidate - base) * entryBytes;
      if (entries[at + 44] !== kind || !isSame(entries, at, ids, index * idSize)) return false;
      if (wanted === 'full' && entries[at + 45] === encoding.delta) return false;
      if (ordinal === -1 || !ref.isQuarantined) ordinal = candidate;
      return !ref.isQuarantined;
    };
    if (!candidates.some(accept)) {
      for (const table of this.tables) if (table.some(ids, index, accept)) break;
    }
    return missing === undefined ? { ordinal } : { ordinal: -1, missing };
  }

  // Of an entry that was just looked at.
  private baseIdAt(ordinal: number, held: ReadonlyMap<number, Buffer>): Uint8Array | undefined {
    const number = this.segmentNumber(ordinal);
    const { base, hasBases } = this.placed[number]!;
    const entries = this.cache.get(number) ?? held.get(number);
    if (!hasBases || entries === undefined) return undefined;
    return readBase(entries, (ordinal - base) * entryBytes);
  }

  private tableWithRoom(): IdTable {
    const last = this.tables.at(-1)!;
    if (!last.isFull) return last;
    const next = new IdTable(last.capacity * 2);
    this.tables.push(next);
    return next;
  }

  private segmentNumber(ordinal: number): number {
    let low = 0;
    let high = this.placed.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.placed[middle]!.base <= ordinal) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  private async entriesOf(number: number): Promise<Buffer> {
    const cached = this.cache.get(number);
    if (cached !== undefined) {
      // Last used, last dropped.
      this.cache.delete(number);
      this.cache.set(number, cached);
      return cached;
    }
    const { ref } = this.placed[number]!;
    const entries = this.masked(ref.id, await ref.load());
    this.remember(number, entries);
    return entries;
  }

  // An entry without a kind is never what is looked for.
  private masked(segmentId: string, entries: Buffer): Buffer {
    const suspect = this.suspects?.get(segmentId);
    if (suspect === undefined) return entries;
    const masked = Buffer.from(entries);
    for (let index = 0; index * entryBytes < entries.length; index++) {
      if (suspect.has(index)) masked[index * entryBytes + 44] = 0;
    }
    return masked;
  }

  private remember(number: number, entries: Buffer): void {
    if (this.cache.has(number)) return;
    this.cache.set(number, entries);
    this.cachedBytes += entries.length;
    for (const [oldest, bytes] of this.cache) {
      if (this.cachedBytes <= indexCacheBytesMax || oldest === number) break;
      this.cache.delete(oldest);
      this.cachedBytes -= bytes.length;
    }
  }
}

function goneSegment({ id, entryCount, segmentBytes, nonce }: LookupSegment): SegmentRef {
  const load = () => Promise.reject(new Error('nobody asks for a segment that is gone'));
  return { id, entryCount, segmentBytes, nonce, isQuarantined: true, load };
}

function isSame(a: Uint8Array, aStart: number, b: Uint8Array, bStart: number): boolean {
  for (let at = 0; at < idSize; at++) if (a[aStart + at] !== b[bStart + at]) return false;
  return true;
}
