import { failedPrecondition, notFound } from '../../sdk/errors.ts';
import { jsonCollection, type RecordStore } from '../../sdk/records/record-store.ts';

/** The kinds of things whose driver the VIM remembers. */
export type ResourceKind = 'compute' | 'storage' | 'network' | 'snapshot';

/** `recovery` is the driver's opaque handle in base64, for compute resources. */
type Placement = { driver: string; recovery: string | null; recoveryVersion: number };

const collections = {
  compute: jsonCollection<Placement>('compute'),
  storage: jsonCollection<Placement>('storage'),
  network: jsonCollection<Placement>('network'),
  snapshot: jsonCollection<Placement>('snapshot'),
};

const unknownReason: Record<ResourceKind, string> = {
  compute: 'COMPUTE_UNKNOWN',
  storage: 'VOLUME_UNKNOWN',
  network: 'NETWORK_UNKNOWN',
  snapshot: 'SNAPSHOT_UNKNOWN',
};

/**
 * Which driver has which resource. A placement is durable before the driver is asked to make the resource, so a crash
 * in between leaves a name without a resource, never a resource that nobody can find.
 */
export class Resources {
  private readonly store: RecordStore;

  constructor(store: RecordStore) {
    this.store = store;
  }

  /** The driver instance that has a resource; NOT_FOUND with the kind's reason when none was ever asked to make it. */
  async driverOf(kind: ResourceKind, id: string): Promise<string> {
    const driver = await this.find(kind, id);
    if (driver) return driver;
    throw notFound(unknownReason[kind], `the VIM has no ${kind} resource "${id}"`, { id });
  }

  async find(kind: ResourceKind, id: string): Promise<string | undefined> {
    return (await this.store.collection(collections[kind]).get(id))?.value.driver;
  }

  /** Remembers a placement. FAILED_PRECONDITION when the id lives on another driver. */
  async place(kind: ResourceKind, id: string, driver: string): Promise<void> {
    const collection = this.store.collection(collections[kind]);
    const found = await collection.get(id);
    if (found && found.value.driver !== driver) {
      const text = `${kind} "${id}" is on driver "${found.value.driver}", not on "${driver}"`;
      throw failedPrecondition('ID_REUSED', text, { id, driver: found.value.driver });
    }
    if (!found) await collection.put(id, { driver, recovery: null, recoveryVersion: 0 });
  }

  /** Keeps what the driver needs to find a compute resource again after a restart. */
  async keepRecovery(id: string, driver: string, version: number, data: Uint8Array): Promise<void> {
    const recovery = Buffer.from(data).toString('base64');
    const collection = this.store.collection(collections.compute);
    const found = await collection.get(id);
    if (found?.value.recovery === recovery && found.value.recoveryVersion === version) return;
    await collection.put(id, { driver, recovery, recoveryVersion: version });
  }

  async forget(kind: ResourceKind, id: string): Promise<void> {
    await this.store.collection(collections[kind]).delete(id);
  }

  /** All compute resources with a recovery handle. */
  async *recoverable(): AsyncIterable<{
    id: string;
    driver: string;
    version: number;
    data: Uint8Array;
  }> {
    let after: string | undefined;
    do {
      const page = await this.store.collection(collections.compute).list(after ? { after } : {});
      for (const { id, value } of page.records) {
        if (value.recovery === null) continue;
        const data = new Uint8Array(Buffer.from(value.recovery, 'base64'));
        yield { id, driver: value.driver, version: value.recoveryVersion, data };
      }
      after = page.next;
    } while (after);
  }
}
