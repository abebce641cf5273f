import { BlockError, type CoreErrorReason } from './errors.ts';
import { readFully, writeFully } from './file-io.ts';
import { blockSize, runBlocksMax, type Slot } from './layout.ts';
import type { Core } from './load.ts';
import type { Transfer } from './plan.ts';
import type { Extent } from './runs.ts';

/** A run whose tables already lie in its slot, as it is handed to a worker. */
export type EncodeJob = {
  kind: 'encode';
  slot: Slot;
  blocks: number;
  extents: Extent[];
  /** Bytes at the start of the input that are already there. */
  filled: number;
  hasParent: boolean;
  compress: boolean;
};

export type DecodeJob = {
  kind: 'decode';
  slot: Slot;
  blocks: number;
  reads: Transfer[];
  writes: Transfer[];
};

export type Job = EncodeJob | DecodeJob;

function encode(core: Core, job: EncodeJob): number {
  const { slot, blocks } = job;
  let end = slot.input + job.filled;
  for (const extent of job.extents) {
    const start = slot.input + extent.bufferOffset;
    core.bytes.fill(0, end, start);
    end = start + extent.length;
    readFully(extent.fd, core.bytes.subarray(start, end), extent.fileOffset);
  }
  core.bytes.fill(0, end, slot.input + blocks * blockSize);
  return core.exports.encodeRun(
    slot.input,
    blocks,
    job.hasParent ? slot.parentIds : 0,
    Number(job.compress),
    slot.output,
    slot.kinds,
    slot.ids,
    slot.offsets,
    slot.lengths,
    core.scratch,
  );
}

function decode(core: Core, job: DecodeJob): number {
  const { slot, blocks } = job;
  for (const { fd, fileOffset, slotOffset, length } of job.reads) {
    const start = slot.input + slotOffset;
    readFully(fd, core.bytes.subarray(start, start + length), fileOffset);
  }
  const fault = core.exports.decodeRun(
    slot.input,
    blocks,
    slot.output,
    slot.kinds,
    slot.ids,
    slot.offsets,
    slot.lengths,
    core.scratch,
  );
  if (fault < 0) throw blockError(-fault);
  for (const { fd, fileOffset, slotOffset, length } of job.writes) {
    const start = slot.output + slotOffset;
    writeFully(fd, core.bytes.subarray(start, start + length), fileOffset);
  }
  return blocks * blockSize;
}

// The module packs the index and the fault of the first bad block into one number.
function blockError(fault: number): BlockError {
  const blockIndex = fault >> 2;
  const isMalformed = (fault & 3) === 1;
  const reason: CoreErrorReason = isMalformed ? 'BLOCK_MALFORMED' : 'BLOCK_MISMATCH';
  const what = isMalformed
    ? `its stored bytes do not decode to ${blockSize} bytes`
    : 'its bytes have another digest than its id';
  return new BlockError(reason, `block ${blockIndex} of the run is damaged: ${what}`, {
    blockIndex,
  });
}

/**
 * Does a job in the calling thread. Returns the bytes used in the slot's output. Throws CoreError.
 */
export function runJob(core: Core, job: Job): number {
  if (job.blocks > runBlocksMax) throw new RangeError(`a run has at most ${runBlocksMax} blocks`);
  return job.kind === 'encode' ? encode(core, job) : decode(core, job);
}
