/** Segment headers and index files; docs/storage-format.md 2.3 and 2.4. */
import { failedPrecondition } from '../../../sdk/errors.ts';
import { formatTooNew, objectDamaged } from './faults.ts';
import {
  blockSize,
  filesBytesMax,
  formatVersion,
  idSize,
  pageBytesMax,
  segmentEntriesMax,
} from './limits.ts';

export const segmentHeaderBytes = 32;
export const indexHeaderBytes = 64;
export const entryBytes = 48;
export const nonceBytes = 16;
/** Bases that the entries of a segment have at most: their numbers are 16 bits. */
export const segmentBasesMax = 65_535;
export const indexBytesMax =
  indexHeaderBytes + segmentEntriesMax * entryBytes + segmentBasesMax * idSize;
/** The version of an index whose entries have bases; the others are written as version 1. */
const indexVersionMax = 2;

export const entryKind = { block: 1, page: 2, file: 3 } as const;
export type EntryKind = (typeof entryKind)[keyof typeof entryKind];
export const encoding = { raw: 1, lz4: 2, delta: 3, zstd: 4 } as const;
/** What a segment holds: blocks, or pages and small files. */
export const content = { blocks: 1, pages: 2 } as const;
export type Content = (typeof content)[keyof typeof content];

export type IndexHeader = {
  nonce: Uint8Array;
  segmentBytes: number;
  entryCount: number;
  content: Content;
  /** Number of bases; absent means none. */
  baseCount?: number;
};

/** One entry; `id` and `base` are views. Lengths and offset in bytes. */
export type Entry = {
  id: Uint8Array;
  offset: number;
  storedLength: number;
  plainLength: number;
  kind: EntryKind;
  encoding: number;
  /** The id of the block that a difference starts from. */
  base?: Uint8Array;
};

export function encodeSegmentHeader(nonce: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(segmentHeaderBytes);
  bytes.write('NFVSEG', 'latin1');
  bytes.writeUInt16LE(formatVersion, 6);
  bytes.set(nonce, 8);
  return bytes;
}

/** Checks the first bytes of a segment against the nonce of its index. */
export function checkSegmentHeader(bytes: Uint8Array, nonce: Uint8Array, path: string): void {
  checkMagic(bytes, 'NFVSEG', path);
  if (!Buffer.from(bytes.subarray(8, 24)).equals(nonce)) {
    throw objectDamaged(path, 8, 'the nonce is not that of the index');
  }
  checkZero(bytes, 24, segmentHeaderBytes, path);
}

export function encodeIndexHeader(header: IndexHeader): Uint8Array {
  const { baseCount = 0 } = header;
  const bytes = Buffer.alloc(indexHeaderBytes);
  bytes.write('NFVIDX', 'latin1');
  bytes.writeUInt16LE(baseCount > 0 ? indexVersionMax : formatVersion, 6);
  bytes.set(header.nonce, 8);
  bytes.writeBigUInt64LE(BigInt(header.segmentBytes), 24);
  bytes.writeUInt32LE(header.entryCount, 32);
  bytes.writeUInt8(header.content, 36);
  bytes.writeUInt32LE(baseCount, 40);
  return bytes;
}

/** Writes an entry; `baseNumber` is 0 without a base. */
export function writeEntry(target: Buffer, at: number, entry: Entry, baseNumber = 0): void {
  target.set(entry.id, at);
  target.writeUInt32LE(entry.offset, at + 32);
  target.writeUInt32LE(entry.storedLength, at + 36);
  target.writeUInt32LE(entry.plainLength, at + 40);
  target.writeUInt8(entry.kind, at + 44);
  target.writeUInt8(entry.encoding, at + 45);
  target.writeUInt16LE(baseNumber, at + 46);
}

/**
 * The id of the base of the entry at byte `at`; undefined when it has none. Bases are counted from
 * the end of the file, so that an entry and the bytes behind it tell all.
 */
export function readBase(source: Buffer, at: number): Uint8Array | undefined {
  const number = source.readUInt16LE(at + 46);
  if (number === 0) return undefined;
  const start = source.length - number * idSize;
  return source.subarray(start, start + idSize);
}

/**
 * Reads the entry at byte `at` of the entries with the bases behind them. Nothing is checked:
 * `decodeIndex` did that for the whole file.
 */
export function readEntry(source: Buffer, at: number): Entry {
  const base = readBase(source, at);
  return {
    id: source.subarray(at, at + idSize),
    offset: source.readUInt32LE(at + 32),
    storedLength: source.readUInt32LE(at + 36),
    plainLength: source.readUInt32LE(at + 40),
    kind: source.readUInt8(at + 44) as EntryKind,
    encoding: source.readUInt8(at + 45),
    ...(base && { base }),
  };
}

/**
 * Checks a whole index file but for its digest, and returns the header and the bytes of the entries
 * with those of the bases behind them.
 */
export function decodeIndex(
  bytes: Uint8Array,
  path: string,
): { header: IndexHeader; entries: Buffer } {
  const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const version = checkMagic(source, 'NFVIDX', path, indexVersionMax);
  if (source.length < indexHeaderBytes) throw objectDamaged(path, 0, 'is shorter than its header');
  const header = {
    nonce: source.subarray(8, 8 + nonceBytes),
    segmentBytes: Number(source.readBigUInt64LE(24)),
    entryCount: source.readUInt32LE(32),
    content: source.readUInt8(36) as Content,
    baseCount: version === 1 ? 0 : source.readUInt32LE(40),
  };
  checkZero(source, 37, 40, path);
  checkZero(source, version === 1 ? 40 : 44, indexHeaderBytes, path);
  const { entryCount, baseCount } = header;
  if (version > 1 && (baseCount < 1 || baseCount > segmentBasesMax)) {
    throw objectDamaged(path, 40, `says ${baseCount} bases where 1 to ${segmentBasesMax} may be`);
  }
  const wanted = indexHeaderBytes + entryCount * entryBytes + baseCount * idSize;
  if (entryCount < 1 || source.length !== wanted) {
    const text = `has ${source.length} bytes where ${entryCount} entries and ${baseCount} bases`;
    throw objectDamaged(path, 32, `${text} need ${wanted}`);
  }
  const entries = source.subarray(indexHeaderBytes);
  checkLayout(entries, header, path);
  return { header, entries };
}

function checkLayout(
  entries: Buffer,
  header: IndexHeader & { baseCount: number },
  path: string,
): void {
  let end = segmentHeaderBytes;
  for (let at = 0; at < header.entryCount * entryBytes; at += entryBytes) {
    const offset = indexHeaderBytes + at;
    const baseNumber = entries.readUInt16LE(at + 46);
    const isDelta = entries[at + 45] === encoding.delta;
    if (isDelta ? baseNumber < 1 || baseNumber > header.baseCount : baseNumber !== 0) {
      throw objectDamaged(path, offset + 46, `${baseNumber} is no base of this entry`);
    }
    const entry = readEntry(entries, at);
    if (entry.offset !== end) throw objectDamaged(path, offset + 32, `offset is not ${end}`);
    const problem = entryProblem(entry, header.content);
    if (problem !== undefined) throw objectDamaged(path, offset, problem);
    end += entry.storedLength;
  }
  if (end !== header.segmentBytes) {
    throw objectDamaged(path, 24, `says ${header.segmentBytes} where its entries end at ${end}`);
  }
}

function entryProblem(entry: Entry, segmentContent: Content): string | undefined {
  const { kind, plainLength, storedLength } = entry;
  if (kind !== 1 && kind !== 2 && kind !== 3) return `${kind} is no kind of entry`;
  if ((kind === entryKind.block) !== (segmentContent === content.blocks)) {
    return `kind ${kind} does not belong in a segment of content ${segmentContent}`;
  }
  const plainMax = { 1: blockSize, 2: pageBytesMax, 3: filesBytesMax }[kind];
  const plainFits = plainLength >= 1 && plainLength <= plainMax;
  if (!plainFits || (kind === entryKind.block && plainLength !== blockSize)) {
    return `plain length ${plainLength} does not fit kind ${kind}`;
  }
  if (storedLength < 1 || storedLength > plainLength) {
    return `stored length ${storedLength} does not fit plain length ${plainLength}`;
  }
  if (entry.encoding === encoding.raw && storedLength !== plainLength) {
    return `a raw entry of ${plainLength} bytes has ${storedLength} stored bytes`;
  }
  return undefined;
}

/** Refuses encodings that this version does not know. `path` is that of the segment. */
export function checkEncoding(entry: Entry, path: string): void {
  if (entry.encoding === encoding.raw) return;
  const isKnown = entry.encoding >= encoding.raw && entry.encoding <= encoding.zstd;
  if (isKnown && entry.kind === entryKind.block) return;
  const text =
    `${path}: byte ${entry.offset} has encoding ${entry.encoding}, which only newer programs ` +
    'read';
  throw failedPrecondition('FORMAT_TOO_NEW', text, {
    path,
    offset: String(entry.offset),
    encoding: String(entry.encoding),
    supported: '1, 2, 3, 4',
  });
}

// Returns the version.
function checkMagic(
  bytes: Uint8Array,
  magic: string,
  path: string,
  versionMax = formatVersion,
): number {
  const found = Buffer.from(bytes.subarray(0, 8));
  if (found.length < 8 || found.toString('latin1', 0, 6) !== magic) {
    throw objectDamaged(path, 0, `does not begin with ${magic}`);
  }
  const version = found.readUInt16LE(6);
  if (version > versionMax) throw formatTooNew(path, version, versionMax);
  if (version < 1) throw objectDamaged(path, 6, `has version ${version}`);
  return version;
}

function checkZero(bytes: Uint8Array, start: number, end: number, path: string): void {
  for (let at = start; at < end; at++) {
    if (bytes[at] !== 0) throw objectDamaged(path, at, 'reserved bytes are not 0');
  }
}
