/** Images that are cut by content; docs/storage-format.md 2.9. */
import { cutRun, cutRunBytes } from '../../../wasm/host/cut.ts';
import type { BlockSource, SourceExtent } from '../sources/source.ts';
import { blockSize, pageFanOut } from './limits.ts';

/** Bytes of the blocks of one run: places for the most chunks that it can have. */
const cutPageBytes = pageFanOut * blockSize;
/** How much more bytes the blocks of an image have than its content, empty places counted. */
export const cutGrowth = cutPageBytes / cutRunBytes;
/** Where in a block the length of its chunk stands. */
const lengthAt = blockSize - 2;

type Run = { index: number; bytes: Uint8Array; ends: Uint32Array };

/**
 * The blocks of an image that is cut by content: each run of 4 MiB gives 128 blocks, a chunk and its
 * length in each, empty ones behind them. Not for changed maps.
 */
export class CutSource implements BlockSource {
  readonly name: string;
  readonly sizeBytes: number;
  private readonly content: BlockSource;
  private readonly buffer = new Uint8Array(cutRunBytes);
  private run: Run | undefined;
  /** One read at a time: they share the buffer. */
  private last: Promise<void> = Promise.resolve();

  constructor(content: BlockSource) {
    this.content = content;
    this.name = content.name;
    this.sizeBytes = Math.ceil(content.sizeBytes / cutRunBytes) * cutPageBytes;
  }

  async *extents(): AsyncGenerator<SourceExtent> {
    let next = 0;
    const runs = (first: number, end: number, kind: SourceExtent['kind']) => {
      next = end;
      return { offset: first * cutPageBytes, length: (end - first) * cutPageBytes, kind };
    };
    for await (const { offset, length, kind } of this.content.extents()) {
      if (kind === 'zero' || length === 0) continue;
      const first = Math.max(next, Math.floor(offset / cutRunBytes));
      const end = Math.ceil((offset + length) / cutRunBytes);
      if (first > next) yield runs(next, first, 'zero');
      if (end > next) yield runs(next, end, 'data');
    }
    const all = this.sizeBytes / cutPageBytes;
    if (all > next) yield runs(next, all, 'zero');
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const reading = this.last.then(() => this.fill(offset, target));
    this.last = reading.catch(() => undefined);
    await reading;
  }

  async fingerprint(): Promise<string | undefined> {
    return await this.content.fingerprint?.();
  }

  async close(): Promise<void> {
    await this.content.close();
  }

  private async fill(offset: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length; done += blockSize) {
      const block = (offset + done) / blockSize;
      const { bytes, ends } = await this.runAt(Math.floor(block / pageFanOut));
      const index = block % pageFanOut;
      const start = ends[index - 1] ?? 0;
      putChunk(
        bytes.subarray(start, ends[index] ?? start),
        target.subarray(done, done + blockSize),
      );
    }
  }

  private async runAt(index: number): Promise<Run> {
    if (this.run?.index === index) return this.run;
    this.run = undefined;
    const offset = index * cutRunBytes;
    const length = Math.min(cutRunBytes, this.content.sizeBytes - offset);
    const bytes = this.buffer.subarray(0, length);
    await this.content.read(offset, bytes);
    // A run of zeros is a hole, whatever the source knows of it.
    const ends = isZero(bytes) ? new Uint32Array(0) : cutRun(bytes);
    this.run = { index, bytes, ends };
    return this.run;
  }
}

const zeros = Buffer.alloc(cutRunBytes);
const isZero = (bytes: Uint8Array) => zeros.subarray(0, bytes.length).equals(bytes);

function putChunk(chunk: Uint8Array, block: Uint8Array): void {
  block.set(chunk);
  block.fill(0, chunk.length);
  block[lengthAt] = chunk.length & 0xff;
  block[lengthAt + 1] = chunk.length >> 8;
}

/** The chunk in a block; undefined when the block says a length that none has. */
export function chunkOf(block: Uint8Array): Uint8Array | undefined {
  const length = block[lengthAt]! | (block[lengthAt + 1]! << 8);
  return length >= 1 && length <= lengthAt ? block.subarray(0, length) : undefined;
}

/** The part of an image in which the chunks at these places lie: whole runs. */
export function bytesOfChunks(first: number, count: number): { offset: number; length: number } {
  const run = Math.floor(first / pageFanOut);
  const end = Math.ceil((first + count) / pageFanOut);
  return { offset: run * cutRunBytes, length: (end - run) * cutRunBytes };
}
