/** Makes the look-up table of a large repository in one pass over its indexes. */
import { crc32 } from 'node:zlib';
import type { CacheFile } from './backend.ts';
import { entryBytes } from './index-codec.ts';
import { lookupPartitionBytes, lookupSpillBytes } from './limits.ts';
import {
  bucketBitsFor,
  bucketOf,
  encodeHead,
  fingerprintOf,
  headBytes,
  type LookupHead,
  type LookupSegment,
  lookupCheckBytes,
  lookupRecordBytes,
} from './lookup-codec.ts';

/** Words of an entry that waits for its place: bucket, fingerprint, ordinal. */
const spillWords = 3;

type Partition = { buffer: Uint32Array; used: number; pieces: { at: number; bytes: number }[] };

/**
 * Takes the entries of segment after segment, sorts them by parts that fit in memory through a
 * scratch file, and writes the table. Memory: a partition and a buffer for each, whatever the size.
 */
export class LookupBuilder {
  private readonly scratch: CacheFile;
  private readonly bucketBits: number;
  private readonly partitionBits: number;
  private readonly partitions: Partition[];
  private readonly segments: LookupSegment[] = [];
  private readonly counts: Uint32Array;
  private scratchEnd = 0;
  private ordinal = 0;

  /** `expected`: about how many entries will come. */
  constructor(scratch: CacheFile, expected: number) {
    this.scratch = scratch;
    this.bucketBits = bucketBitsFor(expected);
    const wanted = Math.ceil(
      Math.log2(Math.max(1, (expected * spillWords * 4) / lookupPartitionBytes)),
    );
    this.partitionBits = Math.min(this.bucketBits, wanted);
    this.partitions = Array.from({ length: 2 ** this.partitionBits }, () => {
      return { buffer: new Uint32Array(lookupSpillBytes / 4), used: 0, pieces: [] };
    });
    this.counts = new Uint32Array(2 ** this.bucketBits);
  }

  /** Adds a segment; without entries its ordinals are left out. */
  async add(segment: LookupSegment, entries?: Buffer): Promise<void> {
    this.segments.push(segment);
    for (let at = 0; at < (entries?.length ?? 0); at += entryBytes) {
      const bucket = bucketOf(entries!, at, this.bucketBits);
      const partition = this.partitions[bucket >>> (this.bucketBits - this.partitionBits)]!;
      if (partition.used === partition.buffer.length) await this.spill(partition);
      const { buffer, used } = partition;
      buffer[used] = bucket;
      buffer[used + 1] = fingerprintOf(entries!, at);
      buffer[used + 2] = this.ordinal + at / entryBytes;
      partition.used += spillWords;
      this.counts[bucket]! += 1;
    }
    this.ordinal += segment.entryCount;
  }

  /** Writes the table. */
  async finish(target: CacheFile): Promise<LookupHead> {
    const starts = new Uint32Array(this.counts.length + 1);
    for (const [bucket, count] of this.counts.entries())
      starts[bucket + 1] = starts[bucket]! + count;
    const head = { segments: this.segments, bucketBits: this.bucketBits, starts };
    await target.write(encodeHead(head), 0);
    let at = headBytes(this.segments.length, this.bucketBits);
    for (const [number, partition] of this.partitions.entries()) {
      const bytes = await this.bucketsOf(number, partition, starts);
      await target.write(bytes, at);
      at += bytes.length;
    }
    return head;
  }

  private async spill(partition: Partition): Promise<void> {
    const { buffer, used } = partition;
    const bytes = new Uint8Array(buffer.buffer, 0, used * 4);
    await this.scratch.write(bytes, this.scratchEnd);
    partition.pieces.push({ at: this.scratchEnd, bytes: bytes.length });
    this.scratchEnd += bytes.length;
    partition.used = 0;
  }

  // The buckets of a partition as the table has them.
  private async bucketsOf(
    number: number,
    partition: Partition,
    starts: Uint32Array,
  ): Promise<Uint8Array> {
    const perPartition = 2 ** (this.bucketBits - this.partitionBits);
    const first = number * perPartition;
    const records = starts[first + perPartition]! - starts[first]!;
    const words = new Uint32Array(
      (records * lookupRecordBytes + perPartition * lookupCheckBytes) / 4,
    );
    const placeOf = (bucket: number) => (starts[bucket]! - starts[first]!) * 2 + bucket - first + 1;
    const filled = new Uint32Array(perPartition);
    const place = (from: Uint32Array, count: number) => {
      for (let at = 0; at < count; at += spillWords) {
        const bucket = from[at]!;
        const to = placeOf(bucket) + 2 * filled[bucket - first]!++;
        words[to] = from[at + 1]!;
        words[to + 1] = from[at + 2]!;
      }
    };
    place(partition.buffer, partition.used);
    for (const { at, bytes } of partition.pieces) {
      const piece = new Uint32Array(bytes / 4);
      await this.scratch.read(new Uint8Array(piece.buffer), at);
      place(piece, piece.length);
    }
    const bytes = new Uint8Array(words.buffer);
    for (let bucket = first; bucket < first + perPartition; bucket++) {
      const at = placeOf(bucket) * 4;
      const end = at + (starts[bucket + 1]! - starts[bucket]!) * lookupRecordBytes;
      words[at / 4 - 1] = crc32(bytes.subarray(at, end));
    }
    return bytes;
  }
}
