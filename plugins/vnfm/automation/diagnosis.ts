import { timestampMs } from '@bufbuild/protobuf/wkt';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  SnapshotAvailability,
  SnapshotPurpose,
  type VnfSnapshotInfo,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { ConsistencyPolicy, type Vnfd } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import { requireRecord, unknownVnf, vnfInstances, vnfSnapshots } from '../records.ts';
import { readAll } from '../services/listing.ts';
import type { Vnfm } from '../vnfm.ts';
import { componentStates } from './component-states.ts';

/** What is to be done with a VNF, and why. JSON, because the operation is journaled with it. */
export type Finding = {
  action: 'nothing' | 'restart' | 'revert' | 'snapshot';
  why: string;
  /** The components that are restarted. */
  vnfcInstanceIds: string[];
  /** The snapshot to go back to; empty: none. */
  snapshotId: string;
  /** How much a VNF that may be unable to answer has to confirm; null: as its descriptor says. */
  consistency: 'PREFERRED' | null;
};

export type Complaint = {
  vnfInstanceId: string;
  action: 'decide' | 'restart' | 'revert' | 'snapshot';
  vnfcInstanceIds: readonly string[];
  mayRevert: boolean;
};

/**
 * Decides what a VNF needs (6.5.1 step 2, 6.5.2 step 2). FAILED_PRECONDITION with reason
 * NO_SNAPSHOT when a reversion is asked for and there is nothing to go back to.
 */
export async function diagnose(
  vnfm: Vnfm,
  complaint: Complaint,
  signal: AbortSignal,
): Promise<Finding> {
  const { vnfInstanceId, action } = complaint;
  const { value: vnf } = await requireRecord(vnfm.store, vnfInstances, vnfInstanceId, unknownVnf);
  const states = await componentStates(vnfm, vnf, signal);
  const down = states.filter(({ isUp }) => !isUp);
  const health = vnfm.indicators.health(vnfInstanceId);
  const unwell = health !== undefined && health.value !== 'ok';
  const faults = [
    ...down.map(({ vnfcInstanceId, state }) => `${vnfcInstanceId} is ${ComputeState[state]}`),
    ...(unwell ? [`the VNF says it is ${health.value}: ${health.detail}`] : []),
  ];
  const snapshotId = (await newestSnapshot(vnfm, vnfInstanceId))?.id ?? '';
  const common = {
    why: faults.join('; ') || 'no fault was found',
    vnfcInstanceIds: chosen(complaint, down, states),
    snapshotId: action === 'revert' || complaint.mayRevert ? snapshotId : '',
    consistency: weakened(vnf.vnfd?.snapshotDescriptor?.consistency, faults.length > 0),
  };
  if (action === 'revert' && snapshotId === '') {
    const text = `VNF "${vnfInstanceId}" has no snapshot to go back to`;
    throw failedPrecondition('NO_SNAPSHOT', text, { vnf_instance_id: vnfInstanceId });
  }
  if (action !== 'decide') return { ...common, action };
  return { ...common, action: faults.length === 0 ? 'nothing' : 'restart' };
}

/** The newest whole snapshot of a VNF that shows it as it should be. */
export async function newestSnapshot(
  vnfm: Vnfm,
  vnfInstanceId: string,
): Promise<VnfSnapshotInfo | undefined> {
  const takenMs = ({ vnfSnapshot }: VnfSnapshotInfo) =>
    vnfSnapshot?.creationStartedAt ? timestampMs(vnfSnapshot.creationStartedAt) : 0;
  const usable = (await readAll(vnfm.store, vnfSnapshots)).filter(
    ({ availability, vnfSnapshot }) =>
      availability === SnapshotAvailability.AVAILABLE &&
      vnfSnapshot?.vnfInstanceId === vnfInstanceId &&
      vnfSnapshot.purpose !== SnapshotPurpose.POST_MORTEM,
  );
  return usable.sort((a, b) => takenMs(b) - takenMs(a))[0];
}

function chosen(
  { vnfcInstanceIds }: Complaint,
  down: readonly { vnfcInstanceId: string }[],
  all: readonly { vnfcInstanceId: string }[],
): string[] {
  if (vnfcInstanceIds.length > 0) return [...vnfcInstanceIds];
  return (down.length > 0 ? down : all).map((component) => component.vnfcInstanceId);
}

/**
 * The consistency to ask for where a VNF may be unable to answer: the best that can be reached,
 * unless its descriptor fixes another.
 */
export function consistencyOfUnwell(vnfd: Vnfd | undefined): ConsistencyPolicy {
  const { UNSPECIFIED, PREFERRED } = ConsistencyPolicy;
  return vnfd?.snapshotDescriptor?.consistency ? UNSPECIFIED : PREFERRED;
}

/** What is not well may not answer; a descriptor that fixes the consistency is heard all the same. */
function weakened(
  fixed: ConsistencyPolicy | undefined,
  isAtFault: boolean,
): Finding['consistency'] {
  return isAtFault && !fixed ? 'PREFERRED' : null;
}
