/** Packs one image: decides how the changes are found, then runs the blocks through the core. */
import { dataLoss, unavailable } from '../../../sdk/errors.ts';
import {
  CoreError,
  type CorePool,
  type EncodedRun,
  type EncodeRun,
} from '../../../wasm/host/core-pool.ts';
import type { BlockSource, FileExtent } from '../sources/source.ts';
import type { BlockRange } from './change-map.ts';
import { countBlocks } from './change-map.ts';
import { formatId } from './ids.ts';
import { inOrder, Turns } from './in-order.ts';
import { blockSize, runBlocksMax, runsInFlightMax } from './limits.ts';
import type { MapSource, Written } from './manifest.ts';
import type { PackageWriter } from './package-writer.ts';
import { planSteps, type Step } from './read-plan.ts';
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
  sampledBlocks: number;
};

export type ImageContext = {
  pool: CorePool;
  writer: PackageWriter;
  compress: boolean;
  signal: AbortSignal;
  /** Called with the bytes of the image that are done. */
  onBytes(bytes: number): void;
};

export type PackedImage = { root: string; written: Written };

/** Reads, encodes and stores what `decision` says, and returns the root of the image's tree. */
export async function packImage(
  source: BlockSource,
  decision: ReadDecision,
  context: ImageContext,
): Promise<PackedImage> {
  const { stored } = context.writer;
  const before = { ...stored };
  const run = new ImageRun(source, decision, context);
  const steps = cutSteps(planSteps(source.extents(), source.sizeBytes, decision.mapped));
  await inOrder(
    steps,
    runsInFlightMax,
    {
      start: (step) => run.start(step),
      finish: (step, encoded) => run.finish(step, encoded),
      discard: (encoded) => encoded?.release(),
    },
    context.signal,
  );
  const root = await run.tree.finish();
  return {
    root: formatId(root),
    written: {
      bytesRead: run.bytesRead,
      sampledBlocks: decision.sampledBlocks,
      newBlocks: stored.blocks - before.blocks,
      newPages: stored.pages - before.pages,
      storedBytes: stored.bytes - before.bytes,
    },
  };
}

/** Blocks that a decision reads at most, for progress. */
export function blocksToRead(decision: ReadDecision, logicalBytes: number): number {
  return decision.mapped === undefined ? blockCountOf(logicalBytes) : countBlocks(decision.mapped);
}

class ImageRun {
  readonly tree: TreeWriter;
  bytesRead = 0;
  private readonly source: BlockSource;
  private readonly parent: Tree | undefined;
  private readonly context: ImageContext;
  private readonly buffers: Uint8Array[] = [];
  private readonly turns = new Turns();

  constructor(source: BlockSource, decision: ReadDecision, context: ImageContext) {
    this.source = source;
    this.parent = decision.parent;
    this.context = context;
    this.tree = new TreeWriter(context.writer, blockCountOf(source.sizeBytes));
  }

  async start(step: Step): Promise<EncodedRun | undefined> {
    if (step.kind !== 'read') return undefined;
    const offset = step.first * blockSize;
    let buffer: Uint8Array | undefined;
    try {
      return await this.turns.take(
        async () => {
          const parentIds = await this.parent?.ids(step.first, step.count);
          const run: EncodeRun = { blocks: step.count, compress: this.context.compress };
          if (parentIds !== undefined) run.parentIds = parentIds;
          run.extents = this.fileExtents(step);
          if (run.extents === undefined) {
            buffer = this.buffers.pop() ?? new Uint8Array(runBlocksMax * blockSize);
            run.bytes = await this.read(step, buffer);
          }
          return run;
        },
        (run) => this.context.pool.encode(run),
      );
    } catch (error) {
      throw sourceError(error, this.source.name, offset);
    } finally {
      if (buffer !== undefined) this.buffers.push(buffer);
    }
  }

  async finish(step: Step, encoded: EncodedRun | undefined): Promise<void> {
    try {
      if (step.kind === 'hole') await this.tree.appendHoles(step.count);
      else if (encoded === undefined) await this.keep(step);
      else {
        await this.context.writer.putRun(encoded);
        await this.tree.append(encoded.ids);
      }
    } finally {
      encoded?.release();
    }
    this.context.onBytes(this.lengthOf(step));
  }

  private async keep(step: Step): Promise<void> {
    for await (const span of this.parent!.spans(step.first, step.count)) {
      if (span.ids === undefined) await this.tree.appendHoles(span.count);
      else await this.tree.append(span.ids);
    }
  }

  private lengthOf(step: Step): number {
    const offset = step.first * blockSize;
    return Math.min(step.count * blockSize, this.source.sizeBytes - offset);
  }

  private fileExtents(step: Step): FileExtent[] | undefined {
    const offset = step.first * blockSize;
    const extents = this.source.fileExtents?.(offset, this.lengthOf(step));
    this.bytesRead += extents?.reduce((sum, extent) => sum + extent.length, 0) ?? 0;
    return extents;
  }

  private async read(step: Step, buffer: Uint8Array): Promise<Uint8Array> {
    const bytes = buffer.subarray(0, this.lengthOf(step));
    await this.source.read(step.first * blockSize, bytes);
    this.bytesRead += bytes.length;
    return bytes;
  }
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

// Reading goes by runs; holes and kept blocks need no cutting.
async function* cutSteps(steps: AsyncIterable<Step>): AsyncGenerator<Step> {
  for await (const step of steps) {
    if (step.kind !== 'read') {
      yield step;
      continue;
    }
    for (let done = 0; done < step.count; done += runBlocksMax) {
      const count = Math.min(runBlocksMax, step.count - done);
      yield { kind: 'read', first: step.first + done, count };
    }
  }
}
