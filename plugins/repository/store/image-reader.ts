import { dataLoss, invalidArgument, resourceExhausted, unavailable } from '../../../sdk/errors.ts';
import {
  BlockError,
  CoreError,
  type DecodedRun,
  type DecodeRun,
  type EncodedRun,
  type StoredBlock,
} from '../../../wasm/host/core-pool.ts';
import { cutRunBytes } from '../../../wasm/host/cut.ts';
import { kindLz4, kindSameAsParent, kindZero } from '../../../wasm/host/layout.ts';
import type { FileExtent } from '../sources/source.ts';
import { bytesOfChunks, chunkOf } from './cut-source.ts';
import { HeldSegments } from './held-segments.ts';
import { holeId, idAt, isHole } from './ids.ts';
import { ahead, Turns } from './in-order.ts';
import { entryKind } from './index-codec.ts';
import {
  blockSize,
  cutRunsInFlightMax,
  exportRunsInFlightMax,
  idSize,
  pageFanOut,
  runBlocksMax,
  runBlocksUsual,
} from './limits.ts';
import type { ImageRecord } from './manifest.ts';
import { treeOf } from './pinned-package.ts';
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
  release(): void;
};

/** A run of an image that is cut by content, in bytes. Without `bytes` it is zero. */
export type ContentRun = { offset: number; length: number; bytes?: Uint8Array };

export type RunExtent = { length: number; isZero: boolean };

/** Block number `index` of an image as an LZ4 frame carries it. */
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
   * The blocks in the order of the image, without the holes, each decoded and checked before it is
   * handed out. What is stored as LZ4 or raw is handed out as it is stored; the workers compress
   * the rest again. From block `first` on.
   */
  async *checkedBlocks(first = 0): AsyncGenerator<ExportedBlock> {
    if (this.isCut) {
      for await (const run of this.runs(first)) yield* await this.compressed(run);
      return;
    }
    const turns = new Turns();
    const runs = ahead(this.cutSpans(first), exportRunsInFlightMax, (span) =>
      turns.take(
        () => this.openRun(span),
        (run) => this.exportRun(run).finally(run.release),
      ),
    );
    for await (const blocks of runs) yield* blocks;
  }

  /** The ids of the blocks, cut into runs of at most 32; spans of holes are not cut. */
  async *cutSpans(first = 0, count = this.record.blockCount - first): AsyncGenerator<IdSpan> {
    for await (const span of this.tree.spans(first, count)) {
      if (span.ids === undefined) {
        yield span;
        continue;
      }
      for (let done = 0; done < span.count; done += runBlocksUsual) {
        const take = Math.min(runBlocksUsual, span.count - done);
        const ids = span.ids.subarray(done * idSize, (done + take) * idSize);
        yield { first: span.first + done, count: take, ids };
      }
    }
  }

  /** Finds where the blocks of a span lie and opens their segments. Release the run. */
  async openRun(span: IdSpan): Promise<StoredRun> {
    const { first, count, ids } = span;
    if (ids === undefined || allHoles(ids)) {
      return { first, count, release: () => undefined };
    }
    const { catalog } = this.context;
    const held = new HeldSegments(catalog);
    const release = () => held.release();
    try {
      const locations = await catalog.locate(entryKind.block, ids);
      const blocks: (StoredBlock | undefined)[] = [];
      for (const [index, location] of locations.entries()) {
        const targetOffset = (first + index) * blockSize;
        const targetLength = this.isCut
          ? blockSize
          : Math.min(blockSize, this.record.logicalBytes - targetOffset);
        const stored = location && (await held.block(location));
        blocks.push(stored && { ...stored, targetOffset, targetLength });
      }
      return { first, count, blocks, release };
    } catch (error) {
      release();
      throw this.located(error, first * blockSize);
    }
  }

  /** How many of these blocks, which lie in a file, have their ids, from the first on. */
  async countRight(blocks: readonly StoredBlock[]): Promise<number> {
    try {
      (await this.context.pool.decode({ blocks })).release();
      return blocks.length;
    } catch (error) {
      if (error instanceof BlockError) return error.blockIndex;
      if (error instanceof CoreError) return 0;
      throw error;
    }
  }

  /** Whether these pieces of files hold exactly the blocks of a span, holes included. */
  async holds(span: IdSpan, extents: readonly FileExtent[]): Promise<boolean> {
    const { count, ids } = span;
    if (ids === undefined) return extents.length === 0;
    const run = { blocks: count, extents, parentIds: ids, compress: false };
    let encoded: EncodedRun;
    try {
      encoded = await this.context.pool.encode(run);
    } catch (error) {
      // A file that ends too early, or cannot be read, does not hold them.
      if (error instanceof CoreError) return false;
      throw error;
    }
    const isRight = (kind: number, index: number) =>
      kind === kindSameAsParent || (kind === kindZero && isHole(ids, index));
    const holds = encoded.kinds.every(isRight);
    encoded.release();
    return holds;
  }

  /**
   * Decodes and checks the blocks of a run: to `targetFd` at the offsets of the image, or to the
   * bytes of the result, where holes are zeros. Undefined for a run of holes. Asks for its slot in
   * the core before it returns.
   */
  async decode(
    run: StoredRun,
    options: Pick<DecodeRun, 'targetFd' | 'wantsLz4'> = {},
  ): Promise<DecodedRun | undefined> {
    const { blocks } = run;
    if (blocks === undefined) return undefined;
    const filled = blocks.map(
      (block, index) => block ?? holeBlock((run.first + index) * blockSize),
    );
    try {
      return await this.context.pool.decode({ blocks: filled, ...options });
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
    if (this.isCut) return await this.readRuns(offset, target);
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

  /** Cut by content: its blocks are places of chunks, and `runs` gives its bytes. */
  get isCut(): boolean {
    return this.record.chunking !== undefined;
  }

  /**
   * Of an image that is cut by content, the bytes of its runs of 4 MiB in order, decoded and checked,
   * from that multiple of 64 KiB on; without `bytes` a run is zero. They belong to the caller.
   */
  async *runs(firstBlock = 0): AsyncGenerator<ContentRun> {
    const count = Math.ceil(this.record.logicalBytes / cutRunBytes);
    const indexes = async function* () {
      for (let run = Math.floor(firstBlock / runBlocksMax); run < count; run++) yield run;
    };
    yield* ahead(indexes(), cutRunsInFlightMax, (run) => this.contentRun(run));
  }

  /** Run number `index` of an image that is cut by content. */
  async contentRun(index: number): Promise<ContentRun> {
    const offset = index * cutRunBytes;
    const length = Math.min(cutRunBytes, this.record.logicalBytes - offset);
    const bytes = new Uint8Array(length);
    let end = 0;
    for await (const span of this.cutSpans(index * pageFanOut, pageFanOut)) {
      const run = await this.openRun(span);
      const decoded = await this.decode(run).finally(run.release);
      for (const [at, stored] of (run.blocks ?? []).entries()) {
        if (stored === undefined) continue;
        const chunk = chunkOf(decoded!.bytes.subarray(at * blockSize, (at + 1) * blockSize));
        if (chunk !== undefined && end + chunk.length <= length) bytes.set(chunk, end);
        end += chunk?.length ?? length + 1;
      }
      decoded?.release();
    }
    if (end === 0) return { offset, length };
    if (end === length) return { offset, length, bytes };
    throw this.damagedAt(offset, 'its chunks do not have the length of the run together');
  }

  /** Which runs in a range of bytes are zero, without reading them. */
  async *runExtents(offset: number, length: number): AsyncGenerator<RunExtent> {
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const run = Math.floor(at / cutRunBytes);
      const ids = await this.tree.ids(run * pageFanOut, 1);
      const part = Math.min((run + 1) * cutRunBytes, end) - at;
      yield { length: part, isZero: isHole(ids) };
      at += part;
    }
  }

  private async readRuns(offset: number, target: Uint8Array): Promise<void> {
    const end = offset + target.length;
    for (let run = Math.floor(offset / cutRunBytes); run * cutRunBytes < end; run++) {
      const { offset: at, length, bytes } = await this.contentRun(run);
      const start = Math.max(offset, at);
      const part = target.subarray(start - offset, Math.min(end, at + length) - offset);
      if (bytes === undefined) part.fill(0);
      else part.set(bytes.subarray(start - at, start - at + part.length));
    }
  }

  // As blocks of a frame: what is stored is cut at other places.
  private async compressed({ offset, length, bytes }: ContentRun): Promise<ExportedBlock[]> {
    if (bytes === undefined) return [];
    const count = Math.ceil(length / blockSize);
    const run = await this.context.pool.encode({ blocks: count, bytes, compress: true });
    const blocks = Array.from(run.kinds, (kind, at): ExportedBlock[] => {
      if (kind === kindZero) return [];
      const start = run.offsets[at]!;
      const data = new Uint8Array(run.data.subarray(start, start + run.lengths[at]!));
      const encoding = kind === kindLz4 ? 'lz4' : 'raw';
      const id = new Uint8Array(idAt(run.ids, at));
      return [{ index: offset / blockSize + at, encoding, bytes: data, id }];
    });
    run.release();
    return blocks.flat();
  }

  // Copies, so that a slow reader holds no slot of the core.
  private async exportRun(run: StoredRun): Promise<ExportedBlock[]> {
    const decoded = await this.decode(run, { wantsLz4: true });
    const blocks = (decoded?.exported ?? []).flatMap((block, at) => {
      if (block === undefined) return [];
      const { encoding, bytes } = block;
      const { id } = run.blocks![at]!;
      return [{ index: run.first + at, encoding, bytes: new Uint8Array(bytes), id }];
    });
    decoded?.release();
    return blocks;
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

  private damaged(blockOffset: number, problem: string): Error {
    const block = blockOffset / blockSize;
    return this.damagedAt(this.isCut ? bytesOfChunks(block, 1).offset : blockOffset, problem);
  }

  private damagedAt(offset: number, problem: string): Error {
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
