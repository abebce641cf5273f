import { crc32 } from 'node:zlib';
import { isRpcError } from '../../../sdk/errors.ts';
import type { Backend, CacheFile } from './backend.ts';
import { type DamagedIndex, type IndexBuffer, loadIndex } from './index-loader.ts';
import { idSize, lookupBytesMax } from './limits.ts';
import { LookupBuilder } from './lookup-builder.ts';
import {
  bucketOf,
  decodeHead,
  fingerprintOf,
  headBytes,
  headBytesOf,
  type Lookup,
  type LookupHead,
  type LookupSegment,
  lookupCheckBytes,
  lookupHeaderBytes,
  lookupRecordBytes,
} from './lookup-codec.ts';
import { lookupName } from './object-names.ts';

type Opened = { head: LookupHead; dataStart: number; file: CacheFile };

export type BuiltTable = { table: LookupTable; damaged: DamagedIndex[] };

/**
 * Finds candidates for ids in a file, for so many entries that their table has no place in memory.
 * Derived from the indexes and never believed: a candidate is confirmed by its index, and a table
 * that is missing or damaged is made anew. Memory: its head, at most 8 MiB and 64 bytes a segment.
 */
export class LookupTable implements Lookup {
  private readonly backend: Backend;
  private opened: Opened;
  private repairing: Promise<void> | undefined;

  private constructor(backend: Backend, opened: Opened) {
    this.backend = backend;
    this.opened = opened;
  }

  /** The table that is there; undefined when there is none that can be used. */
  static async open(backend: Backend): Promise<LookupTable | undefined> {
    const file = await backend.openCacheFile(lookupName);
    if (file === undefined) return undefined;
    const start = new Uint8Array(lookupHeaderBytes);
    const isRead = file.sizeBytes <= lookupBytesMax && (await file.read(start, 0));
    const length = isRead ? headBytesOf(start) : undefined;
    if (length !== undefined && length <= file.sizeBytes) {
      const bytes = new Uint8Array(length);
      const head = (await file.read(bytes, 0)) && decodeHead(bytes, file.sizeBytes);
      if (head) return new LookupTable(backend, { head, dataStart: length, file });
    }
    await file.close();
    return undefined;
  }

  /** Reads all of these indexes, checks them and makes their table. Damaged ones are left out. */
  static async build(
    backend: Backend,
    segmentIds: readonly string[],
    expected: number,
  ): Promise<BuiltTable> {
    const damaged: DamagedIndex[] = [];
    const buffer = { bytes: new Uint8Array(0) };
    const opened = await write(backend, expected, async (builder) => {
      for (const id of segmentIds) {
        try {
          const loaded = await loadIndex(backend, id, buffer);
          if (loaded !== undefined) await builder.add(loaded.ref, loaded.entries);
        } catch (error) {
          if (!isRpcError(error, 'OBJECT_DAMAGED')) throw error;
          damaged.push({ segmentId: id, error });
        }
      }
    });
    return { table: new LookupTable(backend, opened), damaged };
  }

  get segments(): readonly LookupSegment[] {
    return this.opened.head.segments;
  }

  /**
   * The ordinals that may belong to id number `index`; undefined when the table turns out to be
   * damaged: then `repair` it. Reads less than 1 KiB, which is mostly in the system's cache, at
   * once: waiting for a turn would take longer than the read.
   */
  candidates(ids: Uint8Array, index: number): number[] | undefined {
    const { head, dataStart, file } = this.opened;
    const at = index * idSize;
    const bucket = bucketOf(ids, at, head.bucketBits);
    const [start, end] = [head.starts[bucket]!, head.starts[bucket + 1]!];
    const bytes = Buffer.allocUnsafe(lookupCheckBytes + (end - start) * lookupRecordBytes);
    const position = dataStart + start * lookupRecordBytes + bucket * lookupCheckBytes;
    const isWhole = file.readNow(bytes, position);
    if (!isWhole || crc32(bytes.subarray(lookupCheckBytes)) !== bytes.readUInt32LE(0)) return;
    const wanted = fingerprintOf(ids, at);
    const found: number[] = [];
    for (let record = lookupCheckBytes; record < bytes.length; record += lookupRecordBytes) {
      if (bytes.readUInt32LE(record) === wanted) found.push(bytes.readUInt32LE(record + 4));
    }
    return found;
  }

  /** Makes the table anew with the same ordinals; entries of indexes that are gone are left out. */
  async repair(): Promise<void> {
    this.repairing ??= this.rewrite().finally(() => {
      this.repairing = undefined;
    });
    await this.repairing;
  }

  async close(): Promise<void> {
    await this.opened.file.close();
  }

  private async rewrite(): Promise<void> {
    const before = this.opened;
    const expected = before.head.starts.at(-1)!;
    const buffer = { bytes: new Uint8Array(0) };
    this.opened = await write(this.backend, expected, async (builder) => {
      for (const segment of before.head.segments) {
        const entries = await entriesOf(this.backend, segment.id, buffer);
        await builder.add(segment, entries);
      }
    });
    await before.file.close();
  }
}

async function entriesOf(
  backend: Backend,
  segmentId: string,
  buffer: IndexBuffer,
): Promise<Buffer | undefined> {
  try {
    return (await loadIndex(backend, segmentId, buffer))?.entries;
  } catch (error) {
    if (isRpcError(error, 'OBJECT_DAMAGED')) return undefined;
    throw error;
  }
}

async function write(
  backend: Backend,
  expected: number,
  fill: (builder: LookupBuilder) => Promise<void>,
): Promise<Opened> {
  const scratch = await backend.createCacheFile();
  try {
    const builder = new LookupBuilder(scratch, expected);
    await fill(builder);
    const file = await backend.createCacheFile();
    try {
      const head = await builder.finish(file);
      await file.publish(lookupName);
      return { head, dataStart: headBytes(head.segments.length, head.bucketBits), file };
    } catch (error) {
      await file.close();
      throw error;
    }
  } finally {
    await scratch.close();
  }
}
