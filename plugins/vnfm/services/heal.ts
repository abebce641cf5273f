import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  InstantiationState,
  type VnfInstance,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  HealAction,
  type HealVnfRequest,
  HealVnfRequestSchema,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import type { SnapshotAutomation } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import type { HandlerContext } from '../../../sdk/server.ts';
import { healVnfName } from '../procedures/heal-vnf.ts';
import type { HealVnfInput } from '../procedures/heal-work.ts';
import { requireRecord, unknownVnf, vnfInstances } from '../records.ts';
import type { VnfmServices } from '../vnfm.ts';
import { idempotent, paramsOf, startedBefore, startOperation } from './accepting.ts';
import { requireVnfcs } from './vnf-operations.ts';
import { requireState, stillIn } from './vnf-state.ts';

const { INSTANTIATED } = InstantiationState;

/** How long a VNF may take to be well, when its descriptor does not say. */
export const recoveryMsDefault = 60_000;

const actions: Readonly<Record<HealAction, HealVnfInput['action']>> = {
  [HealAction.UNSPECIFIED]: 'decide',
  [HealAction.RESTART]: 'restart',
  [HealAction.REVERT]: 'revert',
  [HealAction.SNAPSHOT]: 'snapshot',
};

/** Heal VNF (ETSI GS NFV-SOL 003 clause 5.4.9). */
export function healHandler(vnfm: VnfmServices) {
  return async (request: HealVnfRequest, context: HandlerContext) => {
    const known = idempotent(HealVnfRequestSchema, request, context);
    const before = await startedBefore(vnfm, known);
    if (before !== undefined) return { lifecycleOperationOccurrenceId: before };
    const { vnfInstanceId } = request;
    const { value: vnf } = await requireRecord(vnfm.store, vnfInstances, vnfInstanceId, unknownVnf);
    requireState(vnf, INSTANTIATED);
    requireVnfcs(vnf, request.vnfcInstanceIds);
    const id = await startOperation<HealVnfInput>(vnfm, {
      definition: healVnfName,
      input: healInput(vnf, request),
      // What it starts takes the VNF; two healings would undo each other's work.
      key: `heal ${vnfInstanceId}`,
      vnfInstanceId,
      request: known,
      params: paramsOf(HealVnfRequestSchema, request),
      record: (tx) => stillIn(tx, vnfInstanceId, INSTANTIATED),
    });
    return { lifecycleOperationOccurrenceId: id };
  };
}

function healInput(vnf: VnfInstance, request: HealVnfRequest): HealVnfInput {
  const automation: SnapshotAutomation | undefined = vnf.vnfd?.snapshotDescriptor?.automation;
  return {
    uses: [],
    vnfInstanceId: vnf.id,
    vnfdId: vnf.vnfdId,
    vim: vnf.instantiatedVnfInfo?.vimConnectionId ?? '',
    cause: request.cause,
    action: actions[request.action] ?? 'decide',
    vnfcInstanceIds: request.vnfcInstanceIds,
    snapshotBefore: request.snapshotBefore || automation?.beforeHeal === true,
    mayRevert: automation?.revertToHeal === true,
    recoveryMs: automation?.recoveryTimeout
      ? Math.round(durationMs(automation.recoveryTimeout))
      : recoveryMsDefault,
  };
}
