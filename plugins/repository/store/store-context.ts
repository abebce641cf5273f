import type { Clock } from '../../../sdk/ports/clock.ts';
import type { Random } from '../../../sdk/ports/random.ts';
import type { CorePool } from '../../../wasm/host/core-pool.ts';
import type { Backend } from './backend.ts';
import type { Catalog } from './catalog.ts';

/** What every operation of an open store works with. */
export type StoreContext = {
  backend: Backend;
  catalog: Catalog;
  pool: CorePool;
  clock: Clock;
  random: Random;
  /** Term of leases in milliseconds. */
  leaseTermMs: number;
  /** Size at which a segment is closed, in bytes. */
  segmentBytesMax: number;
};
