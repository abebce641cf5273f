/**
 * Copies what is alive out of segments that are mostly garbage; docs/storage-format.md section 7,
 * step 3.
 */
import { isRpcError, RpcError } from '../../../sdk/errors.ts';
import type { CorePool } from '../../../wasm/host/core-pool.ts';
import type { Backend } from './backend.ts';
import type { SegmentRef } from './block-index.ts';
import type { Catalog } from './catalog.ts';
import { EntryCheck } from './entry-check.ts';
import type { Marked } from './gc-mark.ts';
import { content, type Entry, entryBytes, entryKind, readEntry } from './index-codec.ts';
import type { Lease } from './lease.ts';
import { runBlocksMax } from './limits.ts';
import { indexName, segmentName } from './object-names.ts';
import { readFully } from './piece-cache.ts';
import type { HeldSegment } from './segment-files.ts';
import { publishSegments, SegmentStream } from './segment-stream.ts';
import type { StoreContext } from './store-context.ts';

export type Rewritten = {
  /** Segments of which every live entry has another copy now. */
  replaced: string[];
  /** Bytes of the new segments' entries. */
  copiedBytes: number;
  /** Bytes of the new segments and their indexes. */
  writtenBytes: number;
  /** Segments that were left alone because a live entry in them is damaged. */
  damaged: { segmentId: string; error: RpcError }[];
};

type Live = Pick<Marked, 'catalog' | 'live'>;

/** Copies the live entries of these segments and publishes the copies. */
export async function rewriteSegments(
  context: StoreContext,
  lease: Lease,
  marked: Live,
  segmentIds: ReadonlySet<string>,
): Promise<Rewritten> {
  const result: Rewritten = { replaced: [], copiedBytes: 0, writtenBytes: 0, damaged: [] };
  if (segmentIds.size === 0) return result;
  const { random, segmentBytesMax } = context;
  const streams = {
    blocks: new SegmentStream(lease.area, content.blocks, random, segmentBytesMax),
    pages: new SegmentStream(lease.area, content.pages, random, segmentBytesMax),
  };
  try {
    await copyAll(context, lease, marked, segmentIds, streams, result);
    const sealed = [...(await streams.blocks.finish()), ...(await streams.pages.finish())];
    await publishSegments(lease.area, sealed);
    for (const { id } of sealed) result.writtenBytes += await objectBytes(context.backend, id);
    return result;
  } catch (error) {
    // The space may be needed for what comes next.
    await streams.blocks.discard();
    await streams.pages.discard();
    throw error;
  }
}

/** Bytes that a segment and its index take. */
export async function objectBytes(backend: Backend, segmentId: string): Promise<number> {
  const sizes = [
    await backend.size(segmentName(segmentId)),
    await backend.size(indexName(segmentId)),
  ];
  return sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
}

async function copyAll(
  context: StoreContext,
  lease: Lease,
  marked: Live,
  segmentIds: ReadonlySet<string>,
  streams: Streams,
  result: Rewritten,
): Promise<void> {
  for await (const { segment, base, entries } of marked.catalog.index.contents()) {
    if (!segmentIds.has(segment.id)) continue;
    const live: Entry[] = [];
    for (let index = 0; index < segment.entryCount; index++) {
      if (marked.live.has(base + index)) live.push(readEntry(entries, index * entryBytes));
    }
    if (live.length === 0) {
      result.replaced.push(segment.id);
      continue;
    }
    const copy = new SegmentCopy(marked, context.pool, segment, streams);
    const error = await copy.run(live, lease.signal);
    result.copiedBytes += copy.copiedBytes;
    if (error === undefined) result.replaced.push(segment.id);
    else result.damaged.push({ segmentId: segment.id, error });
  }
}

type Streams = { blocks: SegmentStream; pages: SegmentStream };

class SegmentCopy {
  copiedBytes = 0;
  private readonly marked: Live;
  private readonly pool: CorePool;
  private readonly segment: SegmentRef;
  private readonly streams: Streams;

  constructor(marked: Live, pool: CorePool, segment: SegmentRef, streams: Streams) {
    this.marked = marked;
    this.pool = pool;
    this.segment = segment;
    this.streams = streams;
  }

  /**
   * Returns what is wrong with the first damaged entry; those before it are copied, which does no
   * harm.
   */
  async run(live: readonly Entry[], signal: AbortSignal): Promise<RpcError | undefined> {
    const { catalog } = this.marked;
    const held = await holdIfThere(catalog, this.segment.id);
    if (held instanceof RpcError) return held;
    try {
      const check = new EntryCheck(catalog, this.pool, this.segment, held.fd);
      for (let start = 0; start < live.length; start += runBlocksMax) {
        signal.throwIfAborted();
        const run = live.slice(start, start + runBlocksMax);
        const fault = (await check.check(run)).find((error) => error !== undefined);
        if (fault !== undefined) return fault;
        await this.copy(run, held.fd);
      }
      return undefined;
    } finally {
      held.release();
    }
  }

  private async copy(run: readonly Entry[], fd: number): Promise<void> {
    const path = this.marked.catalog.backend.path(segmentName(this.segment.id));
    for (const entry of run) {
      const isBlock = entry.kind === entryKind.block;
      const stream = isBlock ? this.streams.blocks : this.streams.pages;
      const bytes = new Uint8Array(entry.storedLength);
      await readFully(fd, bytes, entry.offset, path);
      await stream.put(entry, bytes);
      this.copiedBytes += bytes.length;
    }
  }
}

async function holdIfThere(catalog: Catalog, segmentId: string): Promise<HeldSegment | RpcError> {
  try {
    return await catalog.files.hold(segmentId);
  } catch (error) {
    if (isRpcError(error, 'OBJECT_MISSING')) return error;
    throw error;
  }
}
