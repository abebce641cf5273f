import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import type { VnfInstance } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import type { Vnfm } from '../vnfm.ts';

/** How the VIM says a component is. */
export type ComponentState = {
  vnfcInstanceId: string;
  state: ComputeState;
  /** It runs, or stands under the hold of an operation that lets it run on. */
  isUp: boolean;
  reason: string;
};

/** Asks the VIM for the components of a VNF; one that it does not know is FAILED. */
export async function componentStates(
  vnfm: Vnfm,
  { instantiatedVnfInfo: info }: VnfInstance,
  signal: AbortSignal,
): Promise<ComponentState[]> {
  const vnfcs = (info?.vnfcResourceInfo ?? []).map(({ id, computeResource }) => ({
    vnfcInstanceId: id,
    computeId: computeResource?.resourceId ?? '',
  }));
  if (vnfcs.length === 0) return [];
  const { queryResult } = await vnfm.peers
    .vim(info?.vimConnectionId ?? '')
    .compute.queryVirtualisedComputeResource(
      { computeIds: vnfcs.map(({ computeId }) => computeId) },
      { signal },
    );
  return vnfcs.map(({ vnfcInstanceId, computeId }) => {
    const found = queryResult.find((compute) => compute.computeId === computeId);
    const reason = found ? found.stateReason : 'the VIM does not know it any more';
    const state = found?.state ?? ComputeState.FAILED;
    const isUp = state === ComputeState.RUNNING || found?.hold !== undefined;
    return { vnfcInstanceId, state, isUp, reason };
  });
}
