import { create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import {
  GrantSchema,
  VnfLifecycleOperationGrantingService,
} from '../../gen/nfv/grant/v1/grant_pb.js';
import { OperationType } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { notFound, permissionDenied } from '../../sdk/errors.ts';
import type { Clock } from '../../sdk/ports/clock.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import type { Random } from '../../sdk/ports/random.ts';
import { messageCollection, type RecordStore } from '../../sdk/records/record-store.ts';
import { implement } from '../../sdk/server.ts';
import { decide, type Policy } from './policy.ts';

const grants = messageCollection('grants', GrantSchema);
/** Grants that are kept; the oldest are forgotten. Nothing but GetGrant reads them. */
export const grantsMax = 10_000;

export type GrantingParts = {
  policy: Policy;
  store: RecordStore;
  /** Where new resources are placed. */
  vim: string;
  clock: Clock;
  random: Random;
  logger: Logger;
};

/** Granting of lifecycle, snapshot and package operations (GR NFV-TST 005 clause 7.2.1, Nfvo.001). */
export function grantingService(parts: GrantingParts) {
  const { policy, store, clock, random, logger } = parts;
  return implement(
    VnfLifecycleOperationGrantingService,
    {
      grantVnfLifecycleOperation: async ({ grantRequest }) => {
        const request = grantRequest!;
        const operation = OperationType[request.operation] ?? String(request.operation);
        const { granted, rule, reason } = decide(policy, request);
        logger.info('decided on a grant', { operation, granted, rule, ...subject(request) });
        if (!granted) {
          const text = `the NFVO refuses ${operation}: ${reason}`;
          throw permissionDenied('GRANT_REFUSED', text, { rule, operation });
        }
        const grant = create(GrantSchema, {
          id: `grant-${random.uuid()}`,
          vnfInstanceId: request.vnfInstanceId,
          vnfLcmOpOccId: request.vnfLcmOpOccId,
          operation: request.operation,
          vimConnectionId: parts.vim,
          rule,
          grantTime: timestampFromDate(clock.now()),
        });
        await store.transaction(async (tx) => {
          const collection = tx.collection(grants);
          await collection.insert(grant.id, grant);
          const surplus = (await collection.count()) - grantsMax;
          if (surplus <= 0) return;
          const oldest = await collection.list({ order: 'oldest', limit: Math.min(surplus, 1000) });
          for (const { id } of oldest.records) await collection.delete(id);
        });
        return { grant };
      },
      getGrant: async ({ grantId }) => {
        const found = await store.collection(grants).get(grantId);
        if (found) return { grant: found.value };
        throw notFound('GRANT_UNKNOWN', `there is no grant "${grantId}"`, { grant: grantId });
      },
    },
    { logger },
  );
}

function subject(request: { vnfInstanceId: string; vnfSnapshotPkgId: string }) {
  return { vnf: request.vnfInstanceId, package: request.vnfSnapshotPkgId };
}
