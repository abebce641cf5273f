import { availableParallelism } from 'node:os';
import { hash } from './blake3.ts';
import { CoreError } from './errors.ts';
import type { Job } from './job.ts';
import { blockSize, idSize, kindLeft, kindLz4, kindZero, type Slot } from './layout.ts';
import { coreModule, createMemory, instantiate } from './load.ts';
import { planDecode, planEncode, planLeft } from './plan.ts';
import type {
  Compression,
  DecodedRun,
  DecodeRun,
  EncodedRun,
  EncodeRun,
  LeftBlock,
} from './runs.ts';
import { Slots } from './slots.ts';
import {
  type Executor,
  LocalExecutor,
  type StartWorker,
  startWorker,
  WorkerCrew,
} from './worker-crew.ts';

export { BlockError, CoreError, ShortReadError } from './errors.ts';
export { blockSize, idSize, runBlocksMax } from './layout.ts';
export type {
  Compression,
  DecodedRun,
  DecodeRun,
  EncodedRun,
  EncodeRun,
  Extent,
  FullEncoding,
  LeftBlock,
  StoredBase,
  StoredBlock,
} from './runs.ts';

/** Most workers of a pool. */
export const workersMax = 16;
// Workers when the caller does not say: beyond four, reading and writing are what limits, and
// memory grows.
const workersDefaultMax = 4;

export type CorePoolOptions = {
  /**
   * Worker threads, 0 to 16; 0 does every run in the calling thread. Default: the processors, at
   * most 4.
   */
  workers?: number;
  /** Runs in memory at a time, each about 8 MiB. Default: two a worker and two more. */
  slots?: number;
  /** How to start a worker; tests give others. */
  startWorker?: StartWorker;
};

type RunInSlot = {
  slot: Slot;
  blocks: number;
  compress: Compression;
  used: number;
  release: () => void;
};

/**
 * Encodes and decodes runs of blocks on worker threads that share one memory. Slots are given in
 * the order of the calls, so a caller may start any number of runs and use their results in order;
 * it must release each.
 */
export class CorePool {
  private readonly memory: WebAssembly.Memory;
  private readonly bytes: Uint8Array;
  private readonly slots: Slots;
  private readonly executor: Executor;

  private constructor(memory: WebAssembly.Memory, slots: Slots, executor: Executor) {
    this.memory = memory;
    this.bytes = new Uint8Array(memory.buffer);
    this.slots = slots;
    this.executor = executor;
  }

  /** Opens a pool. Throws CoreError NOT_BUILT, or BAD_RUN for a wrong option. */
  static async open(options: CorePoolOptions = {}): Promise<CorePool> {
    const workers = options.workers ?? Math.min(availableParallelism(), workersDefaultMax);
    const slots = options.slots ?? workers * 2 + 2;
    if (!Number.isInteger(workers) || workers < 0 || workers > workersMax) {
      throw new CoreError('BAD_RUN', `workers is ${workers}: must be 0 to ${workersMax}`);
    }
    if (!Number.isInteger(slots) || slots < 1 || slots > workersMax * 2 + 2) {
      throw new CoreError('BAD_RUN', `slots is ${slots}: must be 1 to ${workersMax * 2 + 2}`);
    }
    const instances = Math.max(workers, 1);
    const module = coreModule();
    const memory = createMemory(instances, slots);
    if (workers === 0) {
      const local = new LocalExecutor(instantiate(module, memory, 0));
      return new CorePool(memory, new Slots(slots, instances), local);
    }
    const crew = new WorkerCrew(module, memory, options.startWorker ?? startWorker);
    for (let index = 0; index < workers; index++) crew.hire(index);
    return new CorePool(memory, new Slots(slots, instances), crew);
  }

  /**
   * Encodes a run once a slot is free. Rejects with CoreError (see its reasons); the slot is then
   * free again.
   */
  async encode(run: EncodeRun): Promise<EncodedRun> {
    const { extents, older } = planEncode(run);
    const slot = await this.slots.take();
    const { blocks, compress, bytes, parentIds, leaveChanged = false } = run;
    if (bytes) this.bytes.set(bytes, slot.input);
    if (run.older?.bytes) this.bytes.set(run.older.bytes, slot.output);
    if (parentIds) this.bytes.set(parentIds, slot.parentIds);
    const release = this.releaser(slot);
    const used = await this.runIn(release, {
      kind: 'encode',
      slot,
      blocks,
      extents,
      filled: bytes?.length ?? 0,
      hasParent: parentIds !== undefined,
      ...(older && { older: { extents: older, filled: run.older?.bytes?.length ?? 0 } }),
      compress,
      leaveChanged,
    });
    return this.encoded({ slot, blocks, compress, used, release });
  }

  /**
   * Decodes a run once a slot is free, checks every block against its id and only then writes.
   * Rejects with CoreError; a BlockError names the first damaged block, and nothing of the run was
   * written.
   */
  async decode(run: DecodeRun): Promise<DecodedRun> {
    const { kinds, offsets, lengths, reads, writes, special } = planDecode(run);
    const slot = await this.slots.take();
    const { buffer } = this.memory;
    const blocks = run.blocks.length;
    if (run.stored) this.bytes.set(run.stored, slot.input);
    this.bytes.set(kinds, slot.kinds);
    new Uint32Array(buffer, slot.offsets, blocks).set(offsets);
    new Uint32Array(buffer, slot.lengths, blocks).set(lengths);
    run.blocks.forEach((block, i) => {
      this.bytes.set(block.id, slot.ids + i * idSize);
    });
    const release = this.releaser(slot);
    const wantsLz4 = run.wantsLz4 ?? false;
    const job: Job = { kind: 'decode', slot, blocks, reads, writes, special, wantsLz4 };
    await this.runIn(release, job);
    const length = run.targetFd === undefined ? blocks * blockSize : 0;
    const bytes = new Uint8Array(buffer, slot.output, length);
    if (wantsLz4) {
      return {
        bytes,
        exported: this.exported(
          slot,
          special.map(({ index }) => index),
          blocks,
        ),
        release,
      };
    }
    if (length === 0) release();
    return { bytes, release };
  }

  /** BLAKE3-256 of bytes of any length, in the calling thread. */
  hash(bytes: Uint8Array): Uint8Array {
    return hash(bytes);
  }

  /**
   * Waits for the runs in progress, rejects those that wait with POOL_CLOSED and ends the workers.
   */
  async close(): Promise<void> {
    this.slots.close();
    await this.executor.close();
  }

  private encoded(run: RunInSlot): EncodedRun {
    const { slot, blocks, release } = run;
    const { buffer } = this.memory;
    return {
      kinds: new Uint8Array(buffer, slot.kinds, blocks),
      ids: new Uint8Array(buffer, slot.ids, blocks * idSize),
      offsets: new Uint32Array(buffer, slot.offsets, blocks),
      lengths: new Uint32Array(buffer, slot.lengths, blocks),
      data: new Uint8Array(buffer, slot.output, run.used),
      storeLeft: (left) => this.storeLeft(run, left),
      release,
    };
  }

  private async storeLeft(run: RunInSlot, blocks: readonly LeftBlock[]) {
    const { slot, compress } = run;
    const left = planLeft(blocks, (index) => this.bytes[slot.kinds + index] === kindLeft);
    const job: Job = {
      kind: 'storeLeft',
      slot,
      blocks: run.blocks,
      left,
      used: run.used,
      compress,
    };
    const used = await this.runIn(run.release, job);
    const damagedBases = left.filter(({ index }) => this.bytes[slot.damaged + index] === 1).length;
    return { ...this.encoded({ ...run, used }), damagedBases };
  }

  // Blocks that were compressed again lie where they were decoded to, the others where they were
  // read to.
  private exported(slot: Slot, special: readonly number[], blocks: number): DecodedRun['exported'] {
    const { buffer } = this.memory;
    const offsets = new Uint32Array(buffer, slot.offsets, blocks);
    const lengths = new Uint32Array(buffer, slot.lengths, blocks);
    return Array.from({ length: blocks }, (_, index) => {
      const kind = this.bytes[slot.kinds + index];
      if (kind === kindZero) return undefined;
      const isMoved = special.includes(index);
      const start = isMoved ? slot.output + index * blockSize : slot.input + offsets[index]!;
      const encoding = kind === kindLz4 ? 'lz4' : 'raw';
      return { encoding, bytes: this.bytes.subarray(start, start + lengths[index]!) };
    });
  }

  private async runIn(release: () => void, job: Job): Promise<number> {
    try {
      return await this.executor.run(job);
    } catch (error) {
      release();
      throw error;
    }
  }

  private releaser(slot: Slot): () => void {
    let isHeld = true;
    return () => {
      if (isHeld) this.slots.give(slot);
      isHeld = false;
    };
  }
}
