import {
  isBaseSound,
  loadBase,
  restoreDelta,
  restoreFull,
  storeChanged,
  storeFull,
} from './block-codec.ts';
import { BlockError, CoreError, type CoreErrorReason } from './errors.ts';
import { readFully, writeFully } from './file-io.ts';
import {
  blockSize,
  deltaArea,
  idSize,
  kindLeft,
  kindLz4,
  kindPlain,
  leave,
  runBlocksMax,
  type Slot,
} from './layout.ts';
import type { Core } from './load.ts';
import type { SpecialBlock, Transfer } from './plan.ts';
import type { Compression, Extent, LeftBlock } from './runs.ts';

/** Where the bytes of a run come from: `filled` bytes are there, the others lie in files. */
type Content = { extents: Extent[]; filled: number };

/** A run whose tables already lie in its slot, as it is handed to a worker. */
export type EncodeJob = {
  kind: 'encode';
  slot: Slot;
  blocks: number;
  extents: Extent[];
  /** Bytes at the start of the input that are already there. */
  filled: number;
  hasParent: boolean;
  /** The older image's blocks, which go to the output; `filled` bytes of them are there. */
  older?: Content;
  compress: Compression;
  leaveChanged: boolean;
};

/** Stores blocks that an encode job left in its slot, behind the `used` bytes of the others. */
export type StoreLeftJob = {
  kind: 'storeLeft';
  slot: Slot;
  blocks: number;
  left: LeftBlock[];
  used: number;
  compress: Compression;
};

export type DecodeJob = {
  kind: 'decode';
  slot: Slot;
  blocks: number;
  reads: Transfer[];
  writes: Transfer[];
  /** Blocks that decodeRun does not decode by itself. */
  special: SpecialBlock[];
  /** Turns them into LZ4 or raw blocks in the output once they are checked. */
  wantsLz4: boolean;
};

export type Job = EncodeJob | StoreLeftJob | DecodeJob;

// Reads extents to `target`; what neither they nor the `filled` bytes there cover becomes zero.
function fill(core: Core, target: number, blocks: number, from: Content): void {
  let end = target + from.filled;
  for (const extent of from.extents) {
    const start = target + extent.bufferOffset;
    core.bytes.fill(0, end, start);
    end = start + extent.length;
    readFully(extent.fd, core.bytes.subarray(start, end), extent.fileOffset);
  }
  core.bytes.fill(0, end, target + blocks * blockSize);
}

function encode(core: Core, job: EncodeJob): number {
  const { slot, blocks, compress, leaveChanged, older } = job;
  fill(core, slot.input, blocks, job);
  if (older) fill(core, slot.output, blocks, older);
  const isZstd = typeof compress === 'object';
  const { encodeRun, encodeDifferent } = core.exports;
  const encodeBlocks = older ? encodeDifferent : encodeRun;
  const used = encodeBlocks(
    slot.input,
    blocks,
    job.hasParent ? slot.parentIds : 0,
    Number(compress === true),
    isZstd ? leave.all : leaveChanged ? leave.changed : leave.none,
    slot.output,
    slot.kinds,
    slot.ids,
    slot.offsets,
    slot.lengths,
    core.scratch,
  );
  if (!isZstd) return used;
  const left: LeftBlock[] = [];
  for (let index = 0; index < blocks; index++) {
    const isKept = leaveChanged && job.hasParent && !isHoleAt(core, slot.parentIds, index);
    if (core.bytes[slot.kinds + index] === kindLeft && !isKept) left.push({ index });
  }
  return storeLeft(core, { kind: 'storeLeft', slot, blocks, left, used, compress });
}

function isHoleAt(core: Core, ids: number, index: number): boolean {
  const start = ids + index * idSize;
  return core.bytes.subarray(start, start + idSize).every((byte) => byte === 0);
}

// Which bases could not be used is told in the slot.
function storeLeft(core: Core, { slot, left, used, compress }: StoreLeftJob): number {
  const words = new Uint32Array(core.memory.buffer);
  let end = used;
  for (const { index, base } of left) {
    const block = slot.input + index * blockSize;
    const target = slot.output + end;
    const isUsable = base !== undefined && isSound(core, base);
    core.bytes[slot.damaged + index] = Number(base !== undefined && !isUsable);
    const { kind, length } = isUsable
      ? storeChanged(core, block, target, compress)
      : storeFull(core, block, target, compress);
    core.bytes[slot.kinds + index] = kind;
    words[slot.offsets / 4 + index] = end;
    words[slot.lengths / 4 + index] = length;
    end += length;
  }
  return end;
}

// What was damaged before must not damage what is stored now, nor keep it from being stored.
function isSound(core: Core, base: NonNullable<LeftBlock['base']>): boolean {
  try {
    return loadBase(core, base) && isBaseSound(core, base.id);
  } catch (error) {
    if (error instanceof CoreError) return false;
    throw error;
  }
}

function decode(core: Core, job: DecodeJob): number {
  const { slot, blocks, special } = job;
  for (const { fd, fileOffset, slotOffset, length } of job.reads) {
    const start = slot.input + slotOffset;
    readFully(fd, core.bytes.subarray(start, start + length), fileOffset);
  }
  for (const block of special) restore(core, slot, block);
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
  if (job.wantsLz4) for (const block of special) compressAgain(core, slot, block);
  return blocks * blockSize;
}

// Decodes a block that is stored as zstd or as a difference to its place in the output.
function restore(core: Core, slot: Slot, { index, offset, length, encoding, base }: SpecialBlock) {
  const stored = slot.input + offset;
  const target = slot.output + index * blockSize;
  const isRestored =
    encoding !== 'delta'
      ? restoreFull(core, encoding, stored, length, target)
      : loadBase(core, base!) && restoreDelta(core, stored, length, target);
  if (!isRestored) throw blockError(4 * index + 1);
  core.bytes[slot.kinds + index] = kindPlain;
}

// The work area of the bases has room for what does not shrink.
function compressAgain(core: Core, slot: Slot, { index }: SpecialBlock): void {
  const block = slot.output + index * blockSize;
  const { base } = deltaArea(core.scratch);
  const { kind, length } = storeFull(core, block, base, true);
  if (kind === kindLz4) core.bytes.copyWithin(block, base, base + length);
  core.bytes[slot.kinds + index] = kind;
  new Uint32Array(core.memory.buffer, slot.lengths, runBlocksMax)[index] = length;
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
  if (job.kind === 'encode') return encode(core, job);
  return job.kind === 'decode' ? decode(core, job) : storeLeft(core, job);
}
