import assert from 'node:assert/strict';
import { IdTable } from './id-table.ts';
import { type Entry, type EntryKind, entryBytes, readEntry } from './index-codec.ts';
import { idSize, indexCacheBytesMax } from './limits.ts';

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

type Placed = { ref: SegmentRef; base: number };

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
  private count = 0;

  /**
   * `expected`: how many entries will be added; more are possible, at some cost for each look-up.
   */
  constructor(expected = 0) {
    this.tables = [new IdTable(expected)];
  }

  get entryCount(): number {
    return this.count;
  }

  get segments(): readonly SegmentRef[] {
    return this.placed.map(({ ref }) => ref);
  }

  /** Adds a segment with all of its entries. What was added first is found first. */
  add(ref: SegmentRef, entries: Buffer): void {
    assert.equal(entries.length, ref.entryCount * entryBytes);
    const number = this.placed.push({ ref, base: this.count }) - 1;
    for (let at = 0; at < entries.length; at += entryBytes) {
      this.tableWithRoom().add(entries, at, this.count);
      this.count += 1;
    }
    this.remember(number, entries);
  }

  /** For each of the `count` ids the ordinal of an entry of that kind, or -1. */
  async find(kind: EntryKind, ids: Uint8Array, count = ids.length / idSize): Promise<Int32Array> {
    const found = new Int32Array(count);
    for (let index = 0; index < count; index++) {
      let result = this.findCached(kind, ids, index);
      while (result.missing !== undefined) {
        await this.entriesOf(result.missing);
        result = this.findCached(kind, ids, index);
      }
      found[index] = result.ordinal;
    }
    return found;
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
    for (const [number, { ref, base }] of this.placed.entries()) {
      yield { segment: ref, base, entries: await this.entriesOf(number) };
    }
  }

  // A candidate whose entries are not in memory stops the search; the caller loads them and tries
  // again.
  private findCached(
    kind: EntryKind,
    ids: Uint8Array,
    index: number,
  ): { ordinal: number; missing?: number } {
    let ordinal = -1;
    let missing: number | undefined;
    const accept = (candidate: number): boolean => {
      const number = this.segmentNumber(candidate);
      const entries = this.cache.get(number);
      if (entries === undefined) {
        missing = number;
        return true;
      }
      const at = (candidate - this.placed[number]!.base) * entryBytes;
      if (entries[at + 44] !== kind || !isSame(entries, at, ids, index * idSize)) return false;
      ordinal = candidate;
      return true;
    };
    for (const table of this.tables) if (table.some(ids, index, accept)) break;
    return missing === undefined ? { ordinal } : { ordinal: -1, missing };
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
    const entries = await this.placed[number]!.ref.load();
    this.remember(number, entries);
    return entries;
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

function isSame(a: Uint8Array, aStart: number, b: Uint8Array, bStart: number): boolean {
  for (let at = 0; at < idSize; at++) if (a[aStart + at] !== b[bStart + at]) return false;
  return true;
}
