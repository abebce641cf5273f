import { ImageRole } from '../../../gen/nfv/common/v1/common_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import type { VnfcSnapshotInfo, VnfSnapshot } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  ConsistencyPolicy,
  Permission,
  type VnfcSnapshotDescriptor,
} from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import { type DriverView, memoryCapabilities } from './capabilities.ts';
import { type HostPlan, hostAfter } from './hosts.ts';
import { type Component, type Disk, inOrder, isAlive, type Situation } from './situation.ts';
import { planVolumes } from './volumes.ts';

/** What happens with one component. JSON, because the operation is journaled with it. */
export type VnfcRevertPlan = {
  vnfcInstanceId: string;
  vduId: string;
  computeId: string;
  /** The instance snapshot at the VIM to go back to. */
  snapshotId: string;
  /** Memory is loaded; if not, disks are brought back and the component boots. */
  warm: boolean;
  /** Memory of another kind of machine is loaded all the same. */
  force: boolean;
  /** It was captured with frozen file systems, so it comes back frozen and is thawed. */
  thaw: boolean;
  /** A cold snapshot of a component that ran: it is started after. */
  startAfter: boolean;
  /** It is in memory now. */
  running: boolean;
  /** It is suspended now, and so it is again when the reversion fails. */
  suspended: boolean;
  /** Its memory was captured while it was suspended, so it comes back suspended. */
  suspendedAfter: boolean;
  /** What can be kept of the present state, to come back to when the reversion fails. */
  safety: 'warm' | 'cold' | 'none';
  safetyNote: string;
  /** All its volumes, for the safety snapshot. */
  disks: Disk[];
  /** The disks that come back, by name. */
  images: string[];
  /** Vnfsd.011: these are detached while they come back. */
  detach: Disk[];
  /** Vnfsd.012: these are attached after. */
  attach: Disk[];
  /** It is loaded into what was made for it on another host. */
  moved?: true;
};

/** How a VNF is reverted (GR NFV-TST 005 clause 6.5.2 step 2). */
export type RevertPlan = {
  /**
   * The VNF is told, and waited for, before anything is done: not for snapshots without
   * consistency.
   */
  notify: boolean;
  /** Vnfsd.018 gives an order: within a phase one component follows the other. */
  ordered: boolean;
  vnfcs: VnfcRevertPlan[];
  /** What stays as it is: "<vnfc or disk>: <reason>". */
  untouched: string[];
  /** What comes back on another host than it is, or was captured, on. */
  hosts?: HostPlan;
};

/**
 * Plans a reversion from the descriptor, the snapshot and the VNF as it is now; pure.
 *
 * FAILED_PRECONDITION with reason REVERT_FORBIDDEN (Vnfsd.002), SNAPSHOT_MISMATCH or, unless forced,
 * INCOMPATIBLE; for a warm snapshot that the place cannot load, UNIMPLEMENTED with reason CAPABILITY_MISSING.
 */
export function planRevert(
  situation: Situation,
  snapshot: VnfSnapshot,
  options: { skipSafetySnapshot: boolean; force: boolean; target?: DriverView | undefined },
): RevertPlan {
  const { vnfd, components } = situation;
  const descriptor = vnfd.snapshotDescriptor;
  if (descriptor?.revert === Permission.FORBIDDEN) {
    const text = `VNFD "${vnfd.vnfdId}" forbids reversions (snapshotDescriptor.revert)`;
    throw failedPrecondition('REVERT_FORBIDDEN', text, { vnfd: vnfd.vnfdId });
  }
  const untouched: string[] = [];
  const vnfcs = snapshot.vnfcSnapshots.map((part) => {
    const component = components.find(
      (candidate) => candidate.vnfcInstanceId === part.vnfcInstanceId,
    );
    if (!component) throw mismatch(snapshot, part.vnfcInstanceId, 'the VNF has no such component');
    const vnfc = descriptor?.vnfc.find(({ vduId }) => vduId === component.vduId);
    return planVnfc(snapshot, part, component, { ...options, vnfc }, untouched);
  });
  for (const { vnfcInstanceId } of components) {
    if (vnfcs.some((vnfc) => vnfc.vnfcInstanceId === vnfcInstanceId)) continue;
    untouched.push(`${vnfcInstanceId}: the snapshot does not have it`);
  }
  const order = descriptor?.revertOrder ?? [];
  return {
    notify: descriptor?.consistency !== ConsistencyPolicy.NONE,
    ordered: order.length > 0,
    vnfcs: inOrder(vnfcs, order),
    untouched,
  };
}

type Options = {
  skipSafetySnapshot: boolean;
  force: boolean;
  /** The host that the request names. */
  target?: DriverView | undefined;
  vnfc: VnfcSnapshotDescriptor | undefined;
};

function planVnfc(
  snapshot: VnfSnapshot,
  part: VnfcSnapshotInfo,
  component: Component,
  { skipSafetySnapshot, force, target, vnfc }: Options,
  untouched: string[],
): VnfcRevertPlan {
  const { vnfcInstanceId, vduId, computeId, state } = component;
  const content = part.instanceSnapshot;
  if (!content) throw mismatch(snapshot, vnfcInstanceId, 'the record does not say where it is');
  const images = content.images.filter((image) => image.role === ImageRole.DISK);
  for (const { name } of images) {
    if (component.disks.some((disk) => disk.name === name)) continue;
    throw mismatch(snapshot, vnfcInstanceId, `the VNF's component has no disk "${name}"`);
  }
  for (const { name } of component.disks) {
    if (images.some((image) => image.name === name)) continue;
    untouched.push(`${vnfcInstanceId}/${name}: the snapshot does not have it`);
  }
  const warm = content.memory;
  if (warm) {
    const driver = hostAfter(component, target);
    driver.require(memoryCapabilities, vnfcInstanceId, 'loading memory');
    if (!force) driver.requireStamp(content.compatibility, vnfcInstanceId);
  }
  return {
    vnfcInstanceId,
    vduId,
    computeId,
    snapshotId: content.snapshotId,
    warm,
    force,
    thaw: warm && content.quiesced,
    startAfter: !warm && isAlive(content.stateWhenTaken),
    running: isAlive(state),
    suspended: component.suspended,
    suspendedAfter: warm && content.stateWhenTaken === ComputeState.PAUSED,
    ...planSafety(component, skipSafetySnapshot),
    disks: component.disks,
    images: images.map((image) => image.name),
    ...(warm ? { detach: [], attach: [] } : planAround(component, vnfc, images)),
  };
}

/** What the reversion detaches comes back after it, whatever the descriptor says of snapshots. */
function planAround(
  component: Component,
  descriptor: VnfcSnapshotDescriptor | undefined,
  images: readonly { name: string }[],
): Pick<VnfcRevertPlan, 'detach' | 'attach'> {
  const disks = component.disks.filter((disk) => images.some(({ name }) => name === disk.name));
  // A component that runs is stopped for a reversion without memory.
  const { detach, attach } = planVolumes(component, descriptor, disks, false);
  return { detach, attach: [...new Set([...detach, ...attach])] };
}

function planSafety(
  { state, driver }: Component,
  skip: boolean,
): Pick<VnfcRevertPlan, 'safety' | 'safetyNote'> {
  if (skip) return { safety: 'none', safetyNote: 'the request skips it' };
  if (!isAlive(state)) {
    const was = state === ComputeState.FAILED ? 'had failed' : 'was stopped';
    return { safety: 'cold', safetyNote: `the component ${was}: only disks can be kept` };
  }
  if (memoryCapabilities.some((name) => driver.has(name)))
    return { safety: 'warm', safetyNote: '' };
  return {
    safety: 'cold',
    safetyNote: 'the driver cannot capture memory now: only disks are kept',
  };
}

function mismatch(snapshot: VnfSnapshot, vnfc: string, why: string) {
  return failedPrecondition(
    'SNAPSHOT_MISMATCH',
    `VNF snapshot "${snapshot.id}" does not fit: ${vnfc}: ${why}`,
    { vnf_snapshot_id: snapshot.id, vnfc_instance_id: vnfc },
  );
}
