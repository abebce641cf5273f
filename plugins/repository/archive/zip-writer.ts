import assert from 'node:assert/strict';
import { createHash, type Hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { NewFile } from '../targets/new-file.ts';
import { nameProblem } from './entry-name.ts';
import { readBytes } from './limits.ts';

/** The bytes of one entry; positions count from its start. */
export interface Region {
  /** Where it starts in the archive. */
  readonly dataStart: number;
  write(position: number, bytes: Uint8Array): Promise<void>;
  read(position: number, target: Uint8Array): Promise<void>;
}

export type WrittenEntry = { name: string; dataStart: number; sizeBytes: number; sha256: string };

type Entry = WrittenEntry & { headerStart: number; crc: number };

const utf8Flag = 0x0800;
const zip64Version = 45;
const unixFile = 0o100644 * 65536;
const max32 = 0xffffffff;

/**
 * Writes a ZIP64 archive of stored files into a file that can be written at any place. The local
 * header of an entry is written again when its size and checksum are known, instead of a data
 * descriptor behind the data: readers that go through an archive from its start refuse stored
 * entries with a descriptor.
 */
export class ZipWriter {
  readonly #file: NewFile;
  readonly #time: { date: number; time: number };
  readonly #entries: Entry[] = [];
  #position = 0;

  constructor(file: NewFile, modified: Date) {
    this.#file = file;
    this.#time = dosTime(modified);
  }

  get sizeBytes(): number {
    return this.#position;
  }

  /**
   * Adds an entry from pieces, hashing them as they pass. `onWritten` gets the bytes of data
   * written so far. `kept` tells how many bytes of data lie where they belong already, once it is
   * known where that is; `pieces` go on behind them.
   */
  async add(
    name: string,
    pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    onWritten?: (dataStart: number, dataBytes: number) => Promise<void> | void,
    kept?: (dataStart: number) => Promise<number>,
  ): Promise<WrittenEntry> {
    const entry = await this.#begin(name);
    const hash = createHash('sha256');
    const keptBytes = (await kept?.(entry.dataStart)) ?? 0;
    await this.#digest(entry, keptBytes, hash);
    this.#position += keptBytes;
    for await (const piece of pieces) {
      await this.#file.write(this.#position, piece);
      hash.update(piece);
      entry.crc = crc32(piece, entry.crc);
      this.#position += piece.length;
      await onWritten?.(entry.dataStart, this.#position - entry.dataStart);
    }
    return this.#end(entry, hash.digest('hex'));
  }

  /**
   * Adds an entry whose bytes are written in any order: `write` gets the region after the local
   * header and returns how many bytes of it are the file. They are read back to be hashed.
   */
  async addRegion(name: string, write: (region: Region) => Promise<number>): Promise<WrittenEntry> {
    const entry = await this.#begin(name);
    const { dataStart } = entry;
    const sizeBytes = await write({
      dataStart,
      write: (position, bytes) => this.#file.write(dataStart + position, bytes),
      read: (position, target) => this.#file.read(dataStart + position, target),
    });
    const hash = createHash('sha256');
    await this.#digest(entry, sizeBytes, hash);
    this.#position += sizeBytes;
    return this.#end(entry, hash.digest('hex'));
  }

  /** Reads back the first bytes of an entry. */
  async #digest(entry: Entry, sizeBytes: number, hash: Hash): Promise<void> {
    for (let at = 0; at < sizeBytes; at += readBytes) {
      const piece = new Uint8Array(Math.min(readBytes, sizeBytes - at));
      await this.#file.read(entry.dataStart + at, piece);
      hash.update(piece);
      entry.crc = crc32(piece, entry.crc);
    }
  }

  async #begin(name: string): Promise<Entry> {
    const problem = nameProblem(name);
    assert(problem === undefined, `the name ${name} in an archive: ${problem}`);
    assert(!this.#entries.some((entry) => entry.name === name), `the name ${name} twice`);
    const headerStart = this.#position;
    const entry = { name, headerStart, dataStart: 0, sizeBytes: 0, crc: 0, sha256: '' };
    const header = localHeader(entry, this.#time);
    await this.#file.write(headerStart, header);
    this.#position += header.length;
    entry.dataStart = this.#position;
    this.#entries.push(entry);
    return entry;
  }

  async #end(entry: Entry, sha256: string): Promise<WrittenEntry> {
    entry.sizeBytes = this.#position - entry.dataStart;
    entry.sha256 = sha256;
    await this.#file.write(entry.headerStart, localHeader(entry, this.#time));
    const { name, dataStart, sizeBytes } = entry;
    return { name, dataStart, sizeBytes, sha256 };
  }

  /** Writes the central directory. The file is not yet durable. */
  async finish(): Promise<void> {
    const start = this.#position;
    for (const entry of this.#entries) await this.#append(centralHeader(entry, this.#time));
    await this.#append(endRecords(this.#entries.length, start, this.#position - start));
  }

  async #append(bytes: Uint8Array): Promise<void> {
    await this.#file.write(this.#position, bytes);
    this.#position += bytes.length;
  }
}

/** DOS time counts in steps of two seconds from 1980 and knows no zone: this is UTC. */
function dosTime(at: Date): { date: number; time: number } {
  const year = Math.min(Math.max(at.getUTCFullYear(), 1980), 2107);
  return {
    date: ((year - 1980) << 9) | ((at.getUTCMonth() + 1) << 5) | at.getUTCDate(),
    time: (at.getUTCHours() << 11) | (at.getUTCMinutes() << 5) | (at.getUTCSeconds() >> 1),
  };
}

/** Little-endian fields of 2, 4 or 8 bytes, then bytes as they are. */
function record(fields: [size: 2 | 4 | 8, value: number][], ...tail: Uint8Array[]): Uint8Array {
  const bytes = Buffer.alloc(fields.reduce((sum, [size]) => sum + size, 0));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) bytes.writeUInt16LE(value, at);
    else if (size === 4) bytes.writeUInt32LE(value, at);
    else bytes.writeBigUInt64LE(BigInt(value), at);
    at += size;
  }
  return Buffer.concat([bytes, ...tail]);
}

type Time = { date: number; time: number };

function localHeader(entry: Entry, { date, time }: Time): Uint8Array {
  const name = Buffer.from(entry.name);
  const sizes = record([
    [2, 1],
    [2, 16],
    [8, entry.sizeBytes],
    [8, entry.sizeBytes],
  ]);
  return record(
    [
      [4, 0x04034b50],
      [2, zip64Version],
      [2, utf8Flag],
      [2, 0],
      [2, time],
      [2, date],
      [4, entry.crc],
      [4, max32],
      [4, max32],
      [2, name.length],
      [2, sizes.length],
    ],
    name,
    sizes,
  );
}

function centralHeader(entry: Entry, { date, time }: Time): Uint8Array {
  const name = Buffer.from(entry.name);
  const large = entry.sizeBytes >= max32;
  const far = entry.headerStart >= max32;
  const values: [8, number][] = large
    ? [
        [8, entry.sizeBytes],
        [8, entry.sizeBytes],
      ]
    : [];
  if (far) values.push([8, entry.headerStart]);
  const extra =
    values.length === 0 ? new Uint8Array(0) : record([[2, 1], [2, values.length * 8], ...values]);
  return record(
    [
      [4, 0x02014b50],
      [2, 3 * 256 + zip64Version],
      [2, zip64Version],
      [2, utf8Flag],
      [2, 0],
      [2, time],
      [2, date],
      [4, entry.crc],
      [4, large ? max32 : entry.sizeBytes],
      [4, large ? max32 : entry.sizeBytes],
      [2, name.length],
      [2, extra.length],
      [2, 0],
      [2, 0],
      [2, 0],
      [4, unixFile],
      [4, far ? max32 : entry.headerStart],
    ],
    name,
    extra,
  );
}

function endRecords(count: number, start: number, sizeBytes: number): Uint8Array {
  const zip64End = record([
    [4, 0x06064b50],
    [8, 44],
    [2, 3 * 256 + zip64Version],
    [2, zip64Version],
    [4, 0],
    [4, 0],
    [8, count],
    [8, count],
    [8, sizeBytes],
    [8, start],
  ]);
  const locator = record([
    [4, 0x07064b50],
    [4, 0],
    [8, start + sizeBytes],
    [4, 1],
  ]);
  const end = record([
    [4, 0x06054b50],
    [2, 0],
    [2, 0],
    [2, Math.min(count, 0xffff)],
    [2, Math.min(count, 0xffff)],
    [4, Math.min(sizeBytes, max32)],
    [4, Math.min(start, max32)],
    [2, 0],
  ]);
  return Buffer.concat([zip64End, locator, end]);
}
