/** Sources, targets and stores in memory and in temporary folders, for the tests of the store. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { BlockSource, SourceExtent } from '../../../../plugins/repository/sources/source.ts';
import { Store, type StoreOptions } from '../../../../plugins/repository/store/store.ts';
import type { BlockTarget } from '../../../../plugins/repository/targets/target.ts';
import { isRpcError } from '../../../../sdk/errors.ts';
import { CorePool } from '../../../../wasm/host/core-pool.ts';

export const blockSize = 65536;

/** A folder that is removed after the test. */
export async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'store-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A store in a new folder, with a pool without workers; both are closed after the test. */
export async function temporaryStore(
  t: ExecutionContext,
  options: Partial<StoreOptions> = {},
): Promise<Store> {
  return await openStore(t, join(await temporaryFolder(t), 'repository'), options);
}

export async function openStore(
  t: ExecutionContext,
  folder: string,
  options: Partial<StoreOptions> = {},
): Promise<Store> {
  const pool = await CorePool.open({ workers: 0 });
  t.teardown(() => pool.close());
  const store = await Store.open(folder, { pool, create: true, ...options });
  t.teardown(() => store.close());
  return store;
}

/** An image in memory that records what was read of it. */
export class MemorySource implements BlockSource {
  readonly name: string;
  readonly sizeBytes: number;
  readonly reads: { offset: number; length: number }[] = [];
  readonly bytes: Uint8Array;
  private readonly zero: (block: number) => boolean;

  /** `zero` says which blocks the source knows to be zero. */
  constructor(bytes: Uint8Array, zero: (block: number) => boolean = () => false, name = 'memory') {
    this.bytes = bytes;
    this.sizeBytes = bytes.length;
    this.zero = zero;
    this.name = name;
  }

  async *extents(): AsyncGenerator<SourceExtent> {
    for (let offset = 0; offset < this.sizeBytes; offset += blockSize) {
      const length = Math.min(blockSize, this.sizeBytes - offset);
      const kind = this.zero(offset / blockSize) ? 'zero' : 'data';
      yield { offset, length, kind };
    }
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.reads.push({ offset, length: target.length });
    target.fill(0);
    target.set(this.bytes.subarray(offset, offset + target.length));
  }

  async close(): Promise<void> {}
}

/** A target in memory. */
export class MemoryTarget implements BlockTarget {
  readonly bytes: Uint8Array;
  state: 'writing' | 'finished' | 'aborted' = 'writing';

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.bytes.set(bytes, offset);
  }

  async finish(): Promise<void> {
    this.state = 'finished';
  }

  async abort(): Promise<void> {
    if (this.state === 'writing') this.state = 'aborted';
  }
}

/**
 * Bytes that look like a disk: blocks that compress, that do not, that repeat and that are zero.
 */
export function makeImage(sizeBytes: number, seed: string): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (let block = 0; block * blockSize < sizeBytes; block++) {
    const content = makeBlock(block, `${seed}/${block}`);
    const offset = block * blockSize;
    bytes.set(content.subarray(0, Math.min(blockSize, sizeBytes - offset)), offset);
  }
  return bytes;
}

/** One block: every fifth is zero, every third random, the others text. */
export function makeBlock(kind: number, seed: string): Uint8Array {
  if (kind % 5 === 4) return new Uint8Array(blockSize);
  if (kind % 3 === 2) return noise(blockSize, seed);
  return new Uint8Array(Buffer.alloc(blockSize, `${seed} some text that compresses well; `));
}

/** Bytes that do not compress, the same for the same seed. */
export function noise(length: number, seed: string): Uint8Array {
  return new Uint8Array(
    createHash('shake256', { outputLength: length }).update(seed).digest().subarray(0, length),
  );
}

/** Unpacks one image into memory. */
export async function unpackBytes(store: Store, packageId: string, image: string) {
  const manifest = await store.manifest(packageId);
  const record = manifest.images.find(({ name }) => name === image)!;
  const target = new MemoryTarget(record.logicalBytes);
  const [result] = await store.unpack(packageId, new Map([[image, target]]));
  return { bytes: target.bytes, state: target.state, result: result! };
}

/** Asserts that the call fails with this code's reason, and returns the error. */
export async function throwsReason(
  t: ExecutionContext,
  call: () => Promise<unknown>,
  reason: string,
) {
  const error = await t.throwsAsync(call);
  t.true(isRpcError(error, reason), `want ${reason}, got ${error?.stack}`);
  return error as Error & { metadata: Record<string, string> };
}

/** Asserts equality without AVA's comparison, which is slow for megabytes. */
export function sameBytes(t: ExecutionContext, actual: Uint8Array, expected: Uint8Array): void {
  t.is(actual.length, expected.length);
  t.is(Buffer.compare(actual, expected), 0, 'the bytes differ');
}
