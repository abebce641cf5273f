import type { JsonValue, MessageInitShape } from '@bufbuild/protobuf';
import type { GrantRequestSchema } from '../../../gen/nfv/grant/v1/grant_pb.js';
import type { Step, StepContext } from '../../../sdk/operations/engine.ts';
import { vnfInstances } from '../records.ts';
import type { Vnfm } from '../vnfm.ts';

const grantDeadlineMs = 30_000;
/** How often a request that waits for a person is asked again. */
const askAgainMs = 1_000;
/** How long a person may take to decide: a day. */
const approvalMsMax = 24 * 3_600_000;

export type GrantRequestInit = Omit<MessageInitShape<typeof GrantRequestSchema>, '$typeName'>;

/** What a grant says about the place of new resources. */
export type Granted = { vimConnectionId: string };

/** Asks the NFVO whether the operation may go on. Nothing is changed before. */
export function grantStep<Input extends JsonValue>(
  vnfm: Vnfm,
  at: { clause: string; clauseStep: string },
  request: (input: Input) => GrantRequestInit,
): Step<Input> {
  return { ...asking(vnfm, at, request), starting: true };
}

/** The same for one VNFC snapshot package in the midst of an operation (6.6.1 and 6.6.3 step 2). */
export function grantPartStep<Input extends JsonValue>(
  vnfm: Vnfm,
  at: { clause: string; clauseStep: string },
  vnfcInstanceId: string,
  request: (input: Input) => GrantRequestInit,
): Step<Input> {
  return { ...asking(vnfm, at, request), name: `grant ${vnfcInstanceId}`, vnfcInstanceId };
}

function asking<Input extends JsonValue>(
  vnfm: Vnfm,
  at: { clause: string; clauseStep: string },
  request: (input: Input) => GrantRequestInit,
): Step<Input> {
  return {
    name: 'grant',
    ...at,
    caller: 'vnfm',
    callee: 'nfvo',
    retryable: true,
    deadlineMs: approvalMsMax,
    run: async (context): Promise<Granted> => {
      const grantRequest = await requestOf(vnfm, request(context.input), context);
      const ask = () =>
        vnfm.peers.granting.grantVnfLifecycleOperation(
          { grantRequest },
          { signal: context.signal, deadlineMs: grantDeadlineMs },
        );
      let { grant, pendingGrant } = await ask();
      if (pendingGrant) context.note(`a person had to decide: ${pendingGrant.reason}`);
      while (pendingGrant) {
        context.progress(0, 0, `waits for a person to decide: ${pendingGrant.reason}`);
        await vnfm.clock.sleep(askAgainMs, context.signal);
        ({ grant, pendingGrant } = await ask());
      }
      if (grant) context.grant(grant.id);
      return { vimConnectionId: grant?.vimConnectionId ?? '' };
    },
  };
}

/** The request, with what the VNF's descriptor says of the operation (Vnfsd.015). */
async function requestOf(
  vnfm: Vnfm,
  request: GrantRequestInit,
  { operationId, occurrence }: Pick<StepContext, 'operationId' | 'occurrence'>,
): Promise<GrantRequestInit> {
  const id = request.vnfInstanceId ?? '';
  const vnf = id === '' ? undefined : await vnfm.store.collection(vnfInstances).get(id);
  const policies = vnf?.value.vnfd?.snapshotDescriptor?.grantingPolicies ?? [];
  const named = policies.find(({ operation }) => operation === request.operation);
  return {
    ...request,
    vnfLcmOpOccId: operationId,
    isAutomaticInvocation: occurrence.isAutomaticInvocation,
    ...(named && { descriptorPolicy: named.policy }),
  };
}
