import { dataLoss, invalidArgument, resourceExhausted, unavailable } from '../../../sdk/errors.ts';
import {
  BlockError,
  CoreError,
  type DecodedRun,
  type StoredBlock,
} from '../../../wasm/host/core-pool.ts';
import type { Location } from './block-index.ts';
import { holeId, isHole } from './ids.ts';
import { checkEncoding, encoding, entryKind } from './index-codec.ts';
import { blockSize, idSize, runBlocksMax } from './limits.ts';
import type { ImageRecord } from './manifest.ts';
import { readFully } from './piece-cache.ts';
import { treeOf } from './pinned-package.ts';
import type { HeldSegment } from './segment-files.ts';
import type { StoreContext } from './store-context.ts';
import type { IdSpan, Tree } from './tree-reader.ts';

/**
 * A stretch of at most 64 blocks as they are stored; `blocks` is absent when all are holes, however
 * many.
 */
export type StoredRun = {
  first: number;
  count: number;
  /** For each block where its stored bytes lie; undefined for a hole. Open until `release`. */
  blocks?: (StoredBlock | undefined)[];
  /**
   * The stored bytes of the blocks that are not holes, one view each, read together where they lie
   * together.
   */
  readStored(): Promise<(Uint8Array | undefined)[]>;
  release(): void;
};

/** Block number `index` of an image as it is stored: what an LZ4 frame carries as block data. */
export type ExportedBlock = {
  index: number;
  encoding: 'lz4' | 'raw';
  bytes: Uint8Array;
  id: Uint8Array;
};

/** An image of an open package. */
export class ImageReader {
  readonly record: ImageRecord;
  readonly tree: Tree;
  readonly packageId: string;
  private readonly context: StoreContext;

  constructor(context: StoreContext, packageId: string, record: ImageRecord) {
    this.context = context;
    this.packageId = packageId;
    this.record = record;
    this.tree = treeOf(context.catalog, record);
  }

  /**
   * Runs of stored blocks in the order of the image, for copying without recompression. Release
   * each.
   */
  async *storedRuns(first = 0, count = this.record.blockCount - first): AsyncGenerator<StoredRun> {
    for await (const span of this.cutSpans(first, count)) yield await this.openRun(span);
  }

  /**
   * The stored blocks in the order of the image, without the holes, for copying without
   * recompression.
   */
  async *storedBlocks(): AsyncGenerator<ExportedBlock> {
    for await (const run of this.storedRuns()) yield* exported(run, run.readStored());
  }

  /** The same, each run of blocks decoded and checked before it is handed out. */
  async *checkedBlocks(): AsyncGenerator<ExportedBlock> {
    for await (const run of this.storedRuns()) {
      const decoding = this.decode(run).then((decoded) => decoded?.release());
      yield* exported(run, decoding.then(run.readStored));
    }
  }

  /** The ids of the blocks, cut into runs of at most 64; spans of holes are not cut. */
  async *cutSpans(first = 0, count = this.record.blockCount - first): AsyncGenerator<IdSpan> {
    for await (const span of this.tree.spans(first, count)) {
      if (span.ids === undefined) {
        yield span;
        continue;
      }
      for (let done = 0; done < span.count; done += runBlocksMax) {
        const take = Math.min(runBlocksMax, span.count - done);
        const ids = span.ids.subarray(done * idSize, (done + take) * idSize);
        yield { first: span.first + done, count: take, ids };
      }
    }
  }

  /** Finds where the blocks of a span lie and opens their segments. Release the run. */
  async openRun(span: IdSpan): Promise<StoredRun> {
    const { first, count, ids } = span;
    if (ids === undefined || allHoles(ids)) {
      return { first, count, readStored: async () => [], release: () => undefined };
    }
    const { catalog } = this.context;
    const held = new Map<string, HeldSegment>();
    const release = () => {
      for (const segment of held.values()) segment.release();
      held.clear();
    };
    try {
      const locations = await catalog.locate(entryKind.block, ids);
      const blocks: (StoredBlock | undefined)[] = [];
      for (const [index, location] of locations.entries()) {
        const targetOffset = (first + index) * blockSize;
        blocks.push(location && (await this.toStored(location, held, targetOffset)));
      }
      const readStored = () => readTogether(blocks, catalog.backend.path('segments/'));
      return { first, count, blocks, readStored, release };
    } catch (error) {
      release();
      throw this.located(error, first * blockSize);
    }
  }

  /**
   * Decodes and checks the blocks of a run: to `targetFd` at the offsets of the image, or to the
   * bytes of the result, where holes are zeros. Undefined for a run of holes. Asks for its slot in
   * the core before it returns.
   */
  async decode(run: StoredRun, targetFd?: number): Promise<DecodedRun | undefined> {
    const { blocks } = run;
    if (blocks === undefined) return undefined;
    const filled = blocks.map(
      (block, index) => block ?? holeBlock((run.first + index) * blockSize),
    );
    try {
      const target = targetFd === undefined ? {} : { targetFd };
      return await this.context.pool.decode({ blocks: filled, ...target });
    } catch (error) {
      throw this.coreError(error, run);
    }
  }

  /**
   * Fills `target` with the bytes of the image from `offset` on. RANGE_OUT_OF_IMAGE
   * (INVALID_ARGUMENT) beyond the end.
   */
  async read(offset: number, target: Uint8Array): Promise<void> {
    const { logicalBytes, name } = this.record;
    const isInside = Number.isSafeInteger(offset) && offset >= 0;
    if (!isInside || offset + target.length > logicalBytes) {
      const text =
        `${target.length} bytes at ${offset} are not all in image "${name}" of ${logicalBytes} ` +
        'bytes';
      throw invalidArgument('RANGE_OUT_OF_IMAGE', text, { image: name, offset: String(offset) });
    }
    if (target.length === 0) return;
    const first = Math.floor(offset / blockSize);
    const count = Math.ceil((offset + target.length) / blockSize) - first;
    for await (const span of this.cutSpans(first, count)) {
      const run = await this.openRun(span);
      const decoded = await this.decode(run).finally(run.release);
      const start = span.first * blockSize - offset;
      const plain = decoded?.bytes;
      const end = start + span.count * blockSize;
      const part = target.subarray(Math.max(0, start), Math.max(0, end));
      if (plain === undefined) part.fill(0);
      else part.set(plain.subarray(Math.max(0, -start), Math.max(0, -start) + part.length));
      decoded?.release();
    }
  }

  private async toStored(
    { entry, segment }: Location,
    held: Map<string, HeldSegment>,
    targetOffset: number,
  ): Promise<StoredBlock> {
    const { catalog } = this.context;
    checkEncoding(entry, catalog.segmentPath({ entry, segment, ordinal: 0 }));
    let file = held.get(segment.id);
    if (file === undefined) {
      file = await catalog.files.hold(segment.id);
      held.set(segment.id, file);
    }
    return {
      id: entry.id,
      encoding: entry.encoding === encoding.lz4 ? 'lz4' : 'raw',
      fd: file.fd,
      offset: entry.offset,
      length: entry.storedLength,
      targetOffset,
      targetLength: Math.min(blockSize, this.record.logicalBytes - targetOffset),
    };
  }

  private coreError(error: unknown, run: StoredRun): unknown {
    if (!(error instanceof CoreError)) return error;
    const isDamage = error instanceof BlockError || error.reason === 'SHORT_READ';
    if (!isDamage) return ioError(error, this.record.name);
    if (error instanceof BlockError) {
      return this.damaged((run.first + error.blockIndex) * blockSize, error.message);
    }
    const problem = `the segment that holds it or a block after it is cut short: ${error.message}`;
    return this.damaged(run.first * blockSize, problem);
  }

  private located(error: unknown, offset: number): unknown {
    const reason = (error as { reason?: string }).reason;
    if (reason !== 'OBJECT_MISSING' && reason !== 'OBJECT_DAMAGED') return error;
    return this.damaged(offset, (error as Error).message);
  }

  private damaged(offset: number, problem: string): Error {
    const { packageId } = this;
    const image = this.record.name;
    const text = `package "${packageId}", image "${image}", byte ${offset}: ${problem}; run verify`;
    return dataLoss('PACKAGE_DAMAGED', text, { packageId, image, offset: String(offset) });
  }
}

// The core reads segments and writes targets; its words tell which of them failed.
function ioError(error: CoreError, image: string): Error {
  if (error.reason !== 'IO_FAILED') return error;
  const { code, syscall } = error.details;
  const metadata = { image, code: String(code) };
  if (syscall === 'write' && (code === 'ENOSPC' || code === 'EDQUOT')) {
    const text = `no space for image "${image}" where it is unpacked to: ${error.message}`;
    return resourceExhausted('TARGET_NO_SPACE', text, metadata);
  }
  const reason = syscall === 'write' ? 'TARGET_IO_FAILED' : 'STORE_IO_FAILED';
  return unavailable(reason, `image "${image}": ${error.message}`, metadata);
}

function holeBlock(targetOffset: number): StoredBlock {
  return { id: holeId, encoding: 'raw', fd: 0, offset: 0, length: 0, targetOffset };
}

function allHoles(ids: Uint8Array): boolean {
  for (let index = 0; index * idSize < ids.length; index++) if (!isHole(ids, index)) return false;
  return true;
}

async function* exported(
  run: StoredRun,
  reading: Promise<(Uint8Array | undefined)[]>,
): AsyncGenerator<ExportedBlock> {
  const all = await reading.finally(run.release);
  for (const [at, bytes] of all.entries()) {
    if (bytes === undefined) continue;
    const { id, encoding: encoded } = run.blocks![at]!;
    yield { index: run.first + at, encoding: encoded, bytes, id };
  }
}

// One read for neighbours in a segment: a package written at once lies in order.
async function readTogether(
  blocks: readonly (StoredBlock | undefined)[],
  path: string,
): Promise<(Uint8Array | undefined)[]> {
  const bytes: (Uint8Array | undefined)[] = new Array(blocks.length);
  let index = 0;
  while (index < blocks.length) {
    const start = blocks[index];
    let end = index + 1;
    while (start && continues(blocks[end - 1], blocks[end])) end += 1;
    if (start !== undefined) {
      const last = blocks[end - 1]!;
      const whole = new Uint8Array(last.offset + last.length - start.offset);
      await readFully(start.fd, whole, start.offset, path);
      for (let at = index; at < end; at++) {
        const { offset, length } = blocks[at]!;
        bytes[at] = whole.subarray(offset - start.offset, offset - start.offset + length);
      }
    }
    index = end;
  }
  return bytes;
}

function continues(a: StoredBlock | undefined, b: StoredBlock | undefined): boolean {
  return a !== undefined && b !== undefined && a.fd === b.fd && a.offset + a.length === b.offset;
}
