/** A disk over another one: changed blocks are in a scratch file, all others come from below. */
import { RpcError } from '../../../sdk/errors.ts';
import { blockSize } from '../store/limits.ts';
import type { DiskChanges, DiskExtent, DiskRead, ServedDisk } from './disk.ts';
import { blocksOf, clip } from './package-disk.ts';
import type { ScratchFile } from './scratch-file.ts';
import { type BlockState, blockState, type ScratchMap } from './scratch-map.ts';

const zeroBlock = new Uint8Array(blockSize);

export class ScratchDisk implements ServedDisk, DiskChanges {
  readonly sizeBytes: number;
  readonly changes = this;
  readonly #base: ServedDisk;
  readonly #file: ScratchFile;
  readonly #map: ScratchMap;
  /** The last change of a block that is under way: changes of one block happen one by one. */
  readonly #turns = new Map<number, Promise<void>>();
  #flushing: Promise<void> = Promise.resolve();
  #nextFlush: Promise<void> | undefined;
  #failure: RpcError | undefined;

  constructor(base: ServedDisk, file: ScratchFile) {
    this.sizeBytes = base.sizeBytes;
    this.#base = base;
    this.#file = file;
    this.#map = file.map;
  }

  async read(offset: number, length: number): Promise<DiskRead> {
    const { first, count } = blocksOf(offset, length);
    const reads: DiskRead[] = [];
    const release = () => {
      for (const read of reads.splice(0)) read.release();
    };
    try {
      for (let index = first; index < first + count; ) {
        const state = await this.#map.state(index);
        let end = index + 1;
        while (end < first + count && (await this.#map.state(end)) === state) end += 1;
        const start = Math.max(offset, index * blockSize);
        reads.push(await this.#readAlike(state, start, clip(index, end - index, offset, length)));
        index = end;
      }
      return { parts: reads.flatMap(({ parts }) => parts), release };
    } catch (error) {
      release();
      throw error;
    }
  }

  async #readAlike(state: BlockState, offset: number, length: number): Promise<DiskRead> {
    if (state === blockState.base) return await this.#base.read(offset, length);
    const release = () => undefined;
    if (state === blockState.zero) return { parts: [{ length }], release };
    const bytes = Buffer.allocUnsafeSlow(length);
    await this.#file.readData(offset, bytes);
    return { parts: [{ length, bytes }], release };
  }

  async *extents(offset: number, length: number): AsyncGenerator<DiskExtent> {
    let at = offset;
    for await (const extent of this.#base.extents(offset, length)) {
      const end = at + extent.length;
      while (at < end) {
        const block = Math.floor(at / blockSize);
        const state = await this.#map.state(block);
        const part = Math.min(end, (block + 1) * blockSize) - at;
        const isZero = state === blockState.base ? extent.isZero : state === blockState.zero;
        yield { length: part, isZero };
        at += part;
      }
    }
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    const { first, count } = blocksOf(offset, bytes.length);
    const writes: Promise<void>[] = [];
    for (let block = first; block < first + count; block++) {
      const start = Math.max(offset, block * blockSize);
      const part = bytes.subarray(start - offset, (block + 1) * blockSize - offset);
      writes.push(this.#inTurn(block, () => this.#writeBlock(block, start, part)));
    }
    await settled(writes);
  }

  async zero(offset: number, length: number): Promise<void> {
    const { first, count } = blocksOf(offset, length);
    for (let block = first; block < first + count; block++) {
      const part = clip(block, 1, offset, length);
      const isWhole = part === this.#lengthOf(block);
      const start = Math.max(offset, block * blockSize);
      await this.#inTurn(block, () =>
        isWhole
          ? this.#map.set(block, blockState.zero)
          : this.#writeBlock(block, start, zeroBlock.subarray(0, part)),
      );
    }
  }

  async trim(offset: number, length: number): Promise<void> {
    const end = offset + length;
    const first = Math.ceil(offset / blockSize);
    const last = end === this.sizeBytes ? Math.ceil(end / blockSize) : Math.floor(end / blockSize);
    if (last <= first) return;
    const stop = Math.min(last * blockSize, this.sizeBytes);
    await this.zero(first * blockSize, stop - first * blockSize);
  }

  /** Flushes run one after the other; those that wait while one runs share the next. */
  async flush(): Promise<void> {
    this.#nextFlush ??= this.#flushing.then(() => {
      this.#nextFlush = undefined;
      const flushing = this.#flushNow();
      this.#flushing = flushing.catch(() => undefined);
      return flushing;
    });
    await this.#nextFlush;
  }

  async #flushNow(): Promise<void> {
    // After a failed sync nobody knows what the disk has: never report a later one as good.
    if (this.#failure !== undefined) throw this.#failure;
    try {
      await this.#file.makeDurable(this.#map.takeChanged());
    } catch (error) {
      this.#failure = RpcError.from(error);
      throw error;
    }
  }

  /** A block's bytes must be in the file, all of them, before the map says so. */
  async #writeBlock(block: number, offset: number, bytes: Uint8Array): Promise<void> {
    const state = await this.#map.state(block);
    if (state === blockState.data || bytes.length === this.#lengthOf(block)) {
      await this.#file.writeData(offset, bytes);
    } else {
      const start = block * blockSize;
      const whole = new Uint8Array(this.#lengthOf(block));
      if (state === blockState.base) await this.#copyBase(start, whole);
      whole.set(bytes, offset - start);
      await this.#file.writeData(start, whole);
    }
    await this.#map.set(block, blockState.data);
  }

  async #copyBase(offset: number, target: Uint8Array): Promise<void> {
    const { parts, release } = await this.#base.read(offset, target.length);
    let at = 0;
    for (const { bytes, length } of parts) {
      if (bytes !== undefined) target.set(bytes, at);
      at += length;
    }
    release();
  }

  #lengthOf(block: number): number {
    return Math.min(blockSize, this.sizeBytes - block * blockSize);
  }

  async #inTurn(block: number, change: () => Promise<void>): Promise<void> {
    const before = this.#turns.get(block);
    const turn = before === undefined ? change() : before.then(change, change);
    this.#turns.set(block, turn);
    try {
      await turn;
    } finally {
      if (this.#turns.get(block) === turn) this.#turns.delete(block);
    }
  }
}

/** Waits for all, so that nothing is under way when the first failure is told. */
async function settled(works: Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(works);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
}
