import type { DriverCapabilities } from '../../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import {
  ComputeState,
  type VirtualCompute,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import type { VnfInstance } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import type { Vnfd } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { failedPrecondition, type RpcError } from '../../../sdk/errors.ts';
import { type DriverView, driverOf } from './capabilities.ts';

/** A volume of a component: its identifier at the VIM and its name in snapshots. JSON, because plans are journaled. */
export type Disk = {
  storageId: string;
  name: string;
  boot: boolean;
  /** Its place among the volumes of the component, from 0. */
  position: number;
  /** The component has it now. */
  attached: boolean;
};

/** One component as it is now. */
export type Component = {
  vnfcInstanceId: string;
  vduId: string;
  computeId: string;
  /** The kind of driver. */
  environment: string;
  state: ComputeState;
  /** It is paused under a hold. */
  held: boolean;
  /** Somebody has suspended it, and nothing lets it run on by itself. */
  suspended: boolean;
  disks: Disk[];
  driver: DriverView;
};

/** What planning looks at, and when. */
export type Situation = {
  vnfd: Vnfd;
  components: Component[];
  /** All drivers of the VIM. */
  drivers: readonly DriverCapabilities[];
  now: Date;
};

/**
 * Puts together what the VNFM recorded and what the VIM says now. FAILED_PRECONDITION with reason
 * COMPONENT_LOST when the VIM does not know a compute resource of the VNF.
 */
export function situationOf(
  vnf: VnfInstance,
  computes: readonly VirtualCompute[],
  drivers: readonly DriverCapabilities[],
  now: Date,
): Situation {
  const info = vnf.instantiatedVnfInfo;
  const storages = new Map(
    (info?.virtualStorageResourceInfo ?? []).map((storage) => [storage.id, storage]),
  );
  const components = (info?.vnfcResourceInfo ?? []).map((vnfc): Component => {
    const computeId = vnfc.computeResource?.resourceId ?? '';
    const environment = vnfc.computeResource?.vimLevelResourceType ?? '';
    const compute = computes.find((candidate) => candidate.computeId === computeId);
    if (!compute) throw componentLost(vnfc.id, computeId);
    return {
      vnfcInstanceId: vnfc.id,
      vduId: vnfc.vduId,
      computeId,
      environment,
      state: compute.state,
      held: compute.hold !== undefined,
      suspended: compute.state === ComputeState.PAUSED && compute.hold === undefined,
      disks: vnfc.storageResourceIds.map((id, position) => {
        const storageId = storages.get(id)?.storageResource?.resourceId ?? '';
        const name = storages.get(id)?.virtualStorageDescId ?? '';
        return {
          ...{ storageId, name, position },
          boot: vnf.vnfd?.virtualStorageDesc.find((desc) => desc.id === name)?.boot ?? false,
          attached: compute.spec?.volumes.some(({ volumeId }) => volumeId === storageId) ?? false,
        };
      }),
      driver: driverOf(drivers, compute.driver, environment),
    };
  });
  return { vnfd: vnf.vnfd!, components, drivers, now };
}

/** True when the component is in memory: it can be held, and its memory can be captured. */
export function isAlive(state: ComputeState): boolean {
  return state === ComputeState.RUNNING || state === ComputeState.PAUSED;
}

/** Components in an order of VDUs; those not named follow in the order they come in. */
export function inOrder<T extends { vduId: string }>(
  items: readonly T[],
  order: readonly string[],
): T[] {
  const rank = (item: T) => {
    const at = order.indexOf(item.vduId);
    return at < 0 ? order.length : at;
  };
  return [...items].sort((a, b) => rank(a) - rank(b));
}

/** A compute resource that the VNFM recorded and the VIM does not know. */
export function componentLost(vnfc: string, computeId: string): RpcError {
  const what = `the VIM does not know compute resource "${computeId}" of ${vnfc} any more`;
  return failedPrecondition(
    'COMPONENT_LOST',
    `${what}; terminate the VNF and instantiate it again`,
    { vnfc_instance_id: vnfc, compute_id: computeId },
  );
}
