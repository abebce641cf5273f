import { create } from '@bufbuild/protobuf';
import { durationFromMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import { type Lease, LeaseSchema } from '../../../gen/nfv/common/v1/common_pb.js';
import {
  type CompatibilityStamp,
  CompatibilityStampSchema,
  ComputeState,
  type VirtualCompute,
  VirtualComputeSchema,
  type VirtualNetwork,
  VirtualNetworkSchema,
  type VirtualStorage,
  VirtualStorageSchema,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { stampMismatch } from '../../../sdk/compatibility.ts';
import type { Core } from './core.ts';
import type { Compute, Network, Power, Volume } from './inventory.ts';
import type { LeaseStatus, MachineStatus } from './machine/protocol.ts';

/** The version of the driver, for people. */
export const driverVersion = '0.1.0';
/**
 * The version of what a captured memory means: the guest's functions and the format of the device
 * state.
 */
const machineType = 'wasmvm-1';

export function compatibilityStamp(): CompatibilityStamp {
  return create(CompatibilityStampSchema, {
    hypervisor: 'wasmvm',
    hypervisorVersion: driverVersion,
    machineType,
    cpuModel: 'wasm32',
    accelerator: 'none',
  });
}

/** True when memory with this stamp can be loaded here. */
export function isCompatible(stamp: CompatibilityStamp | undefined): boolean {
  return stamp !== undefined && stampMismatch(stamp, compatibilityStamp()) === undefined;
}

export function leaseMessage(lease: LeaseStatus): Lease {
  return create(LeaseSchema, {
    leaseId: lease.leaseId,
    duration: durationFromMs(lease.durationMs),
    startTime: timestampFromMs(lease.startMs),
    expireTime: timestampFromMs(lease.startMs + lease.durationMs),
  });
}

const absentStates: Record<Power, ComputeState> = {
  // It is being started, or the machine room is being replaced.
  on: ComputeState.STOPPED,
  paused: ComputeState.STOPPED,
  off: ComputeState.STOPPED,
  failed: ComputeState.FAILED,
};

/** A compute resource as it is now: its state is asked from the machine room. */
export async function computeMessage(core: Core, computeId: string): Promise<VirtualCompute> {
  const status = await core.room.call('status', { computeId });
  // Read after the answer: what the room said before it has been taken in.
  return describeCompute(core, core.inventory.compute(computeId), status);
}

/** The same from a status that is known. */
export function describeCompute(
  core: Core,
  compute: Compute,
  status: MachineStatus | undefined,
): VirtualCompute {
  const { power, reason } = core.ended.get(compute.id) ?? compute;
  return create(VirtualComputeSchema, {
    computeId: compute.id,
    driver: core.instanceId,
    spec: compute.spec,
    state: status ? presentState(status) : absentStates[power],
    stateReason: reason,
    quiesced: status?.quiesced ?? false,
    ...(status?.hold ? { hold: leaseMessage(status.hold) } : {}),
    vnfChannel: compute.program.hasChannel ? core.channels.path(compute.id) : '',
    recoveryHandle: { version: 1, data: recoveryData(compute) },
    createTime: timestampFromMs(compute.createMs),
    generationId: compute.generationId,
  });
}

export function presentState(status: { state: 'running' | 'paused' }): ComputeState {
  return status.state === 'running' ? ComputeState.RUNNING : ComputeState.PAUSED;
}

/** What RecoverCompute gets back: the resource and which life of it. */
export function recoveryData(compute: Compute): Uint8Array {
  return new TextEncoder().encode(`${compute.id} ${compute.incarnation}`);
}

export function volumeMessage(core: Core, volume: Volume): VirtualStorage {
  return create(VirtualStorageSchema, {
    storageId: volume.id,
    driver: core.instanceId,
    sizeBytes: BigInt(volume.sizeBytes),
    image: volume.image,
    ownerComputeId: core.inventory.ownerOf(volume.id)?.id ?? '',
    createTime: timestampFromMs(volume.createMs),
  });
}

export function networkMessage(core: Core, network: Network): VirtualNetwork {
  return create(VirtualNetworkSchema, {
    networkId: network.id,
    driver: core.instanceId,
    createTime: timestampFromMs(network.createMs),
  });
}
