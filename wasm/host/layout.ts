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
/** Pages of an instance's work area; the module checks that it fits. */
export const scratchPages = 1;

/** Kinds of encoded blocks, the same numbers as in the module. */
export const kindZero = 0;
export const kindSameAsParent = 1;
export const kindLz4 = 2;
export const kindRaw = 3;

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
  readonly input: number;
  readonly output: number;
};

/** Address of the work area of instance `index`. */
export function scratchAddress(index: number): number {
  return pageSize * (1 + index * scratchPages);
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
    input,
    output: input + runBytesMax + slack,
  };
}

/** Pages of a memory with that many instances and slots. */
export function memoryPages(instances: number, slots: number): number {
  return (scratchAddress(instances) + slots * slotSize) / pageSize;
}
