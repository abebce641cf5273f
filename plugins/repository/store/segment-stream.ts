/** Writes entries into segments of bounded size, in one writer's area. */

import { failpoint } from '../../../sdk/failpoint.ts';
import type { Random } from '../../../sdk/ports/random.ts';
import { hash } from '../../../wasm/host/blake3.ts';
import type { Area, StagedObject } from './backend.ts';
import { BlockIndex } from './block-index.ts';
import { IdTable } from './id-table.ts';
import { formatId } from './ids.ts';
import {
  type Content,
  type Entry,
  type EntryKind,
  encodeIndexHeader,
  encodeSegmentHeader,
  entryBytes,
  indexHeaderBytes,
  nonceBytes,
  segmentBasesMax,
  segmentHeaderBytes,
  writeEntry,
} from './index-codec.ts';
import {
  gatherBytesMax,
  idSize,
  memoryEntriesMax,
  segmentBytesMax,
  segmentEntriesTarget,
  syncStrideBytes,
} from './limits.ts';
import { indexName, segmentName } from './object-names.ts';

export type SealedSegment = { id: string; segment: StagedObject; index: StagedObject };

/** An entry whose place is not known yet. */
export type NewEntry = Omit<Entry, 'offset'>;

type OpenSegment = {
  staged: StagedObject;
  nonce: Uint8Array;
  entries: Buffer;
  count: number;
  /** Where the next entry begins, in bytes. */
  end: number;
  table: IdTable;
  /** Ids of bases, as text, with their numbers in the index. */
  bases: Map<string, number>;
};

/**
 * One stream of segments of one content. `has` knows everything added so far; nothing is visible to
 * others before the sealed segments are published. One caller at a time.
 */
export class SegmentStream {
  private readonly area: Area;
  private readonly content: Content;
  private readonly name: string;
  private readonly random: Random;
  private readonly segmentBytesMax: number;
  private sealedIndex = new BlockIndex();
  private readonly sealed: SealedSegment[] = [];
  private current: OpenSegment | undefined;
  private sealing: Promise<void> = Promise.resolve();
  private syncing: Promise<void> | undefined;
  private unsyncedBytes = 0;
  private number = 0;
  private gathered: Uint8Array[] = [];
  private gatheredBytes = 0;

  /** `name`: tells streams of one content in one area apart. */
  constructor(area: Area, content: Content, random: Random, bytesMax = segmentBytesMax, name = '') {
    this.name = name;
    this.area = area;
    this.content = content;
    this.random = random;
    this.segmentBytesMax = bytesMax;
  }

  /** Whether an entry was added already. */
  async has(kind: EntryKind, id: Uint8Array): Promise<boolean> {
    if (this.hasInCurrent(kind, id)) return true;
    if (this.sealedIndex.entryCount === 0) return false;
    return await this.sealedIndex.has(kind, id);
  }

  /** Stores an entry. Its bytes must not change before the next `flush`. */
  async put(entry: NewEntry, bytes: Uint8Array): Promise<void> {
    const now = this.current;
    const isFull =
      now !== undefined &&
      now.count > 0 &&
      (now.end + bytes.length > this.segmentBytesMax ||
        now.count === segmentEntriesTarget ||
        now.bases.size === segmentBasesMax);
    if (isFull) await this.seal();
    this.current ??= await this.start();
    reserve(this.current, entry);
    this.gathered.push(bytes);
    this.gatheredBytes += bytes.length;
    if (this.gatheredBytes >= gatherBytesMax) await this.flush();
  }

  /** Hands everything put so far to the system. */
  async flush(): Promise<void> {
    if (this.gathered.length === 0) return;
    const parts = joinNeighbours(this.gathered);
    this.unsyncedBytes += this.gatheredBytes;
    this.gathered = [];
    this.gatheredBytes = 0;
    const { staged } = this.current!;
    await staged.append(parts);
    if (this.unsyncedBytes >= syncStrideBytes && this.syncing === undefined) this.syncAside(staged);
  }

  /** Closes the segment in progress, so that `durable` covers everything put so far. */
  async close(): Promise<void> {
    if (this.current !== undefined && this.current.count > 0) await this.seal();
  }

  /** The segments closed so far, once they are durable in the area. */
  async durable(): Promise<readonly SealedSegment[]> {
    const count = this.sealed.length;
    await this.sealing;
    return this.sealed.slice(0, count);
  }

  /** Ends the stream; everything is durable in the area when it returns. */
  async finish(): Promise<readonly SealedSegment[]> {
    await this.close();
    await this.sealing;
    return this.sealed;
  }

  /** Removes everything written so far. */
  async discard(): Promise<void> {
    await this.sealing.catch(() => undefined);
    await this.syncing?.catch(() => undefined);
    await this.current?.staged.discard();
    for (const { segment, index } of this.sealed) {
      await segment.discard();
      await index.discard();
    }
  }

  private hasInCurrent(kind: EntryKind, id: Uint8Array): boolean {
    const now = this.current;
    if (now === undefined) return false;
    return now.table.some(id, 0, (ordinal) => {
      const at = ordinal * entryBytes;
      const sameId = now.entries.subarray(at, at + idSize).equals(id);
      return sameId && now.entries[at + 44] === kind;
    });
  }

  private async start(): Promise<OpenSegment> {
    const staged = await this.area.stage(`segment-${this.name}${this.content}-${this.number++}`);
    const nonce = this.random.bytes(nonceBytes);
    await staged.append([encodeSegmentHeader(nonce)]);
    const entries = Buffer.alloc(64 * entryBytes);
    const table = new IdTable(segmentEntriesTarget);
    return { staged, nonce, entries, count: 0, end: segmentHeaderBytes, table, bases: new Map() };
  }

  private syncAside(staged: StagedObject): void {
    this.unsyncedBytes = 0;
    const syncing = staged.sync();
    this.syncing = syncing;
    const end = () => {
      if (this.syncing === syncing) this.syncing = undefined;
    };
    // The error is not lost: `seal` waits for the same promise.
    syncing.then(end, () => undefined);
  }

  // Closes the current segment. Waiting for the disk goes on in the background, for one segment at
  // a time.
  private async seal(): Promise<void> {
    await this.flush();
    await this.sealing;
    const now = this.current!;
    this.current = undefined;
    const entries = Buffer.concat([
      now.entries.subarray(0, now.count * entryBytes),
      ...[...now.bases.keys()].reverse().map((id) => Buffer.from(id, 'hex')),
    ]);
    const header = encodeIndexHeader({
      nonce: now.nonce,
      segmentBytes: now.end,
      entryCount: now.count,
      content: this.content,
      baseCount: now.bases.size,
    });
    const bytes = Buffer.concat([header, entries]);
    const id = formatId(hash(bytes));
    const index = await this.area.stage(`index-${this.name}${this.content}-${this.number++}`);
    await index.append([bytes]);
    this.sealed.push({ id, segment: now.staged, index });
    // Memory is bounded, also in a run that stores terabytes: then it forgets what it began with.
    if (this.sealedIndex.entryCount >= memoryEntriesMax) this.sealedIndex = new BlockIndex();
    this.sealedIndex.add(
      {
        id,
        entryCount: now.count,
        segmentBytes: now.end,
        nonce: now.nonce,
        isQuarantined: false,
        load: async () => Buffer.from(await index.readBack()).subarray(indexHeaderBytes),
      },
      entries,
    );
    const syncing = this.syncing;
    this.syncing = undefined;
    this.unsyncedBytes = 0;
    this.sealing = finishBoth(now.staged, index, syncing);
    // The error is not lost: the next `seal` or `finish` waits for the same promise.
    this.sealing.catch(() => undefined);
  }
}

async function finishBoth(
  segment: StagedObject,
  index: StagedObject,
  syncing: Promise<void> | undefined,
): Promise<void> {
  // After a failed fsync a later one may succeed although data is lost: the first error must count.
  await syncing;
  await Promise.all([segment.finish(), index.finish()]);
}

function reserve(segment: OpenSegment, entry: NewEntry): void {
  const at = segment.count * entryBytes;
  if (at === segment.entries.length) {
    segment.entries = Buffer.concat([segment.entries, Buffer.alloc(at)]);
  }
  const baseNumber = entry.base && numberOfBase(segment, formatId(entry.base));
  writeEntry(segment.entries, at, { ...entry, offset: segment.end }, baseNumber);
  segment.table.add(segment.entries, at, segment.count);
  segment.count += 1;
  segment.end += entry.storedLength;
}

function numberOfBase({ bases }: OpenSegment, id: string): number {
  const number = bases.get(id) ?? bases.size + 1;
  bases.set(id, number);
  return number;
}

// Blocks that lie next to each other in the core's output are one piece for the disk.
function joinNeighbours(parts: readonly Uint8Array[]): Uint8Array[] {
  const joined: Uint8Array[] = [];
  for (const part of parts) {
    const last = joined.at(-1);
    const isNext =
      last?.buffer === part.buffer && last.byteOffset + last.length === part.byteOffset;
    if (!isNext) joined.push(part);
    else {
      const length = last.length + part.length;
      joined[joined.length - 1] = new Uint8Array(part.buffer, last.byteOffset, length);
    }
  }
  return joined;
}

/** Publishes segments, then their indexes: an index never has its name without its segment. */
export async function publishSegments(area: Area, sealed: readonly SealedSegment[]): Promise<void> {
  if (sealed.length === 0) return;
  const segments = sealed.map(({ id, segment }) => ({ staged: segment, name: segmentName(id) }));
  await area.publish(segments, { undo: true });
  await failpoint('store.after-segment-links');
  await area.publish(sealed.map(({ id, index }) => ({ staged: index, name: indexName(id) })));
  await failpoint('store.after-index-links');
}
