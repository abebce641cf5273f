import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { create, toJson } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { ImageRole } from '../../../../gen/nfv/common/v1/common_pb.js';
import {
  DiskTechnique,
  type InstanceSnapshot,
  InstanceSnapshotSchema,
  MemoryTechnique,
} from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { failpoint } from '../../../../sdk/failpoint.ts';
import { layerIdOfNode, nodeName } from '../disks/layer-store.ts';
import { wrongState } from '../errors.ts';
import { copySparse, renameDurably, syncFile, syncFolder } from '../host/durable-files.ts';
import { layerOptions } from '../machine/arguments.ts';
import { liveMachine, observe, stop } from '../machine/lifecycle.ts';
import type { Machine } from '../machine/machine.ts';
import { holdStartMs, specOf, stampMessage, stateMessage } from '../service/messages.ts';
import type { DriverContext } from '../state/context.ts';
import type { Attachment, ComputeRecord, LayerRecord, SnapshotRecord } from '../state/records.ts';
import { assertDetached } from './detached.ts';
import { saveDeviceState } from './device-state.ts';
import { makeSnapshotFolder, moveFrozen, removeSnapshotFolder } from './folder.ts';

/** Without a caller's hold the driver pauses by itself, at most this long. */
const ownHoldMs = 60_000;
const mebibyte = 1024 * 1024;

/** Names of the images of memory and device state, and of their files in the snapshot's folder. */
export const memoryImage = { name: 'memory', file: 'memory.img' } as const;
export const stateImage = { name: 'device-state', file: 'device-state.bin' } as const;

export type CaptureRequest = {
  computeId: string;
  snapshotId: string;
  memory: boolean;
  volumeIds: string[];
  /** Volumes that nothing has, captured as well. */
  detached: readonly Attachment[];
  leaseId: string;
  stopAfter: boolean;
  name: string;
  metadata: Record<string, string>;
  /** Where its files go, links resolved; absent: here. */
  callersFolder: string | undefined;
  /** The request in a form to compare a repeat with. */
  request: string;
};

/** A volume on its way to a new layer. */
type Switch = Attachment & { frozen: LayerRecord; active: LayerRecord; isAttached: boolean };

/**
 * Captures memory and all selected disks at one moment. The order is the one that works: pause →
 * one transaction for all disks → device state and memory → run on. Nothing is visible until all of
 * it is durable; what was begun and not finished is merged away again.
 */
export async function capture(
  context: DriverContext,
  request: CaptureRequest,
): Promise<SnapshotRecord> {
  const compute = context.compute(request.computeId);
  const { state } = await observe(context, compute.computeId);
  const machine = await liveMachine(context, compute.computeId);
  if (request.memory && !machine) {
    throw wrongState(compute.computeId, state, 'a machine in memory: RUNNING or PAUSED');
  }
  if (request.memory && state === 'PAUSED' && !(await machine!.ownsDisks())) {
    const want = 'a machine that ran since its memory was captured last';
    throw wrongState(compute.computeId, state, want);
  }
  if (request.leaseId) await context.leases.assertInForce(request.leaseId);
  const folder = context.folders.snapshot(request.snapshotId);
  const partial = `${folder}.partial`;
  await removeSnapshotFolder(context, partial);
  await makeSnapshotFolder(partial, request.snapshotId, request.callersFolder);
  const switches: Switch[] = [];
  try {
    await prepareLayers(context, compute, request, switches);
    const taken = await takeUnderHold(context, compute, request, {
      machine,
      state,
      switches,
      partial,
    });
    if (request.callersFolder !== undefined) await moveFrozen(context, partial, switches);
    await makeDurable(request.memory, partial);
    const stateFile = request.memory ? await stat(join(partial, stateImage.file)) : undefined;
    await failpoint('qemu.capture.durable');
    await renameDurably(partial, folder);
    const record = recordOf(context, compute, request, switches, {
      ...taken,
      stateBytes: stateFile?.size ?? 0,
    });
    context.store.transaction(() => {
      context.store.put('snapshot', request.snapshotId, record);
      context.update(compute.computeId, { parentSnapshotId: request.snapshotId });
    });
    await failpoint('qemu.capture.recorded');
    if (request.stopAfter) await stop(context, compute.computeId, undefined);
    return record;
  } catch (error) {
    await removeSnapshotFolder(context, partial);
    throw error;
  } finally {
    context.layers.unpin(switches.map(({ active }) => active.layerId));
  }
}

/** New empty layers, made before the pause because they need not wait in it. */
async function prepareLayers(
  context: DriverContext,
  compute: ComputeRecord,
  { volumeIds, detached }: CaptureRequest,
  switches: Switch[],
): Promise<void> {
  const attached = compute.attachments.filter(({ volumeId }) => volumeIds.includes(volumeId));
  for (const { volumeId, name } of [...attached, ...detached]) {
    const isAttached = attached.some((one) => one.volumeId === volumeId);
    const volume = context.store.get('volume', volumeId)!;
    const frozen = context.layers.get(volume.activeLayerId);
    const active = await context.layers.create(volume.sizeBytes, frozen.layerId);
    switches.push({ volumeId, name, frozen, active, isAttached });
  }
}

type Taken = { captureTimeMs: number; state: ComputeRecord['wanted'] | 'FAILED'; frozen: boolean };

async function takeUnderHold(
  context: DriverContext,
  compute: ComputeRecord,
  request: CaptureRequest,
  now: {
    machine: Machine | undefined;
    state: Taken['state'];
    switches: Switch[];
    partial: string;
  },
): Promise<Taken> {
  const { machine, switches } = now;
  const freeze = await context.leases.find(compute.computeId, 'freeze');
  const frozen = machine !== undefined && (freeze !== undefined || compute.frozen);
  if (!machine) {
    switchRecords(context, switches);
    return { captureTimeMs: Date.now(), state: now.state, frozen };
  }
  // Under the caller's hold the run state that counts is the one before it.
  const held = request.leaseId ? await context.leases.assertInForce(request.leaseId) : undefined;
  const state = held?.resume ? 'RUNNING' : now.state;
  const own =
    !held && now.state === 'RUNNING'
      ? await ownHold(context, compute.computeId, machine)
      : undefined;
  const present = context.compute(compute.computeId);
  const captureTimeMs = held ? holdStartMs(present, held) : Date.now();
  try {
    await switchDisks(
      context,
      machine,
      switches.filter(({ isAttached }) => isAttached),
    );
    switchRecords(
      context,
      switches.filter(({ isAttached }) => !isAttached),
    );
    await failpoint('qemu.capture.disks');
    if (request.memory) await takeMemory(machine, now.partial);
    // The moment of truth: everything up to here lay under the hold.
    const leases = [request.leaseId, own?.leaseId].filter((id) => id !== undefined && id !== '');
    for (const id of leases) await context.leases.assertInForce(id!);
    if (freeze) await context.leases.assertInForce(freeze.leaseId);
    return { captureTimeMs, state, frozen };
  } finally {
    if (own) {
      if (machine.alive) await machine.resume();
      await context.leases.files.release(own.leaseId);
    }
  }
}

async function ownHold(context: DriverContext, computeId: string, machine: Machine) {
  const lease = await context.leases.take({
    kind: 'hold',
    computeId,
    runFolder: machine.folder,
    uuid: machine.uuid,
    durationMs: ownHoldMs,
    resume: true,
    thaw: false,
  });
  await machine.pause();
  return lease;
}

/**
 * Device state and memory of a paused machine. The two do not touch each other, so they go at the
 * same time.
 */
async function takeMemory(machine: Machine, partial: string): Promise<void> {
  const results = await Promise.allSettled([
    saveDeviceState(machine, join(partial, stateImage.file)),
    copySparse(machine.path('memory'), join(partial, memoryImage.file)),
  ]);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/**
 * Moves all disks to their new layers in one transaction of QEMU. The records move first: while the
 * new layer is empty both say the same, and afterwards only the new one is right, so a crash in
 * between loses no write.
 */
async function switchDisks(
  context: DriverContext,
  machine: Machine,
  switches: Switch[],
): Promise<void> {
  if (switches.length === 0) return;
  try {
    for (const { active } of switches) {
      const layer = { nodeName: nodeName(active.layerId), path: context.folders.layer(active) };
      await machine.qmp.execute('blockdev-add', layerOptions({ ...layer, format: 'qcow2' }, [], 0));
    }
    switchRecords(context, switches);
    await failpoint('qemu.capture.switching');
    await machine.qmp.execute('transaction', {
      actions: switches.map(({ frozen, active }) => ({
        type: 'blockdev-snapshot',
        data: { node: nodeName(frozen.layerId), overlay: nodeName(active.layerId) },
      })),
    });
  } catch (error) {
    if (machine.alive && !machine.qmp.closed) await undoSwitch(context, machine, switches);
    throw error;
  }
}

/**
 * The transaction is all or nothing: after its failure the new layers are nodes that nothing uses.
 */
async function undoSwitch(
  context: DriverContext,
  machine: Machine,
  switches: Switch[],
): Promise<void> {
  await reconcileLayers(context, machine, switches);
  for (const { active } of switches) {
    // Refused for a node that was never added, or that is in use after all: both are fine.
    await machine.qmp
      .execute('blockdev-del', { 'node-name': nodeName(active.layerId) })
      .catch(() => {});
  }
}

function switchRecords(context: DriverContext, switches: Switch[]): void {
  context.store.transaction(() => {
    assertDetached(
      context,
      switches.filter(({ isAttached }) => !isAttached),
    );
    for (const { volumeId, active } of switches) {
      const volume = context.store.get('volume', volumeId)!;
      context.store.put('volume', volumeId, { ...volume, activeLayerId: active.layerId });
    }
  });
}

/** Asks QEMU which layer each disk is at, and records that. */
export async function reconcileLayers(
  context: DriverContext,
  machine: Machine,
  disks: { volumeId: string; name: string }[],
): Promise<void> {
  type Device = { qdev?: string; inserted?: { 'node-name'?: string } };
  const devices = await machine.qmp.execute<Device[]>('query-block');
  for (const { volumeId, name } of disks) {
    const device = devices.find(({ qdev }) => qdev?.split('/').includes(`disk-${name}`));
    const layerId = layerIdOfNode(device?.inserted?.['node-name'] ?? '');
    const volume = context.store.get('volume', volumeId);
    if (!layerId || !volume || volume.activeLayerId === layerId) continue;
    context.store.put('volume', volumeId, { ...volume, activeLayerId: layerId });
  }
}

async function makeDurable(memory: boolean, partial: string): Promise<void> {
  if (memory) await syncFile(join(partial, memoryImage.file));
  await syncFolder(partial);
  await syncFolder(dirname(partial));
}

function recordOf(
  context: DriverContext,
  compute: ComputeRecord,
  request: CaptureRequest,
  switches: Switch[],
  taken: Taken & { stateBytes: number },
): SnapshotRecord {
  const instance: InstanceSnapshot = create(InstanceSnapshotSchema, {
    snapshotId: request.snapshotId,
    computeId: compute.computeId,
    driver: context.instanceId,
    name: request.name,
    captureTime: timestampFromMs(taken.captureTimeMs),
    completeTime: timestampFromMs(Date.now()),
    memory: request.memory,
    images: [
      ...switches.map(({ name, volumeId, frozen }) => ({
        name,
        role: ImageRole.DISK,
        volumeId,
        sizeBytes: BigInt(frozen.sizeBytes),
      })),
      ...(request.memory ? memoryImages(compute.memoryMib, taken.stateBytes) : []),
    ],
    memoryTechnique: request.memory ? MemoryTechnique.EXTERNAL : MemoryTechnique.UNSPECIFIED,
    diskTechnique:
      switches.length > 0 ? DiskTechnique.EXTERNAL_INCREMENTAL : DiskTechnique.UNSPECIFIED,
    stateWhenTaken: stateMessage(taken.state),
    quiesced: taken.frozen,
    spec: specOf(compute),
    compatibility: stampMessage(context.hypervisor),
    parentSnapshotId: compute.parentSnapshotId ?? '',
    metadata: request.metadata,
  });
  return {
    snapshotId: request.snapshotId,
    instance: toJson(InstanceSnapshotSchema, instance),
    layers: Object.fromEntries(switches.map(({ name, frozen }) => [name, frozen.layerId])),
    request: request.request,
    order: nextOrder(context),
  };
}

const memoryImages = (memoryMib: number, stateBytes: number) => [
  {
    name: memoryImage.name,
    role: ImageRole.MEMORY,
    sizeBytes: BigInt(memoryMib) * BigInt(mebibyte),
  },
  { name: stateImage.name, role: ImageRole.DEVICE_STATE, sizeBytes: BigInt(stateBytes) },
];

/** The place of a new snapshot in the order of making. */
export const nextOrder = (context: DriverContext): number =>
  Math.max(0, ...context.store.list('snapshot').map(({ order }) => order)) + 1;

/** The snapshots, oldest first. */
export const snapshotsInOrder = (context: DriverContext): SnapshotRecord[] =>
  context.store.list('snapshot').sort((one, other) => one.order - other.order);
