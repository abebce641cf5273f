/** What the VNFM adds to a snapshot besides the VNF itself: clauses 4.2.1 step 4 and 4.3.1 step 4. */
import { create, fromJson, type JsonValue, toJson } from '@bufbuild/protobuf';
import {
  type VirtualCompute,
  VirtualComputeSchema,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  type OperationalInformation,
  OperationalInformationSchema,
  SnapshotPurpose,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import type { StepContext } from '../../../sdk/operations/engine.ts';
import type { Vnfm } from '../vnfm.ts';

/** Operations that a snapshot tells of. */
const operationsMax = 10;

export function wantsInformation(purpose: SnapshotPurpose): boolean {
  return purpose === SnapshotPurpose.POST_MORTEM || purpose === SnapshotPurpose.RECOVERY;
}

/**
 * A component as the VIM tells of it, for the journal; without what only its driver understands and
 * paths of this machine.
 */
export function computeJson(compute: VirtualCompute): JsonValue {
  const { recoveryHandle: _, ...told } = compute;
  return toJson(VirtualComputeSchema, { ...told, vnfChannel: '' });
}

export async function operationalInformation(
  vnfm: Vnfm,
  context: Pick<StepContext, 'occurrence' | 'outputIfDone'>,
): Promise<OperationalInformation> {
  const { vnfInstanceId } = context.occurrence;
  const computes = context.outputIfDone<JsonValue[]>('check') ?? [];
  return create(OperationalInformationSchema, {
    operations: await vnfm.own.latest(vnfInstanceId, operationsMax),
    vnfIndicators: vnfm.indicators.of(vnfInstanceId),
    computes: computes.map((compute) => fromJson(VirtualComputeSchema, compute)),
  });
}
