import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { CoreError } from './errors.ts';
import { memoryPages, pageSize, scratchAddress } from './layout.ts';

type Encode = (
  input: number,
  count: number,
  parentIds: number,
  wantsLz4: number,
  leave: number,
  output: number,
  kinds: number,
  ids: number,
  offsets: number,
  lengths: number,
  scratch: number,
) => number;

/**
 * What the module exports. Addresses and lengths are bytes; the sources say what each may read and
 * write.
 */
export type CoreExports = {
  isZero(at: number, length: number): number;
  isEqual(a: number, b: number, length: number): number;
  hashSubtree(
    input: number,
    length: number,
    counter: number,
    isRoot: number,
    target: number,
    scratch: number,
  ): void;
  hashParent(pair: number, isRoot: number, target: number, scratch: number): void;
  cutRun(input: number, length: number, gear: number, ends: number): number;
  compress(source: number, length: number, target: number, table: number): number;
  decompress(source: number, length: number, target: number, capacity: number): number;
  encodeRun: Encode;
  /** The same with the older image's blocks in `output`. */
  encodeDifferent: Encode;
  decodeRun(
    input: number,
    count: number,
    output: number,
    kinds: number,
    ids: number,
    offsets: number,
    lengths: number,
    scratch: number,
  ): number;
  deltaCompress(window: number, target: number, capacity: number, table: number): number;
  deltaDecompress(source: number, length: number, window: number): number;
  scratchSize: WebAssembly.Global;
  deltaTableSize: WebAssembly.Global;
};

/** An instance of the core with its own work area in a memory that others may share. */
export type Core = {
  readonly exports: CoreExports;
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array;
  readonly scratch: number;
};

const modulePath = new URL('../../build/wasm/core.wasm', import.meta.url);
let compiled: WebAssembly.Module | undefined;

/**
 * The compiled module; workers get it instead of compiling again. Throws NOT_BUILT when it was
 * never built.
 */
export function coreModule(): WebAssembly.Module {
  if (compiled) return compiled;
  try {
    compiled = new WebAssembly.Module(readFileSync(modulePath));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const path = modulePath.pathname;
    throw new CoreError('NOT_BUILT', `${path} is missing: run ./app/setup.sh`, { path });
  }
  return compiled;
}

/** A shared memory with room for that many instances and slots. It never grows. */
export function createMemory(instances: number, slots: number): WebAssembly.Memory {
  const pages = memoryPages(instances, slots);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}

/** Makes instance `index` of the module in that memory. */
export function instantiate(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  index: number,
): Core {
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  const exports = instance.exports as unknown as CoreExports;
  assert(exports.scratchSize.value <= pageSize, 'the work area fits its page');
  assert(exports.deltaTableSize.value <= pageSize, 'the tables of a difference fit theirs');
  return { exports, memory, bytes: new Uint8Array(memory.buffer), scratch: scratchAddress(index) };
}
