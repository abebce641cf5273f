import { create, toJsonString } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { ImageRole } from '../../../gen/nfv/common/v1/common_pb.js';
import {
  type CreateInstanceSnapshotRequest,
  CreateInstanceSnapshotRequestSchema,
} from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  ComputeState,
  DiskTechnique,
  type InstanceSnapshot,
  InstanceSnapshotSchema,
  MemoryTechnique,
  type SnapshotImage,
  SnapshotImageSchema,
  type VirtualCompute,
  type VolumeAttachment,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { Code, failedPrecondition, isRpcError } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import { callersFolder, linkToNewFolder, removeLinked } from '../../../sdk/snapshot-folder.ts';
import type { ChangedMap } from './changed-map.ts';
import { deviceStateImage, memoryImage, withDetached } from './compute-spec.ts';
import {
  type Core,
  computeKey,
  imagePath,
  mapsKey,
  snapshotFolder,
  snapshotKey,
  volumeKey,
  volumePath,
  writePower,
} from './core.ts';
import { fileError, inSlices, makeFolder, syncFile, syncFolder, writeNew } from './files.ts';
import type { Snapshot, StoredMap, Volume } from './inventory.ts';
import { snapshotsMax } from './limits.ts';
import { rotateLog } from './machine/change-log.ts';
import type { Captured } from './machine/protocol.ts';
import { copySparse } from './machine/sparse-copy.ts';
import { compatibilityStamp, computeMessage, presentState } from './messages.ts';
import { badField, capabilityMissing, computeState, idReused, tooMany } from './refusals.ts';

type Disk = { attachment: VolumeAttachment; volume: Volume };

/** What was captured, before it is durable. */
type Capture = Omit<Captured, 'state'> & { state: ComputeState };

/** Creates an instance snapshot: whole and durable when it returns, else nothing is kept. */
export function createSnapshot(
  core: Core,
  request: CreateInstanceSnapshotRequest,
): Promise<InstanceSnapshot> {
  const { computeId, snapshotId, detachedVolumes } = request;
  const detached = detachedVolumes.map(({ volumeId }) => volumeKey(volumeId));
  return core.locks.run([computeKey(computeId), snapshotKey(snapshotId), ...detached], async () => {
    const canonical = canonicalRequest(request);
    const known = core.inventory.snapshots.get(snapshotId);
    if (known) {
      if (known.request !== canonical) throw idReused('snapshot', snapshotId);
      return known.snapshot;
    }
    if (core.inventory.snapshots.size >= snapshotsMax) throw tooMany('snapshots', snapshotsMax);
    checkTechniques(request);
    const compute = await computeMessage(core, computeId);
    const volumes = withDetached(core, compute.spec?.volumes ?? [], detachedVolumes);
    const disks = selectDisks(core, volumes, request);
    checkState(compute, request);
    const allowed = core.config.snapshotFolders;
    const folder = request.folder === '' ? undefined : await callersFolder(request.folder, allowed);
    return takeSnapshot(core, request, compute, disks, canonical, folder);
  });
}

async function takeSnapshot(
  core: Core,
  request: CreateInstanceSnapshotRequest,
  compute: VirtualCompute,
  disks: Disk[],
  canonical: string,
  folder: string | undefined,
): Promise<InstanceSnapshot> {
  const { snapshotId } = request;
  const bases = new Map(disks.map(({ volume }) => [volume.id, core.logs.suspend(volume)]));
  let captured: Capture | undefined;
  try {
    const path = snapshotFolder(core, snapshotId);
    if (folder === undefined) await makeFolder(path);
    else await linkToNewFolder(path, folder, snapshotId);
    captured = await captureCompute(core, request, compute, disks);
    await failpoint('wasmvm.snapshot.after-capture');
    const images = await writeImages(core, snapshotId, captured, disks);
    await failpoint('wasmvm.snapshot.before-record');
    const snapshot = describe(core, request, compute, captured, images);
    return await core.locks.run([mapsKey], () =>
      publish(core, snapshot, canonical, disks, bases, captured as Capture),
    );
  } catch (error) {
    if (!isSilence(error)) {
      for (const { volume } of disks) {
        core.logs.resume(volume, bases.get(volume.id), captured?.logs[volume.id], core.inventory);
      }
    }
    if (captured && request.stopAfter && compute.state === ComputeState.RUNNING) {
      await core.room.call('unpause', { computeId: compute.computeId });
    }
    await removeLinked(snapshotFolder(core, snapshotId));
    throw fileError(error);
  } finally {
    if (request.stopAfter && core.inventory.snapshots.has(snapshotId)) {
      await core.room.call('stop', { computeId: compute.computeId });
      await writePower(core, compute.computeId, 'off');
      core.watchers.notify(compute.computeId);
    }
  }
}

/**
 * The machine room did not say what became of the logs, so they stay without a base: the next map
 * is lost.
 */
function isSilence(error: unknown): boolean {
  return isRpcError(error, Code.UNAVAILABLE);
}

async function captureCompute(
  core: Core,
  request: CreateInstanceSnapshotRequest,
  compute: VirtualCompute,
  disks: Disk[],
): Promise<Capture> {
  if (!isInMemory(compute)) return captureStill(core, request, compute, disks);
  const { computeId, memory, leaseId, stopAfter } = request;
  const isAttached = ({ volume }: Disk) => core.inventory.ownerOf(volume.id) !== undefined;
  const still = await captureStill(
    core,
    request,
    compute,
    disks.filter((disk) => !isAttached(disk)),
  );
  const copies = disks.filter(isAttached).map(({ attachment, volume }) => ({
    volumeId: volume.id,
    targetPath: imagePath(core, request.snapshotId, attachment.name),
  }));
  const input = { computeId, memory, disks: copies, leaseId, stopAfter };
  const captured = await core.room.call('capture', input);
  const logs = { ...still.logs, ...captured.logs };
  return { ...captured, logs, state: presentState(captured) };
}

/** Nobody writes to the disks of a guest that is not in memory, nor to those that no guest has. */
async function captureStill(
  core: Core,
  request: CreateInstanceSnapshotRequest,
  compute: VirtualCompute,
  disks: Disk[],
): Promise<Capture> {
  const captureMs = core.clock.now().getTime();
  for (const { attachment, volume } of disks) {
    const target = imagePath(core, request.snapshotId, attachment.name);
    await inSlices(copySparse(volumePath(core, volume), target, volume.sizeBytes));
  }
  const logs: Record<string, Uint8Array> = {};
  for (const { volume } of disks) {
    logs[volume.id] = rotateLog(new Uint8Array(core.logs.of(volume).bits));
  }
  const completeMs = core.clock.now().getTime();
  return { captureMs, completeMs, state: compute.state, quiesced: false, logs };
}

/** Writes what is in memory beside the disks, and makes all of it durable. */
async function writeImages(
  core: Core,
  snapshotId: string,
  captured: Capture,
  disks: Disk[],
): Promise<SnapshotImage[]> {
  const images = disks.map(({ attachment, volume }) =>
    create(SnapshotImageSchema, {
      name: attachment.name,
      role: ImageRole.DISK,
      volumeId: volume.id,
      sizeBytes: BigInt(volume.sizeBytes),
    }),
  );
  const { memory, deviceState } = captured;
  const parts = [
    { name: memoryImage, role: ImageRole.MEMORY, bytes: memory },
    { name: deviceStateImage, role: ImageRole.DEVICE_STATE, bytes: deviceState },
  ];
  for (const { name, role, bytes } of parts) {
    if (!bytes) continue;
    await writeNew(imagePath(core, snapshotId, name), bytes);
    const sizeBytes = BigInt(bytes.length);
    images.push(create(SnapshotImageSchema, { name, role, sizeBytes }));
  }
  await syncImages(core, snapshotId, images);
  return images;
}

/** Makes the images of a snapshot and their names durable. */
export async function syncImages(
  core: Core,
  snapshotId: string,
  images: readonly SnapshotImage[],
): Promise<void> {
  await Promise.all(images.map(({ name }) => syncFile(imagePath(core, snapshotId, name))));
  await syncFolder(snapshotFolder(core, snapshotId));
  await syncFolder(core.folders.snapshots);
}

/** From here on the snapshot exists. Runs alone among all changes of maps. */
async function publish(
  core: Core,
  snapshot: InstanceSnapshot,
  request: string,
  disks: Disk[],
  bases: ReadonlyMap<string, ChangedMap['base'] | undefined>,
  captured: Capture,
): Promise<InstanceSnapshot> {
  const { snapshotId } = snapshot;
  const maps: Record<string, StoredMap> = {};
  for (const { attachment, volume } of disks) {
    const base = bases.get(volume.id);
    const bits = captured.logs[volume.id] as Uint8Array;
    const map = core.logs.resolve(base && { base, bits }, core.inventory);
    if (map) maps[attachment.name] = storeMap(map);
  }
  const record: Snapshot = { id: snapshotId, stage: 'SEALED', snapshot, request, maps };
  await core.inventory.write({ snapshots: [record] });
  for (const { attachment, volume } of disks) {
    // Not begin(): the guest may have written since the capture, and those blocks are marked
    // already.
    core.logs.of(volume).base = { snapshotId, imageName: attachment.name };
  }
  return snapshot;
}

export function storeMap({ base, bits }: ChangedMap): StoredMap {
  return { base, bits: Buffer.from(bits).toString('base64') };
}

export function loadMap(stored: StoredMap | undefined): ChangedMap | undefined {
  return stored && { base: stored.base, bits: new Uint8Array(Buffer.from(stored.bits, 'base64')) };
}

function describe(
  core: Core,
  request: CreateInstanceSnapshotRequest,
  compute: VirtualCompute,
  captured: Capture,
  images: SnapshotImage[],
): InstanceSnapshot {
  const disksTaken = images.some(({ role }) => role === ImageRole.DISK);
  const { spec } = compute;
  return create(InstanceSnapshotSchema, {
    snapshotId: request.snapshotId,
    computeId: compute.computeId,
    driver: core.instanceId,
    name: request.name,
    captureTime: timestampFromMs(captured.captureMs),
    completeTime: timestampFromMs(core.clock.now().getTime()),
    memory: request.memory,
    images,
    memoryTechnique: request.memory ? MemoryTechnique.EXTERNAL : MemoryTechnique.UNSPECIFIED,
    diskTechnique: disksTaken ? DiskTechnique.EXTERNAL_SEQUENTIAL : DiskTechnique.UNSPECIFIED,
    stateWhenTaken: captured.state,
    quiesced: captured.quiesced,
    ...(spec ? { spec } : {}),
    compatibility: compatibilityStamp(),
    parentSnapshotId: latestOf(core, compute.computeId),
    metadata: request.metadata,
  });
}

/** The snapshot of a compute resource that was taken last. */
function latestOf(core: Core, computeId: string): string {
  const own = [...core.inventory.snapshots.values()].filter(
    ({ stage, snapshot }) =>
      stage === 'SEALED' && !snapshot.imported && snapshot.computeId === computeId,
  );
  return own.at(-1)?.id ?? '';
}

/** Everything of a request that its repeat must have too. */
function canonicalRequest(request: CreateInstanceSnapshotRequest): string {
  const { call: _, ...rest } = request;
  const volumeIds = [...request.volumeIds].sort();
  const metadata = Object.fromEntries(Object.entries(request.metadata).sort());
  return toJsonString(
    CreateInstanceSnapshotRequestSchema,
    create(CreateInstanceSnapshotRequestSchema, { ...rest, volumeIds, metadata }),
  );
}

function checkTechniques(request: CreateInstanceSnapshotRequest): void {
  const { memory, volumeIds, detachedVolumes } = request;
  if (!memory && volumeIds.length === 0 && detachedVolumes.length === 0) {
    throw badField('volume_ids', 'must not be empty when memory is not captured either');
  }
  if (request.leaseId !== '' && request.stopAfter) {
    throw badField('stop_after', 'must not be set with a lease');
  }
  if (request.memoryTechnique === MemoryTechnique.INTERNAL) {
    throw capabilityMissing('MEMORY_INTERNAL', 'a raw disk image has no room for memory');
  }
  const asked = request.diskTechnique;
  if (asked === DiskTechnique.EXTERNAL_INCREMENTAL) {
    throw capabilityMissing('DISK_EXTERNAL_INCREMENTAL', 'disks are copied whole');
  }
  if (asked !== DiskTechnique.UNSPECIFIED && asked !== DiskTechnique.EXTERNAL_SEQUENTIAL) {
    throw capabilityMissing('DISK_INTERNAL', 'a raw disk image has no room for snapshots');
  }
}

function selectDisks(
  core: Core,
  attachments: readonly VolumeAttachment[],
  request: CreateInstanceSnapshotRequest,
): Disk[] {
  const detached = request.detachedVolumes.map(({ volumeId }) => volumeId);
  return [...new Set([...request.volumeIds, ...detached])].map((volumeId) => {
    const volume = core.inventory.volume(volumeId);
    const attachment = attachments.find((item) => item.volumeId === volumeId);
    if (attachment) return { attachment, volume };
    const text = `volume ${volumeId} is not attached to compute ${request.computeId}`;
    throw failedPrecondition('VOLUME_NOT_ATTACHED', text, {
      volume_id: volumeId,
      compute_id: request.computeId,
    });
  });
}

function checkState(compute: VirtualCompute, request: CreateInstanceSnapshotRequest): void {
  if (isInMemory(compute)) return;
  const what = 'there is no memory to capture and nothing to hold';
  if (request.memory || request.leaseId !== '') {
    throw computeState(compute.computeId, 'not in memory', what);
  }
}

function isInMemory({ state }: VirtualCompute): boolean {
  return state === ComputeState.RUNNING || state === ComputeState.PAUSED;
}
