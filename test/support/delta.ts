import { blockSize, slotAt } from '../../wasm/host/layout.ts';
import { type Core, coreModule, createMemory, instantiate } from '../../wasm/host/load.ts';

const core: Core = instantiate(coreModule(), createMemory(1, 1), 0);
const { input, output } = slotAt(0, 1);
const tables = input + 4 * blockSize;
const canary = 0xa5;
const guardBytes = 64;

/** The difference of a block from a base, or undefined when it takes more than `capacity` bytes. */
export function deltaEncode(
  base: Uint8Array,
  block: Uint8Array,
  capacity = blockSize,
): Uint8Array | undefined {
  core.bytes.set(base, input);
  core.bytes.set(block, input + blockSize);
  core.bytes.fill(canary, output - guardBytes, output + capacity + guardBytes);
  const size = core.exports.deltaCompress(input, output, capacity, tables);
  if (!guardsHold(output, capacity)) throw new Error('bytes around the output were written');
  return size === 0 ? undefined : core.bytes.slice(output, output + size);
}

/** Whether the bytes around a part of the memory are what they were. */
function guardsHold(at: number, length: number): boolean {
  const before = core.bytes.subarray(at - guardBytes, at);
  const after = core.bytes.subarray(at + length, at + length + guardBytes);
  return before.every((byte) => byte === canary) && after.every((byte) => byte === canary);
}

/**
 * Decodes with the input or the window at the very end of the memory, so that a step beyond it
 * traps. Throws when anything but the second half of the window changes.
 */
export function deltaDecode(
  base: Uint8Array,
  delta: Uint8Array,
  edge: 'input' | 'window' = 'window',
): Uint8Array | undefined {
  const end = core.bytes.length;
  const window = edge === 'window' ? end - 2 * blockSize : end - 3_000_000;
  const source = edge === 'input' ? end - delta.length : end - 1_000_000;
  core.bytes.fill(canary, window - guardBytes, Math.min(end, window + 2 * blockSize + guardBytes));
  core.bytes.set(base, window);
  core.bytes.set(delta, source);
  const isWhole = core.exports.deltaDecompress(source, delta.length, window) === 1;
  const isBaseKept = Buffer.compare(core.bytes.subarray(window, window + blockSize), base) === 0;
  if (!isBaseKept || !guardsHold(window, 2 * blockSize)) {
    throw new Error('bytes outside of the block were written');
  }
  return isWhole ? core.bytes.slice(window + blockSize, window + 2 * blockSize) : undefined;
}
