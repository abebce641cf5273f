/** The table that finds entries of a large repository; docs/storage-format.md section 9. */
import { hash } from '../../../wasm/host/blake3.ts';
import { formatId, parseId } from './ids.ts';
import { lookupBucketBitsMax, lookupBytesMax, lookupSegmentsMax } from './limits.ts';

export const lookupHeaderBytes = 64;
export const lookupRecordBytes = 8;
export const lookupCheckBytes = 4;
const segmentBytes = 64;
const recordsPerBucket = 96;

/** A segment as the table knows it. */
export type LookupSegment = {
  id: string;
  nonce: Uint8Array;
  segmentBytes: number;
  entryCount: number;
};

/** Finds candidates for ids in a file; see lookup-table.ts. */
export interface Lookup {
  readonly segments: readonly LookupSegment[];
  /** Undefined when the file is damaged: then `repair` it and ask again. */
  candidates(ids: Uint8Array, index: number): number[] | undefined;
  repair(): Promise<void>;
}

/** All but the buckets. `starts`: the number of the first record of each bucket, and of the end. */
export type LookupHead = {
  segments: readonly LookupSegment[];
  bucketBits: number;
  starts: Uint32Array;
};

/** Buckets of about 96 records, so that a look-up reads less than 1 KiB, up to 2^21 of them. */
export function bucketBitsFor(entries: number): number {
  const wanted = Math.ceil(Math.log2(Math.max(2, entries / recordsPerBucket)));
  return Math.min(lookupBucketBitsMax, wanted);
}

/** The bucket of the id that begins at byte `at`. Ids are digests, so buckets fill evenly. */
export function bucketOf(bytes: Uint8Array, at: number, bucketBits: number): number {
  const top =
    bytes[at]! * 2 ** 24 + (bytes[at + 1]! << 16) + (bytes[at + 2]! << 8) + bytes[at + 3]!;
  return Math.floor(top / 2 ** (32 - bucketBits));
}

/** The bits of an id that its record keeps. */
export function fingerprintOf(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24)) >>> 0
  );
}

/** Bytes before the first bucket. */
export function headBytes(segmentCount: number, bucketBits: number): number {
  return lookupHeaderBytes + segmentCount * segmentBytes + (2 ** bucketBits + 1) * 4;
}

export function encodeHead({ segments, bucketBits, starts }: LookupHead): Uint8Array {
  const bytes = Buffer.alloc(headBytes(segments.length, bucketBits));
  bytes.write('NFVLUT', 'latin1');
  bytes.writeUInt16LE(1, 6);
  bytes.writeUInt32LE(segments.length, 8);
  bytes.writeUInt32LE(bucketBits, 12);
  for (const [index, segment] of segments.entries()) {
    const at = lookupHeaderBytes + index * segmentBytes;
    bytes.set(parseId(segment.id)!, at);
    bytes.set(segment.nonce, at + 32);
    bytes.writeBigUInt64LE(BigInt(segment.segmentBytes), at + 48);
    bytes.writeUInt32LE(segment.entryCount, at + 56);
  }
  const at = lookupHeaderBytes + segments.length * segmentBytes;
  for (const [bucket, start] of starts.entries()) bytes.writeUInt32LE(start, at + bucket * 4);
  bytes.set(hash(bytes.subarray(lookupHeaderBytes)), 32);
  return bytes;
}

/** How many bytes the head has, from its first 64, or undefined when it cannot be used. */
export function headBytesOf(start: Uint8Array): number | undefined {
  const bytes = Buffer.from(start.buffer, start.byteOffset, start.length);
  if (bytes.length < lookupHeaderBytes || bytes.toString('latin1', 0, 6) !== 'NFVLUT') return;
  const [segmentCount, bucketBits] = [bytes.readUInt32LE(8), bytes.readUInt32LE(12)];
  const isSane = segmentCount <= lookupSegmentsMax && bucketBits <= lookupBucketBitsMax;
  if (bytes.readUInt16LE(6) !== 1 || !isSane) return;
  return headBytes(segmentCount, bucketBits);
}

/** The head, or undefined when anything about it is wrong: then the table is made anew. */
export function decodeHead(head: Uint8Array, fileBytes: number): LookupHead | undefined {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.length);
  if (headBytesOf(bytes) !== bytes.length) return;
  if (Buffer.compare(hash(bytes.subarray(lookupHeaderBytes)), bytes.subarray(32, 64)) !== 0) return;
  const [segmentCount, bucketBits] = [bytes.readUInt32LE(8), bytes.readUInt32LE(12)];
  const segments = Array.from({ length: segmentCount }, (_, index): LookupSegment => {
    const at = lookupHeaderBytes + index * segmentBytes;
    return {
      id: formatId(bytes.subarray(at, at + 32)),
      nonce: new Uint8Array(bytes.subarray(at + 32, at + 48)),
      segmentBytes: Number(bytes.readBigUInt64LE(at + 48)),
      entryCount: bytes.readUInt32LE(at + 56),
    };
  });
  const at = lookupHeaderBytes + segmentCount * segmentBytes;
  const starts = Uint32Array.from({ length: 2 ** bucketBits + 1 }, (_, bucket) =>
    bytes.readUInt32LE(at + bucket * 4),
  );
  const end =
    bytes.length + starts.at(-1)! * lookupRecordBytes + 2 ** bucketBits * lookupCheckBytes;
  const isSound =
    end === fileBytes &&
    end <= lookupBytesMax &&
    starts.every((start, bucket) => start >= (starts[bucket - 1] ?? 0));
  return isSound ? { segments, bucketBits, starts } : undefined;
}
