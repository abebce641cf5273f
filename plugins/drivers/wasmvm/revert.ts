import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageRole } from '../../../gen/nfv/common/v1/common_pb.js';
import {
  type RevertToInstanceSnapshotRequest,
  StateAfterRevert,
} from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  ComputeState,
  type InstanceSnapshot,
  type VirtualCompute,
  type VolumeAttachment,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { dataLoss, failedPrecondition, type RpcError } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import { placeOf } from '../../../sdk/snapshot-folder.ts';
import { deviceStateImage, memoryImage, withDetached } from './compute-spec.ts';
import {
  type Core,
  computeKey,
  freshVolumeFile,
  generationId,
  imagePath,
  machineConfig,
  mapsKey,
  snapshotFolder,
  snapshotKey,
  volumeKey,
  volumePath,
  writePower,
} from './core.ts';
import { fileError, inSlices, remove, syncFile, syncFolder } from './files.ts';
import { leaseDuration } from './holds.ts';
import type { Compute, Power, Volume } from './inventory.ts';
import { revertHoldMsDefault } from './limits.ts';
import type { AfterRestore } from './machine/protocol.ts';
import { copySparse } from './machine/sparse-copy.ts';
import { computeMessage, isCompatible } from './messages.ts';

/** A volume that goes back, to which image, and the file that will hold it. */
type Restored = { volume: Volume; imageName: string; file: string };
type After = AfterRestore | { kind: 'stop' };

/**
 * Brings an instance back. New files of the disks and the new guest are made beside the old ones;
 * one transaction changes over. Before it everything is as it was; after it, should the process
 * die, the guest starts from the restored disks as after a power failure.
 */
export function revertCompute(
  core: Core,
  request: RevertToInstanceSnapshotRequest,
): Promise<VirtualCompute> {
  const { computeId, snapshotId, detachedVolumes } = request;
  const holdMs = request.holdDeadline
    ? leaseDuration(request.holdDeadline, 'hold_deadline')
    : revertHoldMsDefault;
  const detached = detachedVolumes.map(({ volumeId }) => volumeKey(volumeId));
  return core.locks.run([computeKey(computeId), snapshotKey(snapshotId), ...detached], async () => {
    const compute = core.inventory.compute(computeId);
    const { snapshot } = core.inventory.snapshot(snapshotId);
    const volumes = withDetached(core, compute.spec.volumes, detachedVolumes);
    checkFit(core, { compute, volumes }, snapshot, request.force);
    checkFiles(core, snapshot);
    const after = stateAfter(core, request.stateAfter, snapshot, holdMs);
    const restored = plan(core, volumes, snapshot);
    try {
      await copyDisks(core, snapshotId, restored);
      await failpoint('wasmvm.revert.after-copy');
      await changeOver(core, compute, snapshot, restored, after);
    } catch (error) {
      await removeUnused(core, restored);
      throw fileError(error);
    }
    core.watchers.notify(computeId);
    return computeMessage(core, computeId);
  });
}

/**
 * A compute resource takes a snapshot when it has the same volumes by name and size, and the same
 * memory.
 */
function checkFit(
  core: Core,
  { compute, volumes }: { compute: Compute; volumes: readonly VolumeAttachment[] },
  snapshot: InstanceSnapshot,
  force: boolean,
): void {
  if (snapshot.memory && !force && !isCompatible(snapshot.compatibility)) {
    throw incompatible(compute, snapshot, 'its memory was captured on another kind of machine');
  }
  const names = (...some: readonly { name: string }[]) =>
    [...new Set(some.map(({ name }) => name))].sort().join();
  const disks = snapshot.images.filter(({ role }) => role === ImageRole.DISK);
  const attached = snapshot.spec?.volumes ?? [];
  if (names(...attached, ...disks) !== names(...volumes)) {
    throw incompatible(compute, snapshot, 'the names of the volumes differ');
  }
  if (snapshot.memory && names(...attached) !== names(...compute.spec.volumes)) {
    throw incompatible(compute, snapshot, 'its memory was captured with other volumes attached');
  }
  if (snapshot.memory && snapshot.spec?.memoryMib !== compute.spec.memoryMib) {
    throw incompatible(compute, snapshot, 'the size of the memory differs');
  }
  for (const { name, sizeBytes } of disks) {
    const attachment = volumes.find((volume) => volume.name === name);
    const volume = attachment && core.inventory.volume(attachment.volumeId);
    if (!volume || BigInt(volume.sizeBytes) !== sizeBytes) {
      throw incompatible(compute, snapshot, `the volume ${name} has another size`);
    }
  }
}

/** A folder of a caller may have been moved or unmounted. */
function checkFiles(core: Core, { snapshotId, images }: InstanceSnapshot): void {
  for (const { name } of images) {
    const path = imagePath(core, snapshotId, name);
    if (existsSync(path)) continue;
    const text = `image "${name}" of snapshot ${snapshotId} is not at ${placeOf(snapshotFolder(core, snapshotId))} any more; bring its files back there`;
    throw dataLoss('IMAGE_MISSING', text, { snapshot_id: snapshotId, image: name });
  }
}

function plan(
  core: Core,
  volumes: readonly VolumeAttachment[],
  snapshot: InstanceSnapshot,
): Restored[] {
  return volumes
    .filter(({ name }) => snapshot.images.some((image) => image.name === name))
    .map(({ name, volumeId }) => ({
      volume: core.inventory.volume(volumeId),
      imageName: name,
      file: freshVolumeFile(core, volumeId),
    }));
}

async function copyDisks(core: Core, snapshotId: string, restored: Restored[]): Promise<void> {
  for (const { volume, imageName, file } of restored) {
    const path = join(core.folders.volumes, file);
    const source = imagePath(core, snapshotId, imageName);
    await inSlices(copySparse(source, path, volume.sizeBytes));
    await syncFile(path);
  }
  await syncFolder(core.folders.volumes);
}

async function changeOver(
  core: Core,
  old: Compute,
  snapshot: InstanceSnapshot,
  restored: Restored[],
  after: After,
): Promise<void> {
  const generation = old.generation + 1;
  const power: Power = after.kind === 'stop' ? 'off' : after.kind === 'pause' ? 'paused' : 'on';
  const compute: Compute = {
    ...old,
    generation,
    generationId: generationId(core, generation),
    power,
    reason: '',
  };
  if (after.kind !== 'stop') await prepare(core, compute, snapshot, restored);
  try {
    await failpoint('wasmvm.revert.before-commit');
    await core.locks.run([mapsKey], () => commit(core, compute, restored, snapshot.snapshotId));
  } catch (error) {
    if (after.kind !== 'stop') await core.room.call('abortRestore', { computeId: old.id });
    throw error;
  }
  core.ended.delete(old.id);
  await failpoint('wasmvm.revert.after-commit');
  await settle(core, compute, after);
  // Nobody has the old files open any more.
  for (const { volume } of restored) await remove(volumePath(core, volume));
}

/** Loads the new guest beside the old one, which stands from now on. */
async function prepare(
  core: Core,
  compute: Compute,
  snapshot: InstanceSnapshot,
  restored: Restored[],
): Promise<void> {
  const files = new Map(restored.map(({ volume, file }) => [volume.id, file]));
  const config = machineConfig(core, compute, files);
  const { quiesced } = snapshot;
  if (!snapshot.memory) {
    await core.room.call('prepareRestore', { config, quiesced: false });
    return;
  }
  const memory = new Uint8Array(await readFile(imagePath(core, snapshot.snapshotId, memoryImage)));
  const deviceState = await readFile(imagePath(core, snapshot.snapshotId, deviceStateImage));
  const input = { config, memory, deviceState: new Uint8Array(deviceState), quiesced };
  await core.room.call('prepareRestore', input, 0, [memory.buffer]);
}

/** The moment of the revert: all disks and the power state change in one transaction. */
async function commit(
  core: Core,
  compute: Compute,
  restored: Restored[],
  snapshotId: string,
): Promise<void> {
  const volumes = restored.map(({ volume, file }) => ({ ...volume, file }));
  await core.inventory.write({ computes: [compute], volumes });
  for (const { volume, imageName } of restored) {
    core.logs.begin(volume, { snapshotId, imageName });
  }
}

/**
 * Lets the new guest take the old one's place. When its memory cannot be kept, it is stopped with
 * the new disks.
 */
async function settle(core: Core, compute: Compute, after: After): Promise<void> {
  const computeId = compute.id;
  if (after.kind === 'stop') {
    await core.room.call('stop', { computeId });
    return;
  }
  try {
    await core.room.call('commitRestore', { computeId, after });
  } catch (error) {
    await core.room.call('stop', { computeId });
    await writePower(core, computeId, 'off', 'the memory of the snapshot could not be kept');
    throw error;
  }
}

async function removeUnused(core: Core, restored: Restored[]): Promise<void> {
  for (const { volume, file } of restored) {
    const used = core.inventory.volumes.get(volume.id)?.file === file;
    if (!used) await remove(join(core.folders.volumes, file));
  }
}

function stateAfter(
  core: Core,
  asked: StateAfterRevert,
  snapshot: InstanceSnapshot,
  holdMs: number,
): After {
  if (asked === StateAfterRevert.HELD) {
    return { kind: 'hold', leaseId: core.random.uuid(), durationMs: holdMs };
  }
  if (asked === StateAfterRevert.RUNNING) return { kind: 'run' };
  if (asked === StateAfterRevert.STOPPED) return { kind: 'stop' };
  if (snapshot.stateWhenTaken === ComputeState.RUNNING) return { kind: 'run' };
  return snapshot.stateWhenTaken === ComputeState.PAUSED && snapshot.memory
    ? { kind: 'pause' }
    : { kind: 'stop' };
}

function incompatible(compute: Compute, snapshot: InstanceSnapshot, why: string): RpcError {
  const text = `snapshot ${snapshot.snapshotId} does not fit compute ${compute.id}: ${why}`;
  return failedPrecondition('INCOMPATIBLE', text, {
    snapshot_id: snapshot.snapshotId,
    compute_id: compute.id,
  });
}
