import { setImmediate as nextTurn } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { dataLoss } from '../../../../sdk/errors.ts';
import { stepsPerTurn } from '../limits.ts';
import { type OpenFile, openFile } from '../open-file.ts';
import type { BlockSource, SourceExtent } from '../source.ts';
import { decodeLz4Block } from './decode-block.ts';
import { corruptFrame, rawBlockFlag } from './header.ts';
import { type FileRange, type ScannedFrame, type ScanOptions, scanFrame } from './scan.ts';

export type FrameOptions = ScanOptions & {
  /** The frame is this part of the file; without it, the whole file. */
  range?: FileRange;
  /** For messages, when the path says too little. */
  name?: string;
};

/** Stored runs that are kept: one that is being read, one for a reader that lags. */
const runCacheMax = 2;

/**
 * An image in an LZ4 frame with independent blocks, readable at random. Opening walks the frame
 * once; from then on each run of blocks is compared with what was seen, so a file that changes
 * meanwhile is DATA_LOSS `SOURCE_CHANGED`.
 */
export async function openLz4Frame(path: string, options: FrameOptions = {}): Promise<BlockSource> {
  const file = await openFile(path);
  try {
    const range = options.range ?? { start: 0, end: file.sizeBytes };
    const name = options.name ?? path;
    return new OpenFrame(file, name, await scanFrame(file, range, name, options));
  } catch (error) {
    await file.close();
    throw error;
  }
}

class OpenFrame implements BlockSource {
  readonly name: string;
  readonly sizeBytes: number;
  readonly #file: OpenFile;
  readonly #frame: ScannedFrame;
  readonly #runs = new Map<number, Promise<Uint8Array>>();

  constructor(file: OpenFile, name: string, frame: ScannedFrame) {
    this.#file = file;
    this.#frame = frame;
    this.name = name;
    this.sizeBytes = frame.sizeBytes;
  }

  async *extents(): AsyncGenerator<SourceExtent> {
    const { index, header } = this.#frame;
    let offset = 0;
    let kind: SourceExtent['kind'] | undefined;
    for (let block = 0; block < index.blockCount; block += 1) {
      const here = index.isZero(block) ? 'zero' : 'data';
      const start = block * header.blockMaxBytes;
      if (kind !== undefined && kind !== here) {
        yield { offset, length: start - offset, kind };
        offset = start;
      }
      kind = here;
      if (block % stepsPerTurn === 0) await nextTurn();
    }
    if (kind !== undefined) yield { offset, length: this.sizeBytes - offset, kind };
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const { index, header } = this.#frame;
    const size = index.blocksPerRun * header.blockMaxBytes;
    const end = Math.min(offset + target.length, this.sizeBytes);
    for (let at = offset; at < end; ) {
      const run = Math.floor(at / size);
      const stop = Math.min((run + 1) * size, end);
      await this.#readInRun(run, at, target.subarray(at - offset, stop - offset));
      at = stop;
    }
    target.fill(0, Math.max(0, end - offset));
  }

  // The run is fetched once for all of its blocks: readers side by side would drive each other's
  // out of the cache.
  async #readInRun(runIndex: number, offset: number, target: Uint8Array): Promise<void> {
    const { index, header } = this.#frame;
    const size = header.blockMaxBytes;
    let run: Uint8Array | undefined;
    for (let at = 0; at < target.length; ) {
      const block = Math.floor((offset + at) / size);
      const stop = Math.min((block + 1) * size - offset, target.length);
      const part = target.subarray(at, stop);
      if (index.isZero(block)) part.fill(0);
      else {
        run ??= await this.#run(runIndex);
        this.#readBlock(run, block, offset + at - block * size, part);
      }
      at = stop;
    }
  }

  #readBlock(run: Uint8Array, block: number, skip: number, part: Uint8Array): void {
    const { index, header } = this.#frame;
    const runIndex = Math.floor(block / index.blocksPerRun);
    const view = new DataView(run.buffer, run.byteOffset, run.byteLength);
    const extra = header.blockChecksums ? 8 : 4;
    let at = 0;
    for (let skipped = runIndex * index.blocksPerRun; skipped < block; skipped += 1) {
      at += (view.getUint32(at, true) & ~rawBlockFlag) + extra;
    }
    const word = view.getUint32(at, true);
    const stored = run.subarray(at + 4, at + 4 + (word & ~rawBlockFlag));
    const size = Math.min(header.blockMaxBytes, this.sizeBytes - block * header.blockMaxBytes);
    const whole = part.length === size;
    const plain = whole ? part : new Uint8Array(size);
    const length = word & rawBlockFlag ? copied(stored, plain) : decodeLz4Block(stored, plain);
    if (length !== size) {
      const position = index.run(runIndex).start + at;
      throw corruptFrame(this.name, `block ${block} does not give ${size} bytes`, position);
    }
    if (!whole) part.set(plain.subarray(skip, skip + part.length));
  }

  #run(runIndex: number): Promise<Uint8Array> {
    const known = this.#runs.get(runIndex);
    if (known !== undefined) return known;
    const loaded = this.#load(runIndex);
    this.#runs.set(runIndex, loaded);
    loaded.catch(() => this.#runs.delete(runIndex));
    if (this.#runs.size > runCacheMax) this.#runs.delete(this.#runs.keys().next().value!);
    return loaded;
  }

  async #load(runIndex: number): Promise<Uint8Array> {
    const { start, end, check } = this.#frame.index.run(runIndex);
    const bytes = new Uint8Array(end - start);
    await this.#file.read(start, bytes);
    if (crc32(bytes) !== check) {
      throw dataLoss('SOURCE_CHANGED', `${this.name} was changed while it was read`, {
        path: this.name,
        offset: String(start),
      });
    }
    return bytes;
  }

  fingerprint(): Promise<string | undefined> {
    return this.#file.fingerprint();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** Copies a stored block; its length, or -1 if it does not fit. */
function copied(stored: Uint8Array, plain: Uint8Array): number {
  if (stored.length > plain.length) return -1;
  plain.set(stored);
  return stored.length;
}
