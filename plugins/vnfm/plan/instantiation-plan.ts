import type {
  Vdu,
  VirtualComputeDesc,
  VirtualStorageDesc,
  Vnfd,
} from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { internal, invalidArgument } from '../../../sdk/errors.ts';
import { computeId, networkId, storageId, vnfcInstanceId } from '../identifiers.ts';

const bytesPerMib = 1_048_576n;

/**
 * The resources of one component. JSON, because the operation is journaled with it; sizes in bytes
 * as text.
 */
export type VnfcResources = {
  vnfcInstanceId: string;
  vduId: string;
  computeId: string;
  environment: string;
  image: string;
  virtualCpus: number;
  memoryMib: number;
  volumes: { storageId: string; name: string; sizeBytes: string; image: string; boot: boolean }[];
  interfaces: { networkId: string; ipAddress: string }[];
  guestParameters: { [key: string]: string };
};

export type NetworkResource = { linkId: string; networkId: string; environment: string };

/** All resources that a VNF instance needs. */
export type InstantiationPlan = { networks: NetworkResource[]; vnfcs: VnfcResources[] };

/**
 * Derives the resources of a VNF from its descriptor; pure. `environment` is the technology for
 * VDUs whose descriptor names none: INVALID_ARGUMENT with reason ENVIRONMENT_MISSING when it is
 * needed and empty, ENVIRONMENT_MIXED when a virtual link would join two technologies.
 */
export function planInstantiation(
  vnfInstanceId: string,
  vnfd: Vnfd,
  environment: string,
): InstantiationPlan {
  const networks = new Map<string, NetworkResource>();
  const vnfcs = vnfd.vdu.map((vdu) => {
    const desc = computeDesc(vnfd, vdu);
    const kind = desc.virtualisationEnvironment || environment;
    if (kind === '') throw missing(vdu);
    const interfaces = vdu.intCpd.map(({ intVirtualLinkDesc: linkId, ipAddress }) => {
      const network = { linkId, networkId: networkId(vnfInstanceId, linkId), environment: kind };
      const before = networks.get(linkId) ?? network;
      if (before.environment !== kind) throw mixed(linkId, before.environment, kind);
      networks.set(linkId, before);
      return { networkId: network.networkId, ipAddress };
    });
    const vnfc = vnfcInstanceId(vdu.vduId);
    return {
      vnfcInstanceId: vnfc,
      vduId: vdu.vduId,
      computeId: computeId(vnfInstanceId, vnfc),
      environment: kind,
      image: vdu.swImage,
      virtualCpus: desc.virtualCpu,
      memoryMib: desc.virtualMemoryMib,
      volumes: vdu.virtualStorageDesc.map((id) =>
        volume(vnfInstanceId, vnfc, storageDesc(vnfd, id)),
      ),
      interfaces,
      guestParameters: { ...vdu.guestParameters },
    };
  });
  return { networks: [...networks.values()], vnfcs };
}

function volume(vnfInstanceId: string, vnfc: string, desc: VirtualStorageDesc) {
  return {
    storageId: storageId(vnfInstanceId, vnfc, desc.id),
    name: desc.id,
    sizeBytes: String(desc.sizeOfStorageMib * bytesPerMib),
    image: desc.swImage,
    boot: desc.boot,
  };
}

function computeDesc(vnfd: Vnfd, vdu: Vdu): VirtualComputeDesc {
  const id = vdu.virtualComputeDesc;
  const found = vnfd.virtualComputeDesc.find((desc) => desc.virtualComputeDescId === id);
  // The descriptor was checked before it was stored.
  if (!found) throw internal('VNFD_INVALID', `the stored VNFD has no virtualComputeDesc "${id}"`);
  return found;
}

function storageDesc(vnfd: Vnfd, id: string): VirtualStorageDesc {
  const found = vnfd.virtualStorageDesc.find((desc) => desc.id === id);
  if (!found) throw internal('VNFD_INVALID', `the stored VNFD has no virtualStorageDesc "${id}"`);
  return found;
}

function missing(vdu: Vdu) {
  return invalidArgument(
    'ENVIRONMENT_MISSING',
    `VDU "${vdu.vduId}" names no virtualisation environment; name one in the request, for example "wasmvm"`,
    { vdu: vdu.vduId },
    [{ field: 'virtualisation_environment', description: `VDU "${vdu.vduId}" needs it` }],
  );
}

function mixed(linkId: string, one: string, other: string) {
  return invalidArgument(
    'ENVIRONMENT_MIXED',
    `virtual link "${linkId}" would join components on "${one}" and on "${other}"; one link is on one technology`,
    { link: linkId, one, other },
  );
}
