import type { VnfInstance } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import type { VnfmServices } from '../vnfm.ts';

/**
 * Fills in where the components can be spoken to now: a start or a reversion may give them another
 * channel, so the VIM is asked. A VIM that does not answer leaves them empty: an old address could
 * be somebody else's by now.
 */
export async function fillChannels(
  vnfm: VnfmServices,
  instances: readonly VnfInstance[],
): Promise<void> {
  await Promise.all(instances.map((vnf) => fillOne(vnfm, vnf)));
}

async function fillOne(vnfm: VnfmServices, vnf: VnfInstance): Promise<void> {
  const info = vnf.instantiatedVnfInfo;
  if (!info || info.vnfcResourceInfo.length === 0) return;
  const channels = await channelsOf(
    vnfm,
    info.vimConnectionId,
    info.vnfcResourceInfo.map((vnfc) => vnfc.computeResource?.resourceId ?? ''),
  );
  for (const vnfc of info.vnfcResourceInfo) {
    vnfc.vnfChannel = channels.get(vnfc.computeResource?.resourceId ?? '') ?? '';
  }
}

async function channelsOf(
  vnfm: VnfmServices,
  vim: string,
  computeIds: string[],
): Promise<Map<string, string>> {
  try {
    const { compute } = vnfm.peers.vim(vim);
    const { queryResult } = await compute.queryVirtualisedComputeResource({ computeIds });
    return new Map(queryResult.map(({ computeId, vnfChannel }) => [computeId, vnfChannel]));
  } catch (error) {
    vnfm.logger.warn('the VIM did not tell the channels of a VNF', { vim, error });
    return new Map();
  }
}
