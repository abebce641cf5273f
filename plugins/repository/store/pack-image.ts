/** Packs one image: decides how the changes are found, then runs the blocks through the core. */
import { dataLoss, unavailable } from '../../../sdk/errors.ts';
import {
  type Compression,
  CoreError,
  type CorePool,
  type EncodedRun,
  type EncodeRun,
} from '../../../wasm/host/core-pool.ts';
import type { BlockSource, ByteRange } from '../sources/source.ts';
import type { Catalog } from './catalog.ts';
import type { BlockRange } from './change-map.ts';
import { countBlocks } from './change-map.ts';
import { ChangedBlocks, type StoredRun } from './changed-blocks.ts';
import { formatId } from './ids.ts';
import { inOrder, Turns } from './in-order.ts';
import { blockSize, runBlocksMax, runBlocksUsual, runsInFlightMax } from './limits.ts';
import type { MapSource, Written } from './manifest.ts';
import type { PackageWriter, Stored } from './package-writer.ts';
import { cutSteps, planSteps, type Step, stepsBehind } from './read-plan.ts';
import { blockCountOf } from './tree-page.ts';
import type { Tree } from './tree-reader.ts';
import { TreeWriter } from './tree-writer.ts';

/** What is to be read of an image, and why. */
export type ReadDecision = {
  source: MapSource;
  reason: string;
  /** Blocks that may differ from the parent; without it all may. */
  mapped?: BlockRange[];
  parent?: Tree;
  /** The image that the parent was made of: what is equal there is not hashed. */
  older?: BlockSource;
  sampledBlocks: number;
};

export type ImageContext = {
  pool: CorePool;
  writer: PackageWriter;
  compress: Compression;
  /** Where changed blocks find what they are stored as the difference from; absent: nowhere. */
  bases?: Catalog;
  signal: AbortSignal;
  /** Called with the bytes of the image that are done. */
  onBytes(bytes: number): void;
  /** What an earlier run did of this image. */
  restored?: ImageState;
  /**
   * Called between two steps with the bytes that were read and are stored by now. `state` is undefined while the tree and
   * what is stored do not agree.
   */
  onStep?(storedBytes: number, state: () => ImageState | undefined): Promise<void>;
};

/** What became of the blocks that changed. */
export type DeltaCounts = {
  /** New blocks that are stored as a difference. */
  deltaBlocks: number;
  /** Blocks of the parent that no difference could start from because they are damaged. */
  damagedBases: number;
};

/** How far an image is: the tree over its first blocks, and what they took. */
export type ImageState = { doneBlocks: number; open: Uint8Array[]; written: Written };

/** `written` is the sum over all runs; `bytesRead` and `deltas` are this one's. */
export type PackedImage = {
  root: string;
  written: Written;
  bytesRead: number;
  deltas: DeltaCounts;
};

/** Reads, encodes and stores what `decision` says, and returns the root of the image's tree. */
export async function packImage(
  source: BlockSource,
  decision: ReadDecision,
  context: ImageContext,
): Promise<PackedImage> {
  const run = new ImageRun(source, decision, context);
  const extents = source.extents(decision.mapped?.map((range) => toBytes(range, source.sizeBytes)));
  const planned = planSteps(extents, source.sizeBytes, decision.mapped);
  const steps = cutSteps(stepsBehind(planned, run.tree.doneBlocks), runBlocksUsual);
  context.onBytes(Math.min(run.tree.doneBlocks * blockSize, source.sizeBytes));
  await inOrder(
    steps,
    runsInFlightMax,
    {
      start: (step) => run.start(step),
      finish: (step, stored) => run.finish(step, stored),
      discard: (stored) => stored?.run.release(),
    },
    context.signal,
  );
  const root = await run.finishTree();
  return {
    root: formatId(root),
    written: run.written(),
    bytesRead: run.bytesRead,
    deltas: run.deltas(),
  };
}

/** Blocks that a decision reads at most, for progress. */
export function blocksToRead(decision: ReadDecision, logicalBytes: number): number {
  return decision.mapped === undefined ? blockCountOf(logicalBytes) : countBlocks(decision.mapped);
}

class ImageRun {
  readonly tree: TreeWriter;
  readonly changed: ChangedBlocks | undefined;
  bytesRead = 0;
  private readonly source: BlockSource;
  private readonly parent: Tree | undefined;
  private readonly older: BlockSource | undefined;
  private readonly context: ImageContext;
  private readonly buffers: Uint8Array[] = [];
  private readonly turns = new Turns();
  private readonly sampledBlocks: number;
  private readonly before: Stored;
  private finishedBytes = 0;
  /** The steps finished so far, and no part of another, are in the tree and in the store. */
  private isBetweenSteps = true;

  constructor(source: BlockSource, decision: ReadDecision, context: ImageContext) {
    this.source = source;
    this.parent = decision.parent;
    this.older = decision.older;
    this.context = context;
    this.changed = this.parent && context.bases && new ChangedBlocks(context.bases);
    this.sampledBlocks = decision.sampledBlocks;
    this.before = { ...context.writer.stored };
    const blockCount = blockCountOf(source.sizeBytes);
    this.tree = new TreeWriter(context.writer, blockCount, context.restored?.open);
  }

  written(): Written {
    const { before, bytesRead, sampledBlocks } = this;
    const { stored } = this.context.writer;
    const earlier = this.context.restored?.written;
    return {
      bytesRead: bytesRead + (earlier?.bytesRead ?? 0),
      sampledBlocks: sampledBlocks + (earlier?.sampledBlocks ?? 0),
      newBlocks: stored.blocks - before.blocks + (earlier?.newBlocks ?? 0),
      newPages: stored.pages - before.pages + (earlier?.newPages ?? 0),
      storedBytes: stored.bytes - before.bytes + (earlier?.storedBytes ?? 0),
    };
  }

  deltas(): DeltaCounts {
    const { deltaBlocks } = this.context.writer.stored;
    return {
      deltaBlocks: deltaBlocks - this.before.deltaBlocks,
      damagedBases: this.changed?.damagedBases ?? 0,
    };
  }

  async finishTree(): Promise<Uint8Array> {
    this.isBetweenSteps = false;
    return await this.tree.finish();
  }

  async start(step: Step): Promise<StoredRun | undefined> {
    if (step.kind !== 'read') return undefined;
    const buffers: Uint8Array[] = [];
    let run: EncodeRun | undefined;
    try {
      const encoded = await this.turns.take(
        async () => {
          run = await this.prepare(step, buffers);
          return run;
        },
        (prepared) => this.context.pool.encode(prepared),
      );
      return await this.storeChanged(encoded, run?.parentIds);
    } catch (error) {
      const isOlder = run?.older?.extents?.some(({ fd }) => fd === fdOf(error));
      const { name } = isOlder ? this.older! : this.source;
      throw sourceError(error, name, step.first * blockSize);
    } finally {
      this.buffers.push(...buffers);
    }
  }

  private async storeChanged(run: EncodedRun, parentIds?: Uint8Array): Promise<StoredRun> {
    const { changed } = this;
    return changed && parentIds ? await changed.store(run, parentIds) : { run, bases: new Map() };
  }

  private async prepare(step: Step, buffers: Uint8Array[]): Promise<EncodeRun> {
    const parentIds = await this.parent?.ids(step.first, step.count);
    const content = await this.contentOf(this.source, step, buffers);
    this.bytesRead += content.bytes?.length ?? sumOf(content.extents ?? []);
    const older = this.older && (await this.contentOf(this.older, step, buffers));
    return {
      blocks: step.count,
      compress: this.context.compress,
      leaveChanged: this.changed !== undefined,
      ...content,
      ...(parentIds && { parentIds }),
      ...(older && { older }),
    };
  }

  async finish(step: Step, stored: StoredRun | undefined): Promise<void> {
    this.isBetweenSteps = false;
    try {
      if (step.kind === 'hole') await this.tree.appendHoles(step.count);
      else if (stored === undefined) await this.keep(step);
      else {
        await this.context.writer.putRun(stored.run, stored.bases);
        await this.tree.append(stored.run.ids);
      }
    } finally {
      stored?.run.release();
    }
    this.isBetweenSteps = true;
    this.context.onBytes(this.lengthOf(step));
    if (stored !== undefined) this.finishedBytes += this.lengthOf(step);
    await this.context.onStep?.(this.finishedBytes, () => this.state());
  }

  private state(): ImageState | undefined {
    if (!this.isBetweenSteps) return undefined;
    const { tree } = this;
    return { doneBlocks: tree.doneBlocks, open: tree.openPages(), written: this.written() };
  }

  private async keep(step: Step): Promise<void> {
    for await (const subtree of this.parent!.subtrees(step.first, step.count, this.tree)) {
      await this.tree.appendSubtree(subtree);
    }
  }

  private lengthOf(step: Step): number {
    const offset = step.first * blockSize;
    return Math.min(step.count * blockSize, this.source.sizeBytes - offset);
  }

  // Where the bytes lie, so that a worker reads them, or the bytes themselves in one of `buffers`.
  private async contentOf(
    source: BlockSource,
    step: Step,
    buffers: Uint8Array[],
  ): Promise<Pick<EncodeRun, 'extents' | 'bytes'>> {
    const offset = step.first * blockSize;
    const length = Math.max(0, Math.min(step.count * blockSize, source.sizeBytes - offset));
    const extents = source.fileExtents?.(offset, length);
    if (extents !== undefined) return { extents };
    const buffer = this.buffers.pop() ?? new Uint8Array(runBlocksMax * blockSize);
    buffers.push(buffer);
    const bytes = buffer.subarray(0, length);
    await source.read(offset, bytes);
    return { bytes };
  }
}

function sumOf(extents: readonly { length: number }[]): number {
  return extents.reduce((sum, { length }) => sum + length, 0);
}

function fdOf(error: unknown): unknown {
  return error instanceof CoreError ? error.details.fd : undefined;
}

function toBytes({ first, end }: BlockRange, logicalBytes: number): ByteRange {
  const start = first * blockSize;
  return { start, length: Math.min(end * blockSize, logicalBytes) - start };
}

/** What the core says about reading a source, as an error about that source. */
export function sourceError(error: unknown, path: string, offset: number): unknown {
  if (!(error instanceof CoreError)) return error;
  if (error.reason === 'SHORT_READ') {
    const text = `${path} ends too early, near byte ${offset} of the image: ${error.message}`;
    return dataLoss('SOURCE_TRUNCATED', text, { path, offset: String(offset) });
  }
  if (error.reason === 'IO_FAILED') {
    const text = `${path} cannot be read near byte ${offset} of the image: ${error.message}`;
    return unavailable('SOURCE_IO_FAILED', text, { path, offset: String(offset) });
  }
  return error;
}
