/**
 * The process that the fault tests kill: `node steps.ts FOLDER STEP…`, each step acknowledged on
 * standard output when it is reported done. A step is `pack:ID:SEED:BLOCKS[:PARENT]`, `delete:ID`,
 * `gc` or `rss`.
 */

import { Store } from '../../../../plugins/repository/store/store.ts';
import { isRpcError } from '../../../../sdk/errors.ts';
import { CorePool } from '../../../../wasm/host/core-pool.ts';
import { blockSize, MemorySource, noise } from '../../../unit/repository/store/support.ts';

/** The image of a seed: the first half is common to all of them. */
export function imageOf(seed: string, blocks: number): Uint8Array {
  const half = Math.floor(blocks / 2) * blockSize;
  const bytes = new Uint8Array(blocks * blockSize);
  bytes.set(noise(half, 'common'));
  bytes.set(noise(bytes.length - half, seed), half);
  return bytes;
}

async function runStep(store: Store, step: string): Promise<void> {
  const [what, id, seed, blocks, parent] = step.split(':');
  if (what === 'pack') {
    const source = new MemorySource(imageOf(seed!, Number(blocks)));
    const files = [{ name: 'record.json', bytes: Buffer.from(`{"id":"${id}"}`) }];
    const options = { packageId: id!, files, ...(parent && { parent }) };
    await store.pack([{ name: 'd', source }], options);
  } else if (what === 'delete') {
    // A repetition after a crash may find it deleted.
    await store.delete(id!).catch((error) => {
      if (!isRpcError(error, 'PACKAGE_UNKNOWN')) throw error;
    });
  } else if (what === 'gc') await store.gc();
  else throw new Error(`unknown step ${step}`);
}

async function main(folder: string, steps: string[]): Promise<void> {
  const pool = await CorePool.open({ workers: 0 });
  const store = await Store.open(folder, { pool, create: true, segmentBytesMax: 400_000 });
  for (const step of steps) {
    await runStep(store, step);
    process.stdout.write(`${step}\n`);
  }
  await store.close();
  await pool.close();
}

if (process.argv[1] === import.meta.filename) {
  const [folder, ...steps] = process.argv.slice(2);
  await main(folder!, steps);
}
