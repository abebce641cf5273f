import {
  type Grant,
  type GrantRequest,
  VnfLifecycleOperationGrantingService,
} from '../../gen/nfv/grant/v1/grant_pb.js';
import { OperationType } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { notFound, permissionDenied } from '../../sdk/errors.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import type { Random } from '../../sdk/ports/random.ts';
import { implement } from '../../sdk/server.ts';
import type { Approvals } from './approvals.ts';
import { type FactSources, gatherFacts } from './facts.ts';
import { decide, type Policy } from './policy.ts';

export type GrantingParts = {
  policy: Policy;
  approvals: Approvals;
  facts: FactSources;
  /** Where new resources are placed. */
  vim: string;
  random: Random;
  logger: Logger;
};

/** Granting of lifecycle, snapshot and package operations (GR NFV-TST 005 clause 7.2.1, Nfvo.001). */
export function grantingService(parts: GrantingParts) {
  const { approvals, facts, logger } = parts;
  const { grants } = facts;
  // One after the other: two requests must not both take the last place of a quota.
  let last: Promise<unknown> = Promise.resolve();
  return implement(
    VnfLifecycleOperationGrantingService,
    {
      grantVnfLifecycleOperation: ({ grantRequest }, { signal }) => {
        // A query takes no place, and facts about packages are had by one.
        if (grantRequest!.vnfLcmOpOccId === '') return grant(parts, grantRequest!, signal);
        const answer = last.then(() => grant(parts, grantRequest!, signal));
        last = answer.catch(() => {});
        return answer;
      },
      listPendingGrants: async () => ({ pendingGrants: await approvals.list() }),
      decideGrant: async ({ pendingGrantId, granted, reason }) => {
        await approvals.decide(pendingGrantId, granted, reason);
        logger.info('a person decided on a grant', { operation: pendingGrantId, granted });
        return {};
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

async function grant(parts: GrantingParts, request: GrantRequest, signal: AbortSignal) {
  const { policy, approvals, facts, logger } = parts;
  const operation = OperationType[request.operation] ?? String(request.operation);
  const found = decide(policy, request, await gatherFacts(policy, request, facts, signal));
  const { rule } = found;
  let { decision, reason } = found;
  if (decision === 'ask' && request.vnfLcmOpOccId === '') {
    decision = 'refuse';
    reason = `${reason}, and a query cannot wait for a person`;
  } else if (decision === 'ask') {
    const asked = await approvals.ask(request, found);
    if ('pending' in asked) return { pendingGrant: asked.pending };
    decision = asked.decision.granted ? 'grant' : 'refuse';
    reason = asked.decision.reason || 'a person refused it';
  }
  logger.info('decided on a grant', { operation, decision, rule, ...subject(request) });
  if (decision === 'grant') return { grant: await give(parts, request, rule) };
  const text = `the NFVO refuses ${operation}: ${reason}`;
  throw permissionDenied('GRANT_REFUSED', text, { rule, operation });
}

function give(
  { facts, random, vim }: GrantingParts,
  request: GrantRequest,
  rule: string,
): Promise<Grant> {
  const { vnfInstanceId, vnfLcmOpOccId, operation } = request;
  return facts.grants.add({
    ...{ id: `grant-${random.uuid()}`, vnfInstanceId, vnfLcmOpOccId, operation },
    ...{ vimConnectionId: vim, rule },
  });
}

function subject(request: { vnfInstanceId: string; vnfSnapshotPkgId: string }) {
  return { vnf: request.vnfInstanceId, package: request.vnfSnapshotPkgId };
}
