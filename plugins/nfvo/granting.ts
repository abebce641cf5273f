import { VnfLifecycleOperationGrantingService } from '../../gen/nfv/grant/v1/grant_pb.js';
import { OperationType } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { notFound, permissionDenied } from '../../sdk/errors.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import type { Random } from '../../sdk/ports/random.ts';
import { implement } from '../../sdk/server.ts';
import type { Grants } from './grants.ts';
import { decide, type Policy } from './policy.ts';

export type GrantingParts = {
  policy: Policy;
  grants: Grants;
  /** Where new resources are placed. */
  vim: string;
  random: Random;
  logger: Logger;
};

/** Granting of lifecycle, snapshot and package operations (GR NFV-TST 005 clause 7.2.1, Nfvo.001). */
export function grantingService({ policy, grants, vim, random, logger }: GrantingParts) {
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
        const grant = await grants.add({
          id: `grant-${random.uuid()}`,
          vnfInstanceId: request.vnfInstanceId,
          vnfLcmOpOccId: request.vnfLcmOpOccId,
          operation: request.operation,
          vimConnectionId: vim,
          rule,
        });
        return { grant };
      },
      getGrant: async ({ grantId }) => {
        const grant = await grants.find(grantId);
        if (grant) return { grant };
        throw notFound('GRANT_UNKNOWN', `there is no grant "${grantId}"`, { grant: grantId });
      },
    },
    { logger },
  );
}

function subject(request: { vnfInstanceId: string; vnfSnapshotPkgId: string }) {
  return { vnf: request.vnfInstanceId, package: request.vnfSnapshotPkgId };
}
