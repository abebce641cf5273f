import type { Clock } from '../../../sdk/ports/clock.ts';
import type { Random } from '../../../sdk/ports/random.ts';
import type { CorePool } from '../../../wasm/host/core-pool.ts';
import type { Backend } from './backend.ts';
import type { Catalog } from './catalog.ts';
import type { LeaseContext } from './lease.ts';

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
  /** Least time and bytes read between two checkpoints. */
  checkpointMsMin: number;
  checkpointBytesMin: number;
  /** Entries whose places are kept in memory; undefined for the usual number. */
  memoryEntriesMax: number | undefined;
};

/** The part of a context that leases need. */
export function leaseContext({ backend, clock, random, leaseTermMs }: StoreContext): LeaseContext {
  return { backend, clock, random, termMs: leaseTermMs };
}
