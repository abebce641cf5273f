import type { DataRange } from '../data-ranges.ts';
import { type OpenFile, truncated } from '../open-file.ts';
import { corrupt, type Qcow2Header } from './header.ts';
import type { TablePages } from './table-pages.ts';

/** A compressed cluster: where its stored bytes are and which part of the image it becomes. */
export type CompressedCluster = {
  fileOffset: number;
  storedBytes: number;
  clusterOffset: number;
};

/** What one file of a chain says about a range that starts where it was asked. Lengths in bytes. */
export type Piece =
  | { kind: 'absent' | 'zero'; length: number }
  | { kind: 'file'; length: number; fileOffset: number }
  | { kind: 'compressed'; length: number; cluster: CompressedCluster };

/** One file of a chain. `next` gives one piece of at least one and at most `limit` bytes. */
export interface Layer {
  readonly file: OpenFile;
  readonly sizeBytes: number;
  readonly header?: Qcow2Header;
  next(offset: number, limit: number): Piece;
}

/** A raw backing file: never absent. `ranges`, where known, are the parts that are not holes. */
export class RawLayer implements Layer {
  readonly file: OpenFile;
  readonly sizeBytes: number;
  readonly #ranges: DataRange[];

  constructor(file: OpenFile, ranges: DataRange[]) {
    this.file = file;
    this.sizeBytes = file.sizeBytes;
    this.#ranges = ranges;
  }

  next(offset: number, limit: number): Piece {
    const range = this.#ranges[this.#firstEndingAfter(offset)];
    if (range === undefined) return { kind: 'zero', length: limit };
    if (range.start > offset) {
      return { kind: 'zero', length: Math.min(limit, range.start - offset) };
    }
    return { kind: 'file', length: Math.min(limit, range.end - offset), fileOffset: offset };
  }

  #firstEndingAfter(offset: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ranges[middle]!.end > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

export class Qcow2Layer implements Layer {
  readonly file: OpenFile;
  readonly header: Qcow2Header;
  readonly sizeBytes: number;
  readonly #pages: TablePages;
  readonly #l2Entries: number;
  /** The last answer: a long run is asked for piece by piece when the file below is fragmented. */
  #last: { offset: number; piece: Piece } | undefined;

  constructor(file: OpenFile, header: Qcow2Header, pages: TablePages) {
    this.file = file;
    this.header = header;
    this.sizeBytes = header.sizeBytes;
    this.#pages = pages;
    this.#l2Entries = header.clusterSize / 8;
  }

  next(offset: number, limit: number): Piece {
    const known = this.#last === undefined ? undefined : rest(this.#last, offset, limit);
    if (known !== undefined) return known;
    const piece = this.#find(offset, limit);
    this.#last = { offset, piece };
    return piece;
  }

  #find(offset: number, limit: number): Piece {
    const { clusterSize, l1Offset } = this.header;
    const perTable = clusterSize * this.#l2Entries;
    const l1Index = Math.floor(offset / perTable);
    const reach = Math.min(limit, (l1Index + 1) * perTable - offset);
    const entry = this.#pages.entry(this.file, l1Offset + l1Index * 8);
    const l2Offset = (entry.high & 0x00ffffff) * 2 ** 32 + ((entry.low & 0xfffffe00) >>> 0);
    if (l2Offset === 0) return { kind: 'absent', length: reach };
    this.#checkCluster(l2Offset, 'an L2 table');
    const first = this.#cluster(l2Offset, offset);
    if (first.kind === 'compressed') return { ...first, length: Math.min(first.length, reach) };
    return this.#extend(l2Offset, offset, first, reach);
  }

  /** Joins the clusters after `first` that go on in the same way, within the same L2 table. */
  #extend(l2Offset: number, offset: number, first: Piece, reach: number): Piece {
    let length = Math.min(first.length, reach);
    while (length < reach) {
      const next = this.#cluster(l2Offset, offset + length);
      if (next.kind !== first.kind) break;
      if (next.kind === 'file' && first.kind === 'file') {
        if (next.fileOffset !== first.fileOffset + length) break;
      }
      length = Math.min(length + next.length, reach);
    }
    if (first.kind === 'file' && first.fileOffset + length > this.file.sizeBytes) {
      throw truncated(this.file.path, this.file.sizeBytes);
    }
    return { ...first, length };
  }

  /** The rest of the cluster that holds `offset`. */
  #cluster(l2Offset: number, offset: number): Piece {
    const { clusterSize, version } = this.header;
    const index = Math.floor(offset / clusterSize);
    const within = offset - index * clusterSize;
    const length = clusterSize - within;
    const { high, low } = this.#pages.entry(this.file, l2Offset + (index % this.#l2Entries) * 8);
    if (high & 0x40000000) {
      return { kind: 'compressed', length, cluster: this.#compressed(high, low, index) };
    }
    if (low & 1) {
      if (version === 2) throw corrupt(this.file.path, 'a zero cluster in a version 2 image');
      return { kind: 'zero', length };
    }
    const start = (high & 0x00ffffff) * 2 ** 32 + ((low & 0xfffffe00) >>> 0);
    if (start === 0) return { kind: 'absent', length };
    this.#checkCluster(start, 'a data cluster');
    return { kind: 'file', length, fileOffset: start + within };
  }

  #compressed(high: number, low: number, index: number): CompressedCluster {
    const { clusterBits, clusterSize } = this.header;
    const offsetHighBits = 70 - clusterBits - 32;
    const fileOffset = (high & (2 ** offsetHighBits - 1)) * 2 ** 32 + low;
    const sectors = ((high & 0x3fffffff) >>> offsetHighBits) + 1;
    if (fileOffset >= this.file.sizeBytes) throw truncated(this.file.path, this.file.sizeBytes);
    // The last sector may be cut: QEMU does not pad the file behind the last compressed cluster.
    const end = Math.min(fileOffset - (fileOffset % 512) + sectors * 512, this.file.sizeBytes);
    return { fileOffset, storedBytes: end - fileOffset, clusterOffset: index * clusterSize };
  }

  #checkCluster(offset: number, what: string) {
    if (offset % this.header.clusterSize !== 0) {
      throw corrupt(this.file.path, `${what} at ${offset} does not start at a cluster`);
    }
    if (offset >= this.file.sizeBytes) throw truncated(this.file.path, this.file.sizeBytes);
  }
}

/** What an earlier answer says about a later offset; undefined if nothing. */
function rest(last: { offset: number; piece: Piece }, offset: number, limit: number) {
  const { piece } = last;
  const skipped = offset - last.offset;
  if (skipped < 0 || skipped >= piece.length || piece.kind === 'compressed') return undefined;
  const length = Math.min(limit, piece.length - skipped);
  if (piece.kind !== 'file') return { ...piece, length };
  return { ...piece, length, fileOffset: piece.fileOffset + skipped };
}
