// Where things lie in the core's memory: one page of constants, a work area per instance, then the
// slots.

/** Bytes of a block. */
export const blockSize = 65536;
/**
 * Most blocks of a run: 4 MiB, enough that a call's cost vanishes and little enough to stay in
 * cache.
 */
export const runBlocksMax = 64;
/** Bytes of a block's id. */
export const idSize = 32;
/** Bytes of a page of WebAssembly memory. */
export const pageSize = 65536;
/**
 * Pages of an instance's work area: one for hashing and LZ4, two for a base and the block behind
 * it, one for the tables of a difference, one for the stored bytes of a base.
 */
export const scratchPages = 5;

/** Kinds of encoded blocks, the same numbers as in the module. */
export const kindZero = 0;
export const kindSameAsParent = 1;
export const kindLz4 = 2;
export const kindRaw = 3;
/** New, and left to a second job. */
export const kindLeft = 4;
export const kindZstd = 5;
export const kindDelta = 6;
/** Its plain bytes are in the output already. */
export const kindPlain = 7;
/** Which new blocks encodeRun leaves: none, those that a parent has a block for, all. */
export const leave = { none: 0, changed: 1, all: 2 } as const;

const runBytesMax = blockSize * runBlocksMax;
// Compressing writes a little beyond 64 KiB before it finds that a block did not shrink, and
// copying reads beyond.
const slack = 64 * 1024;
const tablesSize = 64 * 1024;
const slotSize = tablesSize + runBytesMax + slack + runBytesMax + slack;

/**
 * Addresses of the parts of a slot. All are multiples of 32: misaligned reads run at a quarter of
 * the speed.
 */
export type Slot = {
  readonly index: number;
  readonly kinds: number;
  readonly ids: number;
  readonly parentIds: number;
  readonly offsets: number;
  readonly lengths: number;
  /** One byte a block: 1 when its base was damaged. */
  readonly damaged: number;
  readonly input: number;
  readonly output: number;
};

/** Address of the work area of instance `index`. */
export function scratchAddress(index: number): number {
  return pageSize * (1 + index * scratchPages);
}

/** Parts of the work area at `scratch` that differences use. */
export function deltaArea(scratch: number): { base: number; tables: number; stored: number } {
  const base = scratch + pageSize;
  return { base, tables: base + 2 * blockSize, stored: base + 3 * blockSize };
}

/** Addresses of slot `index` in a memory with `instances` work areas. */
export function slotAt(index: number, instances: number): Slot {
  const base = scratchAddress(instances) + index * slotSize;
  const input = base + tablesSize;
  return {
    index,
    kinds: base,
    ids: base + 1024,
    parentIds: base + 4096,
    offsets: base + 8192,
    lengths: base + 9216,
    damaged: base + 10240,
    input,
    output: input + runBytesMax + slack,
  };
}

/** Pages of a memory with that many instances and slots. */
export function memoryPages(instances: number, slots: number): number {
  return (scratchAddress(instances) + slots * slotSize) / pageSize;
}
