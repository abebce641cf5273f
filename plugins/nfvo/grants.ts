import { create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import {
  type Grant,
  GrantSchema,
  type ResourceCall,
  ResourceCallSchema,
} from '../../gen/nfv/grant/v1/grant_pb.js';
import type { Clock } from '../../sdk/ports/clock.ts';
import {
  jsonCollection,
  messageCollection,
  type RecordStore,
} from '../../sdk/records/record-store.ts';

/** Grants that are kept; the oldest are forgotten. */
export const grantsMax = 10_000;
/** Calls that one grant lists. */
export const resourceCallsMax = 1_000;

const grants = messageCollection('grants', GrantSchema);
/** The id of the grant that an operation got last. */
const grantOfOperation = jsonCollection<string>('grant-of-operation');

/** What the NFVO has granted, and what was done under it. */
export class Grants {
  readonly #store: RecordStore;
  readonly #clock: Clock;

  constructor(store: RecordStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Keeps a grant, but not that of a query, which has no occurrence: who polls would push out those that are at work. */
  async add(grant: Omit<Grant, '$typeName' | 'grantTime' | 'resourceCalls'>): Promise<Grant> {
    const grantTime = timestampFromDate(this.#clock.now());
    const record = create(GrantSchema, { ...grant, grantTime });
    if (record.vnfLcmOpOccId === '') return record;
    await this.#store.transaction(async (tx) => {
      const collection = tx.collection(grants);
      const byOperation = tx.collection(grantOfOperation);
      await collection.insert(record.id, record);
      await byOperation.put(record.vnfLcmOpOccId, record.id);
      const surplus = (await collection.count()) - grantsMax;
      if (surplus <= 0) return;
      const oldest = await collection.list({ order: 'oldest', limit: Math.min(surplus, 1000) });
      for (const { id, value } of oldest.records) {
        await collection.delete(id);
        const newest = await byOperation.get(value.vnfLcmOpOccId);
        if (newest?.value === id) await byOperation.delete(value.vnfLcmOpOccId);
      }
    });
    return record;
  }

  async find(id: string): Promise<Grant | undefined> {
    return (await this.#store.collection(grants).get(id))?.value;
  }

  async ofOperation(operationId: string): Promise<Grant | undefined> {
    const id = (await this.#store.collection(grantOfOperation).get(operationId))?.value;
    return id === undefined ? undefined : await this.find(id);
  }

  /** Lists a call under a grant; false when the grant's list is full or the grant is forgotten. */
  async record(grantId: string, call: Omit<ResourceCall, '$typeName' | 'time'>): Promise<boolean> {
    const time = timestampFromDate(this.#clock.now());
    return await this.#store.transaction(async (tx) => {
      const found = await tx.collection(grants).get(grantId);
      if (!found || found.value.resourceCalls.length >= resourceCallsMax) return false;
      found.value.resourceCalls.push(create(ResourceCallSchema, { ...call, time }));
      await tx.collection(grants).update(grantId, found.value);
      return true;
    });
  }
}
