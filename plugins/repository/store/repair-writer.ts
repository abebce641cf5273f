/** Stores what a repair found, once it is known to be what its id says. */
import { hash } from '../../../wasm/host/blake3.ts';
import { kindLz4 } from '../../../wasm/host/layout.ts';
import { sameId } from './ids.ts';
import { content, encoding, entryKind } from './index-codec.ts';
import type { Lease } from './lease.ts';
import { blockSize } from './limits.ts';
import { publishSegments, SegmentStream } from './segment-stream.ts';
import type { StoreContext } from './store-context.ts';
import type { Wanted } from './tree-walk.ts';

/** OPEN → PUBLISHED or DISCARDED. */
export class RepairWriter {
  blocks = 0;
  pages = 0;
  files = 0;
  storedBytes = 0;
  private readonly context: StoreContext;
  private readonly lease: Lease;
  private readonly streams: { blocks: SegmentStream; records: SegmentStream };

  constructor(context: StoreContext, lease: Lease) {
    this.context = context;
    this.lease = lease;
    const { random, segmentBytesMax } = context;
    this.streams = {
      blocks: new SegmentStream(lease.area, content.blocks, random, segmentBytesMax, 'repair-'),
      records: new SegmentStream(lease.area, content.pages, random, segmentBytesMax, 'repair-'),
    };
  }

  /** Whether it was stored already. */
  async has({ kind, id }: Wanted): Promise<boolean> {
    return await this.streamOf(kind).has(kind, id);
  }

  /** False when the bytes are not what the id says: then nothing is stored. */
  async put(wanted: Wanted, bytes: Uint8Array): Promise<boolean> {
    if (wanted.kind === entryKind.block) return await this.putBlock(wanted.id, bytes);
    const { kind, id } = wanted;
    if (!sameId(hash(bytes), 0, id, 0)) return false;
    if (await this.has(wanted)) return true;
    const lengths = { storedLength: bytes.length, plainLength: bytes.length };
    await this.streams.records.put({ id, ...lengths, kind, encoding: encoding.raw }, bytes);
    if (kind === entryKind.page) this.pages += 1;
    else this.files += 1;
    this.storedBytes += bytes.length;
    return true;
  }

  async publish(): Promise<void> {
    const { blocks, records } = this.streams;
    await publishSegments(this.lease.area, [
      ...(await blocks.finish()),
      ...(await records.finish()),
    ]);
  }

  async discard(): Promise<void> {
    await this.streams.blocks.discard();
    await this.streams.records.discard();
  }

  // The core computes the id again.
  private async putBlock(id: Uint8Array, bytes: Uint8Array): Promise<boolean> {
    if (bytes.length !== blockSize) return false;
    const run = await this.context.pool.encode({ blocks: 1, bytes, compress: true });
    try {
      if (!sameId(run.ids, 0, id, 0)) return false;
      const stored = new Uint8Array(
        run.data.subarray(run.offsets[0]!, run.offsets[0]! + run.lengths[0]!),
      );
      const lengths = { storedLength: stored.length, plainLength: blockSize };
      const encoded = run.kinds[0] === kindLz4 ? encoding.lz4 : encoding.raw;
      const entry = {
        id: new Uint8Array(id),
        ...lengths,
        kind: entryKind.block,
        encoding: encoded,
      };
      await this.streams.blocks.put(entry, stored);
      this.blocks += 1;
      this.storedBytes += stored.length;
      return true;
    } finally {
      run.release();
    }
  }

  private streamOf(kind: number): SegmentStream {
    return kind === entryKind.block ? this.streams.blocks : this.streams.records;
  }
}
