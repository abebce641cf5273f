import { durationMs } from '@bufbuild/protobuf/wkt';
import { CapabilityName } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  DiskTechnique,
  MemoryTechnique,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  ConsistencyPolicy,
  Permission,
  PowerOff,
  SnapshotType,
  type VnfcSnapshotDescriptor,
  type Vnfd,
} from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { failedPrecondition, invalidArgument } from '../../../sdk/errors.ts';
import { isWithin, nextOpening } from '../../../sdk/windows.ts';
import { holdDeadlineMsDefault, prepareTimeoutMsDefault } from '../vnfd/snapshot-descriptor.ts';
import { diskCapabilities, memoryCapabilities } from './capabilities.ts';
import { memoryRestriction, outside } from './restrictions.ts';
import { contradiction, selectComponents, selectDisks } from './selection.ts';
import { type Component, type Disk, inOrder, isAlive, type Situation } from './situation.ts';
import { planVolumes } from './volumes.ts';

/** The parameters of a request, where the descriptor leaves things open. */
export type SnapshotWishes = {
  type: SnapshotType;
  consistency: ConsistencyPolicy;
  vnfcInstanceIds: readonly string[];
  /** Empty or absent: the drivers' own. */
  folder?: string;
};

/** What happens with one component. JSON, because the operation is journaled with it. */
export type VnfcSnapshotPlan = {
  vnfcInstanceId: string;
  vduId: string;
  computeId: string;
  /** Memory and device state are captured: a warm snapshot. */
  memory: boolean;
  /** It runs when it is captured, so it is held. */
  running: boolean;
  /** Vnfsd.009: it runs now and is shut down before, or after it is captured. */
  stopBefore: boolean;
  stopAfter: boolean;
  /** Vnfsd.010: it is booted after it is captured. */
  startAfter: boolean;
  disks: Disk[];
  /** Vnfsd.011: these of them are detached before. */
  detach: Disk[];
  /** Vnfsd.012: these are attached after. */
  attach: Disk[];
  /** Vnfsd.006 and 007: numbers of MemoryTechnique and DiskTechnique; 0 lets the driver choose. */
  memoryTechnique: number;
  diskTechnique: number;
  /** File systems are frozen; if not, the reason is in `noFreezeReason`. */
  freeze: boolean;
  noFreezeReason: string;
};

/** How a VNF snapshot is taken (GR NFV-TST 005 clause 6.5.1 step 2). */
export type SnapshotPlan = {
  consistency: 'required' | 'preferred' | 'none';
  prepareTimeoutMs: number;
  holdDeadlineMs: number;
  /**
   * Vnfsd.017 gives an order: within a phase one component follows the other. Without it they go
   * together.
   */
  ordered: boolean;
  vnfcs: VnfcSnapshotPlan[];
  /** "<vnfc or disk>: <reason>". */
  excluded: string[];
  /** Where what is captured shall lie; absent: where the drivers keep it. */
  folder?: string;
};

/**
 * Plans a snapshot from the descriptor, the request and what the drivers can do now; pure.
 *
 * FAILED_PRECONDITION with reason SNAPSHOT_FORBIDDEN (Vnfsd.001), SNAPSHOT_WINDOW_CLOSED
 * (Vnfsd.004) or COMPONENT_HELD;
 * INVALID_ARGUMENT with reason VNFC_UNKNOWN or DESCRIPTOR_CONTRADICTION; UNIMPLEMENTED with reason
 * CAPABILITY_MISSING.
 */
export function planSnapshot(situation: Situation, wishes: SnapshotWishes): SnapshotPlan {
  const { vnfd } = situation;
  const descriptor = vnfd.snapshotDescriptor;
  if (descriptor?.create === Permission.FORBIDDEN) {
    const text = `VNFD "${vnfd.vnfdId}" forbids snapshots (snapshotDescriptor.create)`;
    throw failedPrecondition('SNAPSHOT_FORBIDDEN', text, { vnfd: vnfd.vnfdId });
  }
  checkWindow(situation);
  const consistency = planConsistency(vnfd, wishes.consistency);
  const { selected, excluded } = selectComponents(situation, wishes.vnfcInstanceIds);
  checkType(vnfd, selected, wishes.type);
  const folder = wishes.folder ?? '';
  if (folder !== '') {
    for (const { driver, vnfcInstanceId } of selected) driver.requireFolder(folder, vnfcInstanceId);
  }
  const order = descriptor?.createOrder ?? [];
  const vnfcs = inOrder(selected, order).map((component) =>
    planVnfc(vnfd, component, consistency, wishes.type, excluded),
  );
  excluded.push(...outside(vnfd));
  if (vnfcs.every((vnfc) => !vnfc.memory && vnfc.disks.length === 0)) {
    const text = 'nothing is left to capture: neither memory nor a disk of any selected component';
    throw invalidArgument('SNAPSHOT_EMPTY', text, { vnfd: vnfd.vnfdId });
  }
  return {
    consistency,
    ...snapshotTimes(vnfd),
    ordered: order.length > 0,
    vnfcs,
    excluded,
    ...(folder !== '' && { folder }),
  };
}

function checkWindow({ vnfd, now }: Situation): void {
  const windows = vnfd.snapshotDescriptor?.windows ?? [];
  if (isWithin(windows, now)) return;
  const next = nextOpening(windows, now)?.toISOString() ?? 'never';
  const text = `VNFD "${vnfd.vnfdId}" allows no snapshot now (snapshotDescriptor.windows); next: ${next}`;
  throw failedPrecondition('SNAPSHOT_WINDOW_CLOSED', text, { vnfd: vnfd.vnfdId, next });
}

/** The times of the descriptor, or the default ones, in milliseconds. */
export function snapshotTimes({
  snapshotDescriptor,
}: Vnfd): Pick<SnapshotPlan, 'prepareTimeoutMs' | 'holdDeadlineMs'> {
  return {
    prepareTimeoutMs: timeMs(snapshotDescriptor?.prepareTimeout, prepareTimeoutMsDefault),
    holdDeadlineMs: timeMs(snapshotDescriptor?.holdDeadline, holdDeadlineMsDefault),
  };
}

function planConsistency(vnfd: Vnfd, wished: ConsistencyPolicy): SnapshotPlan['consistency'] {
  const fixed = vnfd.snapshotDescriptor?.consistency ?? ConsistencyPolicy.UNSPECIFIED;
  const { UNSPECIFIED, PREFERRED, NONE } = ConsistencyPolicy;
  if (fixed !== UNSPECIFIED && wished !== UNSPECIFIED && fixed !== wished) {
    throw contradiction(vnfd, 'consistency', ConsistencyPolicy[wished], ConsistencyPolicy[fixed]);
  }
  const policy = fixed !== UNSPECIFIED ? fixed : wished;
  if (policy === NONE) return 'none';
  return policy === PREFERRED ? 'preferred' : 'required';
}

function descriptorOf(vnfd: Vnfd, vduId: string): VnfcSnapshotDescriptor | undefined {
  return vnfd.snapshotDescriptor?.vnfc.find((candidate) => candidate.vduId === vduId);
}

/** What is powered off before has no memory to capture, and memory fits the disks that it was captured with. */
function fixedType(vnfd: Vnfd, vduId: string): SnapshotType {
  const vnfc = descriptorOf(vnfd, vduId);
  if (vnfc?.powerOff === PowerOff.BEFORE || vnfc?.detachBefore) return SnapshotType.COLD;
  if (memoryRestriction(vnfd, vduId) !== undefined) return SnapshotType.COLD;
  return vnfc?.type ?? SnapshotType.UNSPECIFIED;
}

/** A wish that the descriptor leaves no component for is refused, not dropped. */
function checkType(vnfd: Vnfd, selected: readonly Component[], wished: SnapshotType): void {
  if (wished === SnapshotType.UNSPECIFIED) return;
  const fixed = selected.map((component) => fixedType(vnfd, component.vduId));
  const heard = fixed.some((type) => type === SnapshotType.UNSPECIFIED || type === wished);
  if (heard) return;
  const other = SnapshotType[fixed[0] ?? SnapshotType.UNSPECIFIED] ?? '';
  throw contradiction(vnfd, 'type', SnapshotType[wished] ?? '', other);
}

function planVnfc(
  vnfd: Vnfd,
  component: Component,
  consistency: SnapshotPlan['consistency'],
  wished: SnapshotType,
  excluded: string[],
): VnfcSnapshotPlan {
  const { vnfcInstanceId, vduId, computeId, driver } = component;
  if (component.held) throw held(vnfcInstanceId);
  const power = planPower(descriptorOf(vnfd, vduId), isAlive(component.state));
  const running = isAlive(component.state) && !power.stopBefore;
  const fixed = fixedType(vnfd, vduId);
  const cold = (fixed || wished) === SnapshotType.COLD;
  if (!cold && running) driver.require(memoryCapabilities, vnfcInstanceId, 'a warm snapshot');
  const forbidden = memoryRestriction(vnfd, vduId);
  if (running && forbidden !== undefined) excluded.push(`${vnfcInstanceId}/memory: ${forbidden}`);
  if (!cold && !running) excluded.push(`${vnfcInstanceId}/memory: the component is not running`);
  const disks = selectDisks(vnfd, component, excluded);
  if (disks.length > 0) driver.require(diskCapabilities, vnfcInstanceId, 'capturing disks');
  const together = consistency !== 'none';
  if (running && together) {
    driver.require([CapabilityName.PAUSE], vnfcInstanceId, 'a common hold of all components');
  }
  if (running && !together && disks.length > 1) {
    driver.require([CapabilityName.ATOMIC_DISKS], vnfcInstanceId, 'several disks without a hold');
  }
  // A suspended guest cannot answer, and writes nothing.
  const freeze = running && together && !component.suspended && driver.has(CapabilityName.QUIESCE);
  return {
    vnfcInstanceId,
    vduId,
    computeId,
    memory: running && !cold,
    running,
    ...power,
    disks,
    ...planVolumes(component, descriptorOf(vnfd, vduId), disks, running),
    ...planTechniques(vnfd, component, running && !cold, disks.length > 0),
    freeze,
    noFreezeReason: freeze ? '' : noFreezeReason(component, running, together, power.stopBefore),
  };
}

/** Vnfsd.006 and 007: what the descriptor fixes has to be possible now, and to make sense. */
function planTechniques(
  vnfd: Vnfd,
  { vnfcInstanceId, vduId, driver }: Component,
  memory: boolean,
  disks: boolean,
): Pick<VnfcSnapshotPlan, 'memoryTechnique' | 'diskTechnique'> {
  const descriptor = descriptorOf(vnfd, vduId);
  const memoryTechnique = memory ? (descriptor?.memoryTechnique ?? 0) : 0;
  const diskTechnique = disks ? (descriptor?.diskTechnique ?? 0) : 0;
  if (memoryTechnique === MemoryTechnique.INTERNAL && !disks) {
    const text = `${vnfcInstanceId}: internal memory goes into a disk image, and no disk of it is captured`;
    throw invalidArgument('DESCRIPTOR_CONTRADICTION', text, { vnfc_instance_id: vnfcInstanceId });
  }
  const wanted = [memoryCapability[memoryTechnique], diskCapability[diskTechnique]];
  for (const capability of wanted) {
    if (capability === undefined) continue;
    driver.require([capability], vnfcInstanceId, 'the technique that the descriptor fixes');
  }
  return { memoryTechnique, diskTechnique };
}

const memoryCapability: Readonly<Record<number, CapabilityName>> = {
  [MemoryTechnique.INTERNAL]: CapabilityName.MEMORY_INTERNAL,
  [MemoryTechnique.EXTERNAL]: CapabilityName.MEMORY_EXTERNAL,
};

const diskCapability: Readonly<Record<number, CapabilityName>> = {
  [DiskTechnique.INTERNAL_SEQUENTIAL]: CapabilityName.DISK_INTERNAL,
  [DiskTechnique.INTERNAL_INCREMENTAL]: CapabilityName.DISK_INTERNAL,
  [DiskTechnique.EXTERNAL_SEQUENTIAL]: CapabilityName.DISK_EXTERNAL_SEQUENTIAL,
  [DiskTechnique.EXTERNAL_INCREMENTAL]: CapabilityName.DISK_EXTERNAL_INCREMENTAL,
};

function planPower(
  descriptor: VnfcSnapshotDescriptor | undefined,
  runs: boolean,
): Pick<VnfcSnapshotPlan, 'stopBefore' | 'stopAfter' | 'startAfter'> {
  const stopBefore = runs && descriptor?.powerOff === PowerOff.BEFORE;
  const stopAfter = runs && descriptor?.powerOff === PowerOff.AFTER;
  const startAfter = descriptor?.powerOnAfter === true && (stopBefore || !runs);
  return { stopBefore, stopAfter, startAfter };
}

function noFreezeReason(
  component: Component,
  running: boolean,
  together: boolean,
  stopBefore: boolean,
): string {
  if (stopBefore) return 'the component is powered off before';
  if (!running) return 'the component is not running';
  if (!together) return 'consistency was not asked for';
  if (component.suspended) return 'the component is suspended';
  return `file systems cannot be frozen: ${component.driver.reason(CapabilityName.QUIESCE)}`;
}

function held(vnfc: string) {
  const text = `${vnfc} is held after a reversion; let it run with OperateVnf STARTED first`;
  return failedPrecondition('COMPONENT_HELD', text, { vnfc_instance_id: vnfc });
}

function timeMs(value: Parameters<typeof durationMs>[0] | undefined, otherwise: number): number {
  return value ? Math.round(durationMs(value)) : otherwise;
}
