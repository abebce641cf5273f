import { fromJson, type JsonValue, toJson } from '@bufbuild/protobuf';
import {
  type ComputeSpec,
  ComputeSpecSchema,
  type InstanceSnapshot,
  InstanceSnapshotSchema,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { notFound } from '../../../sdk/errors.ts';
import {
  type Collection,
  type CollectionDefinition,
  jsonCollection,
  type RecordStore,
  recordPageMax,
  type Transaction,
} from '../../../sdk/records/record-store.ts';
import type { ProgramFacts } from './program/fitness.ts';

/**
 * What shall become of a guest when the driver starts: it runs, it was paused, it is off, or it
 * failed.
 */
export type Power = 'on' | 'paused' | 'off' | 'failed';

export type Compute = {
  id: string;
  spec: ComputeSpec;
  /** The spec of the request that made it, which a repeat is compared with. */
  requested: ComputeSpec;
  programId: string;
  program: ProgramFacts;
  power: Power;
  reason: string;
  /** How often it was reverted. */
  generation: number;
  generationId: string;
  createMs: number;
  /** Random; tells this resource from a later one with the same id. */
  incarnation: string;
};

export type Volume = {
  id: string;
  sizeBytes: number;
  requestedBytes: number;
  image: string;
  /** The file's name in the folder of volumes. Another one after every revert. */
  file: string;
  createMs: number;
};

export type Network = { id: string; createMs: number };

/** Where a changed-block map begins: an image of a snapshot. */
export type MapBase = { snapshotId: string; imageName: string };

/** The blocks that changed since the base, one bit each, in base64. */
export type StoredMap = { base: MapBase; bits: string };

export type Snapshot = {
  id: string;
  /** BEGUN → SEALED. Only imports are ever BEGUN in a record. */
  stage: 'BEGUN' | 'SEALED';
  snapshot: InstanceSnapshot;
  /** The request that made it, in canonical form, which a repeat is compared with. */
  request: string;
  maps: Record<string, StoredMap>;
};

/** The log of a volume over a clean stop. */
export type StoredLog = { base: MapBase; bits: string };

type Stored<T, K extends keyof T> = Omit<T, K> & { [P in K]: JsonValue };
const computes = jsonCollection<Stored<Compute, 'spec' | 'requested'>>('computes');
const volumes = jsonCollection<Volume>('volumes');
const networks = jsonCollection<Network>('networks');
const snapshots = jsonCollection<Stored<Snapshot, 'snapshot'>>('snapshots');
const logs = jsonCollection<StoredLog>('volume-logs');

/** Changes to write in one transaction. */
export type Change = {
  computes?: Compute[];
  volumes?: Volume[];
  networks?: Network[];
  snapshots?: Snapshot[];
  deletedComputes?: string[];
  deletedVolumes?: string[];
  deletedNetworks?: string[];
  deletedSnapshots?: string[];
};

/**
 * What the driver has: its records, all in memory, and durable before a change returns. Values are
 * replaced, never changed in place.
 */
export class Inventory {
  readonly computes = new Map<string, Compute>();
  readonly volumes = new Map<string, Volume>();
  readonly networks = new Map<string, Network>();
  readonly snapshots = new Map<string, Snapshot>();
  readonly #store: RecordStore;

  private constructor(store: RecordStore) {
    this.#store = store;
  }

  static async open(store: RecordStore): Promise<Inventory> {
    const inventory = new Inventory(store);
    for (const value of await all(store, computes)) {
      const spec = fromJson(ComputeSpecSchema, value.spec);
      const requested = fromJson(ComputeSpecSchema, value.requested);
      inventory.computes.set(value.id, { ...value, spec, requested });
    }
    for (const value of await all(store, volumes)) inventory.volumes.set(value.id, value);
    for (const value of await all(store, networks)) inventory.networks.set(value.id, value);
    for (const value of await all(store, snapshots)) {
      const snapshot = fromJson(InstanceSnapshotSchema, value.snapshot);
      inventory.snapshots.set(value.id, { ...value, snapshot });
    }
    return inventory;
  }

  /** Writes all of it or none. */
  async write(change: Change): Promise<void> {
    await this.#store.transaction((tx) => apply(tx, change));
    for (const value of change.computes ?? []) this.computes.set(value.id, value);
    for (const value of change.volumes ?? []) this.volumes.set(value.id, value);
    for (const value of change.networks ?? []) this.networks.set(value.id, value);
    for (const value of change.snapshots ?? []) this.snapshots.set(value.id, value);
    for (const id of change.deletedComputes ?? []) this.computes.delete(id);
    for (const id of change.deletedVolumes ?? []) this.volumes.delete(id);
    for (const id of change.deletedNetworks ?? []) this.networks.delete(id);
    for (const id of change.deletedSnapshots ?? []) this.snapshots.delete(id);
  }

  /** Keeps the logs of volumes over a clean stop. */
  async saveLogs(entries: ReadonlyMap<string, StoredLog>): Promise<void> {
    await this.#store.transaction(async (tx) => {
      for (const [id, value] of entries) await tx.collection(logs).put(id, value);
    });
  }

  /** Takes what saveLogs kept: it is valid once, before any guest runs. */
  async takeLogs(): Promise<Map<string, StoredLog>> {
    return await this.#store.transaction(async (tx) => {
      const taken = new Map<string, StoredLog>();
      const collection = tx.collection(logs);
      for (;;) {
        const { records } = await collection.list();
        for (const { id, value } of records) {
          taken.set(id, value);
          await collection.delete(id);
        }
        if (records.length === 0) return taken;
      }
    });
  }

  compute(id: string): Compute {
    return this.computes.get(id) ?? unknown('COMPUTE_UNKNOWN', 'compute', id);
  }

  volume(id: string): Volume {
    return this.volumes.get(id) ?? unknown('VOLUME_UNKNOWN', 'volume', id);
  }

  /** A snapshot that is whole. */
  snapshot(id: string): Snapshot {
    const found = this.snapshots.get(id);
    return found?.stage === 'SEALED' ? found : unknown('SNAPSHOT_UNKNOWN', 'snapshot', id);
  }

  /** The compute resource that a volume is attached to. */
  ownerOf(volumeId: string): Compute | undefined {
    return [...this.computes.values()].find(({ spec }) =>
      spec.volumes.some((attachment) => attachment.volumeId === volumeId),
    );
  }

  async close(): Promise<void> {
    await this.#store.close();
  }
}

/** NOT_FOUND for an id that the caller has to fix. */
export function unknown(reason: string, kind: string, id: string): never {
  throw notFound(reason, `there is no ${kind} ${JSON.stringify(id)}`, { [`${kind}_id`]: id });
}

async function apply(tx: Transaction, change: Change): Promise<void> {
  const put = async <T>(
    definition: CollectionDefinition<T>,
    values: T[],
    deleted: string[] | undefined,
  ) => {
    const collection: Collection<T> = tx.collection(definition);
    for (const value of values) await collection.put((value as { id: string }).id, value);
    for (const id of deleted ?? []) await collection.delete(id);
  };
  const storedComputes = (change.computes ?? []).map((value) => ({
    ...value,
    spec: toJson(ComputeSpecSchema, value.spec),
    requested: toJson(ComputeSpecSchema, value.requested),
  }));
  const storedSnapshots = (change.snapshots ?? []).map((value) => ({
    ...value,
    snapshot: toJson(InstanceSnapshotSchema, value.snapshot),
  }));
  await put(computes, storedComputes, change.deletedComputes);
  await put(volumes, change.volumes ?? [], change.deletedVolumes);
  await put(networks, change.networks ?? [], change.deletedNetworks);
  await put(snapshots, storedSnapshots, change.deletedSnapshots);
  await put(logs, [], change.deletedVolumes);
}

async function all<T>(store: RecordStore, definition: CollectionDefinition<T>): Promise<T[]> {
  const values: T[] = [];
  let after: string | undefined;
  do {
    const page = await store
      .collection(definition)
      .list({ order: 'oldest', limit: recordPageMax, ...(after === undefined ? {} : { after }) });
    values.push(...page.records.map(({ value }) => value));
    after = page.next;
  } while (after !== undefined);
  return values;
}
