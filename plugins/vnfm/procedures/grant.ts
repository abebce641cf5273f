import type { JsonValue, MessageInitShape } from '@bufbuild/protobuf';
import type { GrantRequestSchema } from '../../../gen/nfv/grant/v1/grant_pb.js';
import type { Step } from '../../../sdk/operations/engine.ts';
import type { Vnfm } from '../vnfm.ts';

const grantDeadlineMs = 30_000;

export type GrantRequestInit = Omit<MessageInitShape<typeof GrantRequestSchema>, '$typeName'>;

/** What a grant says about the place of new resources. */
export type Granted = { vimConnectionId: string };

/** Asks the NFVO whether the operation may go on. Nothing is changed before. */
export function grantStep<Input extends JsonValue>(
  vnfm: Vnfm,
  at: { clause: string; clauseStep: string },
  request: (input: Input) => GrantRequestInit,
): Step<Input> {
  return {
    name: 'grant',
    ...at,
    caller: 'vnfm',
    callee: 'nfvo',
    starting: true,
    retryable: true,
    deadlineMs: grantDeadlineMs,
    run: async (context): Promise<Granted> => {
      const { grant } = await vnfm.peers.granting.grantVnfLifecycleOperation(
        { grantRequest: { ...request(context.input), vnfLcmOpOccId: context.operationId } },
        { signal: context.signal, deadlineMs: grantDeadlineMs },
      );
      if (grant) context.grant(grant.id);
      return { vimConnectionId: grant?.vimConnectionId ?? '' };
    },
  };
}
