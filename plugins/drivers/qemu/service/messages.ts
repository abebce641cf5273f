import { join } from 'node:path';
import { create, fromJson, type MessageInitShape } from '@bufbuild/protobuf';
import { durationFromMs, type Timestamp, timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { LeaseSchema } from '../../../../gen/nfv/common/v1/common_pb.js';
import {
  type CompatibilityStamp,
  CompatibilityStampSchema,
  type ComputeSpec,
  ComputeSpecSchema,
  ComputeState,
  type InstanceSnapshot,
  InstanceSnapshotSchema,
  type VirtualComputeSchema,
  type VirtualNetworkSchema,
  type VirtualStorageSchema,
} from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import type { LeaseFile } from '../leases/lease-files.ts';
import { runFiles } from '../machine/arguments.ts';
import type { Hypervisor } from '../machine/hypervisor.ts';
import { type Observed, observe } from '../machine/lifecycle.ts';
import type { DriverContext } from '../state/context.ts';
import type {
  ComputeRecord,
  NetworkRecord,
  SnapshotRecord,
  VolumeRecord,
} from '../state/records.ts';

const recoveryVersion = 1;

const states: Record<Observed['state'], ComputeState> = {
  STOPPED: ComputeState.STOPPED,
  RUNNING: ComputeState.RUNNING,
  PAUSED: ComputeState.PAUSED,
  FAILED: ComputeState.FAILED,
};

export const stateMessage = (state: Observed['state']): ComputeState => states[state];

/** A compute resource as it is now: its state is asked from QEMU, its leases from their files. */
export async function computeMessage(
  context: DriverContext,
  computeId: string,
): Promise<MessageInitShape<typeof VirtualComputeSchema>> {
  const { state, reason } = await observe(context, computeId);
  const compute = context.compute(computeId);
  const hold = await context.leases.find(computeId, 'hold');
  const freeze = await context.leases.find(computeId, 'freeze');
  const live = state === 'RUNNING' || state === 'PAUSED';
  return {
    computeId,
    driver: context.instanceId,
    spec: specOf(compute),
    state: states[state],
    stateReason: reason,
    quiesced: live && (freeze !== undefined || compute.frozen),
    ...(hold ? { hold: leaseMessage(hold, holdStartMs(compute, hold)) } : {}),
    vnfChannel: live && compute.vnfChannel ? vnfSocket(context, compute) : '',
    recoveryHandle: { version: recoveryVersion, data: recoveryData(compute) },
    createTime: timestampFromMs(compute.createTimeMs),
    generationId: compute.generationId,
  };
}

/** A path that fits the address of a Unix socket (107 bytes), however deep the data folder lies. */
function vnfSocket(context: DriverContext, { computeId, run }: ComputeRecord): string {
  const path = join(context.folders.run(computeId, run!.number), runFiles.vnf);
  return Buffer.byteLength(path) <= 107 ? path : `/proc/${run!.process!.pid}/cwd/${runFiles.vnf}`;
}

/** What finds the process again: enough to tell it from another one with the same number. */
function recoveryData(compute: ComputeRecord): Uint8Array {
  return new TextEncoder().encode(
    JSON.stringify({ computeId: compute.computeId, run: compute.run }),
  );
}

export const specOf = (compute: ComputeRecord): ComputeSpec =>
  fromJson(ComputeSpecSchema, compute.spec);

/** When the guest stood still under a hold. */
export const holdStartMs = ({ holdStart }: ComputeRecord, lease: LeaseFile): number =>
  holdStart?.leaseId === lease.leaseId ? holdStart.timeMs : lease.startTimeMs;

export function leaseMessage(
  lease: LeaseFile,
  startTimeMs = lease.startTimeMs,
): MessageInitShape<typeof LeaseSchema> {
  return {
    leaseId: lease.leaseId,
    duration: durationFromMs(lease.durationMs),
    startTime: timestampFromMs(startTimeMs),
    expireTime: timestampFromMs(lease.startTimeMs + lease.durationMs),
  };
}

export function volumeMessage(
  context: DriverContext,
  volume: VolumeRecord,
): MessageInitShape<typeof VirtualStorageSchema> {
  return {
    storageId: volume.volumeId,
    driver: context.instanceId,
    sizeBytes: BigInt(volume.sizeBytes),
    image: volume.image,
    ownerComputeId: ownerOf(context, volume.volumeId)?.computeId ?? '',
    createTime: timestampFromMs(volume.createTimeMs),
  };
}

/** The compute resource that has a volume. */
export const ownerOf = (context: DriverContext, volumeId: string): ComputeRecord | undefined =>
  context.store
    .list('compute')
    .find(({ attachments }) => attachments.some((attached) => attached.volumeId === volumeId));

export function networkMessage(
  context: DriverContext,
  network: NetworkRecord,
): MessageInitShape<typeof VirtualNetworkSchema> {
  return {
    networkId: network.networkId,
    driver: context.instanceId,
    createTime: timestampFromMs(network.createTimeMs),
  };
}

export function stampMessage(hypervisor: Hypervisor): CompatibilityStamp {
  return create(CompatibilityStampSchema, {
    hypervisor: 'qemu',
    hypervisorVersion: hypervisor.version,
    machineType: hypervisor.machineType,
    cpuModel: hypervisor.cpuModel,
    accelerator: hypervisor.accelerator,
    cpuFlags: hypervisor.cpuFlags,
  });
}

export const snapshotMessage = (record: SnapshotRecord): InstanceSnapshot =>
  fromJson(InstanceSnapshotSchema, record.instance);

export const nowMessage = (): Timestamp => timestampFromMs(Date.now());
