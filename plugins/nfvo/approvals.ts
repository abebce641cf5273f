import { create, fromJson, type JsonValue, toJson } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import {
  type GrantRequest,
  GrantRequestSchema,
  type PendingGrant,
  PendingGrantSchema,
} from '../../gen/nfv/grant/v1/grant_pb.js';
import { failedPrecondition, notFound } from '../../sdk/errors.ts';
import type { Clock } from '../../sdk/ports/clock.ts';
import { jsonCollection, type RecordStore } from '../../sdk/records/record-store.ts';

/** A request that waits, or waited, for a person; by the occurrence that waits. */
type Kept = {
  request: JsonValue;
  rule: string;
  reason: string;
  sinceMs: number;
  decision: { granted: boolean; reason: string } | null;
};

const approvals = jsonCollection<Kept>('approvals');

/** Who has not asked again for so long has gone away. */
const askedAgainMsMax = 60_000;
/** Requests that are kept; the oldest are forgotten. */
const approvalsMax = 1_000;

/** Requests that a person decides on. Decisions survive a restart. */
export class Approvals {
  readonly #store: RecordStore;
  readonly #clock: Clock;
  /** When each was last asked for, by this process. */
  readonly #askedMs = new Map<string, number>();

  constructor(store: RecordStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** The decision on a request, or that it waits; it is written down when it is new. */
  async ask(
    request: GrantRequest,
    { rule, reason }: { rule: string; reason: string },
  ): Promise<{ decision: NonNullable<Kept['decision']> } | { pending: PendingGrant }> {
    const id = request.vnfLcmOpOccId;
    const nowMs = this.#clock.now().getTime();
    this.#askedMs.set(id, nowMs);
    const kept = await this.#store.transaction(async (tx) => {
      const collection = tx.collection(approvals);
      const known = await collection.get(id);
      if (known !== undefined) return known.value;
      const json = toJson(GrantRequestSchema, request);
      const fresh: Kept = { request: json, rule, reason, sinceMs: nowMs, decision: null };
      await collection.insert(id, fresh);
      const surplus = (await collection.count()) - approvalsMax;
      if (surplus > 0) {
        const oldest = await collection.list({ order: 'oldest', limit: Math.min(surplus, 1000) });
        for (const each of oldest.records) {
          await collection.delete(each.id);
          this.#askedMs.delete(each.id);
        }
      }
      return fresh;
    });
    return kept.decision ? { decision: kept.decision } : { pending: pendingOf(id, kept) };
  }

  /** What waits, oldest first. */
  async list(): Promise<PendingGrant[]> {
    const sinceMs = this.#clock.now().getTime() - askedAgainMsMax;
    const { records } = await this.#store
      .collection(approvals)
      .list({ order: 'oldest', limit: approvalsMax });
    return records
      .filter(({ id, value }) => !value.decision && (this.#askedMs.get(id) ?? 0) >= sinceMs)
      .map(({ id, value }) => pendingOf(id, value));
  }

  /** NOT_FOUND, GRANT_UNKNOWN; FAILED_PRECONDITION, GRANT_DECIDED. */
  async decide(id: string, granted: boolean, reason: string): Promise<void> {
    await this.#store.transaction(async (tx) => {
      const known = await tx.collection(approvals).get(id);
      if (!known) {
        throw notFound('GRANT_UNKNOWN', `no request "${id}" waits for a decision`, { grant: id });
      }
      const { decision } = known.value;
      if (decision && decision.granted !== granted) {
        const was = decision.granted ? 'granted' : 'refused';
        throw failedPrecondition('GRANT_DECIDED', `request "${id}" was ${was} before`, {
          grant: id,
        });
      }
      if (decision) return;
      await tx.collection(approvals).update(id, { ...known.value, decision: { granted, reason } });
    });
  }
}

function pendingOf(id: string, { request, rule, reason, sinceMs }: Kept): PendingGrant {
  return create(PendingGrantSchema, {
    ...{ id, rule, reason, grantRequest: fromJson(GrantRequestSchema, request) },
    requestTime: timestampFromDate(new Date(sinceMs)),
  });
}
