import type { VnfInstance } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { type Situation, situationOf } from '../plan/situation.ts';
import type { Vnfm } from '../vnfm.ts';

/** Asks the VIM how the components of a VNF are, and what their drivers can do now. */
export async function readSituation(
  vnfm: Vnfm,
  vnf: VnfInstance,
  signal: AbortSignal,
): Promise<Situation> {
  const info = vnf.instantiatedVnfInfo;
  const { compute } = vnfm.peers.vim(info?.vimConnectionId ?? '');
  const computeIds = (info?.vnfcResourceInfo ?? []).flatMap((vnfc) =>
    vnfc.computeResource ? [vnfc.computeResource.resourceId] : [],
  );
  const [{ queryResult }, { drivers }] = await Promise.all([
    compute.queryVirtualisedComputeResource({ computeIds }, { signal }),
    compute.querySnapshotCapabilities({}, { signal }),
  ]);
  return situationOf(vnf, queryResult, drivers, vnfm.clock.now());
}
