import type { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import type { Client } from '../../../sdk/client.ts';

export type DriverClient = Client<typeof DriverService>;

/** Remembers what was made, so that it goes away whatever happens. */
export class Tracker {
  readonly computes = new Set<string>();
  readonly volumes = new Set<string>();
  readonly networks = new Set<string>();
  readonly snapshots = new Set<string>();
  readonly #client: () => DriverClient;

  constructor(client: () => DriverClient) {
    this.#client = client;
  }

  /**
   * Deletes everything, in the order that references ask for. Returns what could not be deleted and
   * why.
   */
  async clean(): Promise<string[]> {
    const client = this.#client();
    const failures: string[] = [];
    const each = async (ids: Set<string>, remove: (id: string) => Promise<unknown>) => {
      for (const id of ids) {
        await remove(id).catch((error: Error) => failures.push(`${id}: ${error.message}`));
      }
      ids.clear();
    };
    await each(this.snapshots, (snapshotId) => client.deleteInstanceSnapshot({ snapshotId }));
    await each(this.computes, (computeId) => client.deleteCompute({ computeId }));
    await each(this.volumes, (volumeId) => client.deleteVolume({ volumeId }));
    await each(this.networks, (networkId) => client.deleteNetwork({ networkId }));
    return failures;
  }
}
