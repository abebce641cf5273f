// What a worker has to do for a run, worked out and checked before it starts. No I/O here.
import { CoreError } from './errors.ts';
import {
  blockSize,
  idSize,
  kindDelta,
  kindLz4,
  kindRaw,
  kindZero,
  kindZstd,
  runBlocksMax,
} from './layout.ts';
import type {
  Compression,
  DecodeRun,
  EncodeRun,
  Extent,
  LeftBlock,
  StoredBase,
  StoredBlock,
} from './runs.ts';
import { zstdLevelMax } from './zstd.ts';

/** Most extents of a run: one for each 512-byte sector of it. */
export const extentsMax = 8192;
// Most bytes of one write of decoded blocks.
const writeBytesMax = 1024 * 1024;

/** A piece of a file and where it is in the slot's input (reads) or output (writes). */
export type Transfer = { fd: number; fileOffset: number; slotOffset: number; length: number };

/** A block that the worker decodes by itself: its stored bytes lie at `offset` of the input. */
export type SpecialBlock = {
  index: number;
  offset: number;
  length: number;
  encoding: 'zstd' | 'delta';
  base?: StoredBase;
};

export type DecodePlan = {
  kinds: Uint8Array;
  offsets: Uint32Array;
  lengths: Uint32Array;
  reads: Transfer[];
  writes: Transfer[];
  special: SpecialBlock[];
};

const kindOf = { raw: kindRaw, lz4: kindLz4, zstd: kindZstd, delta: kindDelta };

function bad(message: string, details: Record<string, string | number> = {}): CoreError {
  return new CoreError('BAD_RUN', message, details);
}

function checkCount(name: string, value: number, min: number, max: number): void {
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw bad(`${name} is ${value}: must be a whole number from ${min} to ${max}`, { value });
  }
}

/** Checks a run to encode; returns its extents in order. Throws BAD_RUN. */
export function planEncode(run: EncodeRun): { extents: Extent[]; older?: Extent[] } {
  checkCount('blocks', run.blocks, 1, runBlocksMax);
  checkCompression(run.compress);
  const size = run.blocks * blockSize;
  if (run.parentIds && run.parentIds.length !== run.blocks * idSize) {
    const { length } = run.parentIds;
    throw bad(`parentIds has ${length} bytes: must have ${idSize} a block`, { length });
  }
  const extents = planContent(run, size);
  if (run.older === undefined) return { extents };
  if (!run.parentIds) throw bad('a run with an older image needs the ids of its blocks');
  return { extents, older: planContent(run.older, size) };
}

function planContent(run: Pick<EncodeRun, 'bytes' | 'extents'>, size: number): Extent[] {
  if (run.bytes && run.extents) throw bad('a run has either bytes or extents, not both');
  if (run.bytes) checkCount('bytes.length', run.bytes.length, 0, size);
  // Copies, because the caller's objects may hold what cannot be sent to a worker.
  const extents = (run.extents ?? [])
    .map(({ fd, fileOffset, bufferOffset, length }) => ({ fd, fileOffset, bufferOffset, length }))
    .sort((a, b) => a.bufferOffset - b.bufferOffset);
  checkCount('the number of extents', extents.length, 0, extentsMax);
  let end = 0;
  for (const { fd, fileOffset, bufferOffset, length } of extents) {
    checkCount('an extent’s fd', fd, 0, 2 ** 31 - 1);
    checkCount('an extent’s fileOffset', fileOffset, 0, Number.MAX_SAFE_INTEGER - size);
    checkCount('an extent’s bufferOffset (extents must not overlap)', bufferOffset, end, size);
    checkCount('an extent’s length', length, 0, size - bufferOffset);
    end = bufferOffset + length;
  }
  return extents;
}

function checkCompression(compress: Compression): void {
  if (typeof compress === 'object')
    checkCount('the zstd level', compress.zstdLevel, 1, zstdLevelMax);
}

/** Checks blocks that are to be stored by a second job; `kinds` are those of the run. */
export function planLeft(
  blocks: readonly LeftBlock[],
  isLeft: (index: number) => boolean,
): LeftBlock[] {
  checkCount('the number of left blocks', blocks.length, 0, runBlocksMax);
  const seen = new Set<number>();
  return blocks.map(({ index, base }) => {
    if (!isLeft(index) || seen.has(index)) throw bad(`block ${index} of the run was not left`);
    seen.add(index);
    return base === undefined ? { index } : { index, base: planBase(base) };
  });
}

// A copy, because the caller's object may hold what cannot be sent to a worker.
function planBase({ id, encoding, fd, offset, length }: StoredBase): StoredBase {
  if (id.length !== idSize) throw bad(`the id of a base has ${id.length} bytes`);
  if (!['raw', 'lz4', 'zstd'].includes(encoding)) throw bad(`a base is stored as ${encoding}`);
  checkCount('a base’s length', length, 1, blockSize);
  checkCount('a base’s fd', fd, 0, 2 ** 31 - 1);
  checkCount('a base’s offset', offset, 0, Number.MAX_SAFE_INTEGER - blockSize);
  return { id: new Uint8Array(id), encoding, fd, offset, length };
}

// Appends a transfer, or lengthens the last one when the new one continues it in the file and in
// the slot.
function append(list: Transfer[], next: Transfer, bytesMax: number): void {
  const last = list.at(-1);
  const continues =
    last !== undefined &&
    last.fd === next.fd &&
    last.fileOffset + last.length === next.fileOffset &&
    last.slotOffset + last.length === next.slotOffset &&
    last.length + next.length <= bytesMax;
  if (continues) last.length += next.length;
  else list.push(next);
}

function checkStored(block: StoredBlock, stored: Uint8Array | undefined): void {
  if (block.id.length !== idSize) {
    throw bad(`an id has ${block.id.length} bytes: must have ${idSize}`);
  }
  checkCount('a stored block’s length', block.length, 1, blockSize);
  if (!(block.encoding in kindOf)) {
    throw bad(`a block’s encoding is ${block.encoding}: must be lz4, raw, zstd or delta`);
  }
  if ((block.encoding === 'delta') !== (block.base !== undefined)) {
    throw bad(`a block stored as ${block.encoding} has ${block.base ? 'a' : 'no'} base`);
  }
  if (stored) checkCount('a stored block’s offset', block.offset, 0, stored.length - block.length);
  else {
    checkCount('a stored block’s fd', block.fd, 0, 2 ** 31 - 1);
    checkCount('a stored block’s offset', block.offset, 0, Number.MAX_SAFE_INTEGER - blockSize);
  }
}

/**
 * Checks a run to decode and says what to read, decode and write, neighbours joined. Throws
 * BAD_RUN.
 */
export function planDecode(run: DecodeRun): DecodePlan {
  const count = run.blocks.length;
  checkCount('the number of blocks', count, 1, runBlocksMax);
  if (run.stored) checkCount('stored.length', run.stored.length, 0, runBlocksMax * blockSize);
  const plan: DecodePlan = {
    kinds: new Uint8Array(count),
    offsets: new Uint32Array(count),
    lengths: new Uint32Array(count),
    reads: [],
    writes: [],
    special: [],
  };
  let used = 0;
  run.blocks.forEach((block, i) => {
    const isZero = block.id.length === idSize && block.id.every((byte) => byte === 0);
    plan.kinds[i] = kindZero;
    if (isZero) return;
    checkStored(block, run.stored);
    const { fd, offset, length, encoding, base } = block;
    plan.kinds[i] = kindOf[encoding];
    plan.lengths[i] = length;
    plan.offsets[i] = run.stored ? offset : used;
    if (!run.stored) {
      append(plan.reads, { fd, fileOffset: offset, slotOffset: used, length }, Infinity);
      used += length;
    }
    if (encoding === 'zstd' || encoding === 'delta') {
      const at = { index: i, offset: plan.offsets[i]!, length };
      plan.special.push({ ...at, encoding, ...(base && { base: planBase(base) }) });
    }
    if (run.targetFd === undefined) return;
    const targetLength = block.targetLength ?? blockSize;
    checkCount('a targetOffset', block.targetOffset, 0, Number.MAX_SAFE_INTEGER - blockSize);
    checkCount('a targetLength', targetLength, 1, blockSize);
    const write = { fd: run.targetFd, fileOffset: block.targetOffset, slotOffset: i * blockSize };
    append(plan.writes, { ...write, length: targetLength }, writeBytesMax);
  });
  return plan;
}
