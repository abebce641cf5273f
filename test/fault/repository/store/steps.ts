/**
 * The process that the fault tests kill: `node steps.ts FOLDER STEP…`, each step acknowledged on
 * standard output when it is reported done. A step is `pack:ID:SEED:BLOCKS[:PARENT]`, `delete:ID`,
 * `gc` or `repair:FOLDER` of another store.
 */

import { Store } from '../../../../plugins/repository/store/store.ts';
import { isRpcError } from '../../../../sdk/errors.ts';
import { CorePool } from '../../../../wasm/host/core-pool.ts';
import { blockSize, MemorySource, noise } from '../../../unit/repository/store/support.ts';

/**
 * The image of a seed: the first half is common to all of them, the third quarter differs in a few
 * bytes of each block, so that it is stored as differences where there is a parent.
 */
export function imageOf(seed: string, blocks: number): Uint8Array {
  const quarter = Math.floor(blocks / 4) * blockSize;
  const bytes = Buffer.alloc(blocks * blockSize);
  bytes.set(noise(3 * quarter, 'common'));
  for (let at = 2 * quarter; at < 3 * quarter; at += blockSize) bytes.write(`${seed} ${at}`, at);
  bytes.set(noise(bytes.length - 3 * quarter, seed), 3 * quarter);
  return new Uint8Array(bytes);
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
  else if (what === 'repair') await repairFrom(store, id!);
  else throw new Error(`unknown step ${step}`);
}

async function repairFrom(store: Store, folder: string): Promise<void> {
  const pool = await CorePool.open({ workers: 0 });
  const other = await Store.open(folder, { pool });
  await store.repair({ from: [other] });
  await other.close();
  await pool.close();
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
