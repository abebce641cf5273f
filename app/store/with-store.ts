import { Store } from '../../plugins/repository/store/store.ts';
import { CorePool } from '../../wasm/host/core-pool.ts';

/** Below this many bytes of work, starting workers takes longer than they save. */
export const singleThreadBytesMax = 128 * 1024 * 1024;

export type WithStoreOptions = {
  /** Make the repository when the folder is missing or empty. */
  create?: boolean;
  /**
   * Bytes that are going to pass through the core, as far as known; decides whether workers are
   * started.
   */
  workBytes?: number;
  /** Worker threads, 0 to 16, instead of what `workBytes` and the processors suggest. */
  workers?: number;
};

/** Opens the repository in a folder, does the work and closes everything, whatever happens. */
export async function withStore<T>(
  folder: string,
  options: WithStoreOptions,
  work: (store: Store, pool: CorePool) => Promise<T>,
): Promise<T> {
  const { create = false, workBytes = Number.POSITIVE_INFINITY } = options;
  const workers = options.workers ?? (workBytes < singleThreadBytesMax ? 0 : undefined);
  const pool = await CorePool.open(workers === undefined ? {} : { workers });
  try {
    const store = await Store.open(folder, { pool, create });
    try {
      return await work(store, pool);
    } finally {
      await store.close();
    }
  } finally {
    await pool.close();
  }
}

/** Since a moment of `performance.now()`, to the millisecond. */
export function secondsSince(startMs: number): number {
  return Math.round(performance.now() - startMs) / 1000;
}
