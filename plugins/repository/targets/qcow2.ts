import assert from 'node:assert/strict';
import { invalidArgument } from '../../../sdk/errors.ts';
import type { FileExtent } from '../sources/source.ts';
import { NewFile } from './new-file.ts';
import type { BlockTarget, KeptFile } from './target.ts';

/** Where the bytes of a qcow2 file go; positions count from the start of that file. */
export interface Qcow2Sink {
  write(position: number, bytes: Uint8Array): Promise<void>;
  read(position: number, target: Uint8Array): Promise<void>;
}

const clusterBits = 16;
const clusterSize = 2 ** clusterBits;
const tableEntries = clusterSize / 8;
/** With refcounts of 16 bits. */
const refcountsPerBlock = clusterSize / 2;
/** L2 tables kept in memory: 32 × 64 KiB; each speaks for 512 MiB of the image. */
const tablesMax = 32;
const copiedFlag = 0x80000000;
/** With 8-byte entries an L1 table of 64 TiB has 1 MiB. */
const imageMaxBytes = 64 * 2 ** 40;

type Table = { bytes: Buffer; position: number; dirty: boolean };

/**
 * Writes a version 3 image with clusters of 64 KiB. Clusters are taken one after the other as they
 * are written, in any order of offsets; what is never written stays unallocated. Memory is bounded
 * by the L1 table and 32 L2 tables.
 */
export class Qcow2Writer {
  readonly #sink: Qcow2Sink;
  readonly #sizeBytes: number;
  /** The positions of the L2 tables; 0 for none. */
  readonly #l1: Float64Array;
  readonly #tables = new Map<number, Table>();
  #clusterCount: number;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(sink: Qcow2Sink, sizeBytes: number) {
    assert(sizeBytes >= 0 && sizeBytes <= imageMaxBytes, 'a size up to 64 TiB');
    this.#sink = sink;
    this.#sizeBytes = sizeBytes;
    // At least one entry: the cluster of a table without any would belong to nothing.
    this.#l1 = new Float64Array(Math.max(1, Math.ceil(sizeBytes / (clusterSize * tableEntries))));
    this.#clusterCount = 1 + this.#l1Clusters;
  }

  get #l1Clusters(): number {
    return Math.ceil((this.#l1.length * 8) / clusterSize);
  }

  /**
   * `offset` is a multiple of 64 KiB; a short last piece is padded. Gives the position of the first
   * cluster.
   */
  async write(offset: number, bytes: Uint8Array): Promise<number> {
    assert(offset % clusterSize === 0, 'a write at a multiple of 64 KiB');
    assert(offset + bytes.length <= Math.ceil(this.#sizeBytes / clusterSize) * clusterSize);
    let first = 0;
    for (let at = 0; at < bytes.length; at += clusterSize) {
      const position = await this.#inTurn(() => this.#place((offset + at) / clusterSize));
      if (at === 0) first = position;
      const part = bytes.subarray(at, at + clusterSize);
      await this.#sink.write(position, part.length === clusterSize ? part : padded(part));
    }
    return first;
  }

  /** Where blocks of the image lie; those without a cluster get one, in the order of the calls. */
  async place(blocks: readonly number[]): Promise<number[]> {
    return await this.#inTurn(async () => {
      const positions: number[] = [];
      for (const block of blocks) positions.push(await this.#place(block));
      return positions;
    });
  }

  /** Writes what is left of the tables and the header; gives the size of the file. */
  async finish(): Promise<number> {
    await this.#turn;
    for (const table of this.#tables.values()) await this.#save(table);
    await this.#sink.write(clusterSize, this.#l1Bytes());
    const { tablePosition, tableClusters } = await this.#writeRefcounts();
    await this.#sink.write(0, this.#header(tablePosition, tableClusters));
    return this.#clusterCount * clusterSize;
  }

  /** Tables are looked up by one write at a time; the data themselves are written side by side. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /** The position of a cluster of the image, taken from the end of the file if it has none yet. */
  async #place(cluster: number): Promise<number> {
    const table = await this.#table(Math.floor(cluster / tableEntries));
    const at = (cluster % tableEntries) * 8;
    const high = table.bytes.readUInt32BE(at) & ~copiedFlag;
    if (high !== 0 || table.bytes.readUInt32BE(at + 4) !== 0) {
      return high * 2 ** 32 + table.bytes.readUInt32BE(at + 4);
    }
    const position = this.#take();
    writeEntry(table.bytes, at, position);
    table.dirty = true;
    return position;
  }

  #take(): number {
    this.#clusterCount += 1;
    return (this.#clusterCount - 1) * clusterSize;
  }

  async #table(index: number): Promise<Table> {
    const known = this.#tables.get(index);
    if (known !== undefined) {
      this.#tables.delete(index);
      this.#tables.set(index, known);
      return known;
    }
    const [oldest] = this.#tables;
    if (oldest !== undefined && this.#tables.size >= tablesMax) {
      await this.#save(oldest[1]);
      this.#tables.delete(oldest[0]);
    }
    const bytes = Buffer.alloc(clusterSize);
    const isNew = this.#l1[index] === 0;
    if (isNew) this.#l1[index] = this.#take();
    const table = { bytes, position: this.#l1[index]!, dirty: isNew };
    if (!isNew) await this.#sink.read(table.position, bytes);
    this.#tables.set(index, table);
    return table;
  }

  async #save(table: Table): Promise<void> {
    if (table.dirty) await this.#sink.write(table.position, table.bytes);
    table.dirty = false;
  }

  #l1Bytes(): Buffer {
    const bytes = Buffer.alloc(this.#l1Clusters * clusterSize);
    for (const [index, position] of this.#l1.entries()) {
      if (position !== 0) writeEntry(bytes, index * 8, position);
    }
    return bytes;
  }

  /**
   * Every cluster is used exactly once; the blocks and the table of the refcounts count themselves
   * too.
   */
  async #writeRefcounts(): Promise<{ tablePosition: number; tableClusters: number }> {
    let blocks = 0;
    let tableClusters = 0;
    let total = 0;
    for (let previous = -1; previous !== total; ) {
      previous = total;
      total = this.#clusterCount + blocks + tableClusters;
      blocks = Math.ceil(total / refcountsPerBlock);
      tableClusters = Math.ceil((blocks * 8) / clusterSize);
      total = this.#clusterCount + blocks + tableClusters;
    }
    const firstBlock = this.#clusterCount * clusterSize;
    const table = Buffer.alloc(tableClusters * clusterSize);
    for (let block = 0; block < blocks; block += 1) {
      const used = Math.min(refcountsPerBlock, total - block * refcountsPerBlock);
      const counts = Buffer.alloc(clusterSize);
      for (let i = 0; i < used; i += 1) counts[i * 2 + 1] = 1;
      const position = firstBlock + block * clusterSize;
      await this.#sink.write(position, counts);
      table.writeBigUInt64BE(BigInt(position), block * 8);
    }
    const tablePosition = firstBlock + blocks * clusterSize;
    await this.#sink.write(tablePosition, table);
    this.#clusterCount = total;
    return { tablePosition, tableClusters };
  }

  #header(refcountPosition: number, refcountClusters: number): Buffer {
    const bytes = Buffer.alloc(clusterSize);
    bytes.writeUInt32BE(0x514649fb, 0);
    bytes.writeUInt32BE(3, 4);
    bytes.writeUInt32BE(clusterBits, 20);
    bytes.writeBigUInt64BE(BigInt(this.#sizeBytes), 24);
    bytes.writeUInt32BE(this.#l1.length, 36);
    bytes.writeBigUInt64BE(BigInt(clusterSize), 40);
    bytes.writeBigUInt64BE(BigInt(refcountPosition), 48);
    bytes.writeUInt32BE(refcountClusters, 56);
    bytes.writeUInt32BE(4, 96);
    bytes.writeUInt32BE(104, 100);
    return bytes;
  }
}

/** An entry of an L1 or L2 table for a cluster that is used once. */
function writeEntry(table: Buffer, at: number, position: number) {
  table.writeUInt32BE((Math.floor(position / 2 ** 32) | copiedFlag) >>> 0, at);
  table.writeUInt32BE(position % 2 ** 32, at + 4);
}

function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(clusterSize);
  whole.set(bytes);
  return whole;
}

/**
 * Readers of qcow2 count in sectors of 512 bytes: INVALID_ARGUMENT `IMAGE_SIZE_UNALIGNED` for other
 * sizes.
 */
export function checkQcow2Size(name: string, sizeBytes: number) {
  if (sizeBytes % 512 === 0) return;
  const message = `${name} has ${sizeBytes} bytes, qcow2 needs whole sectors: use raw or raw.lz4`;
  throw invalidArgument('IMAGE_SIZE_UNALIGNED', message, { name, sizeBytes: String(sizeBytes) });
}

/**
 * A new qcow2 file of an image with a multiple of 512 bytes. With a `tag` (see NewFile) a file that
 * was begun is gone on with; blocks must then be written in the order of the image.
 */
export async function createQcow2(
  path: string,
  sizeBytes: number,
  tag?: string,
): Promise<BlockTarget> {
  checkQcow2Size(path, sizeBytes);
  const file = await NewFile.create(path, tag);
  const writer = new Qcow2Writer(file, sizeBytes);
  return {
    ...(file.keptBytes > 0 && { kept: keptClusters(file, writer) }),
    async write(offset, bytes) {
      await writer.write(offset, bytes);
    },
    async finish() {
      await file.truncate(await writer.finish());
      await file.publish();
    },
    abort: () => file.abort(),
    suspend: () => file.suspend(),
  };
}

/** Blocks get their clusters in the order of the image, so they lie where they lay before. */
function keptClusters(file: NewFile, writer: Qcow2Writer): KeptFile {
  return {
    async locate(first, _count, present = []) {
      const indexes = [...present.keys()].filter((index) => present[index]);
      const positions = await writer.place(indexes.map((index) => first + index));
      const extents = positions.map((fileOffset, at): FileExtent => {
        const bufferOffset = indexes[at]! * clusterSize;
        return { fd: file.fd, fileOffset, bufferOffset, length: clusterSize };
      });
      const isThere = positions.every((position) => position + clusterSize <= file.keptBytes);
      return isThere ? extents : undefined;
    },
    // Whatever lies behind is written over, or cut off in the end.
    endAt: async () => undefined,
  };
}
