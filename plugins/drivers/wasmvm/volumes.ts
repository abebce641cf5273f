import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { create, equals } from '@bufbuild/protobuf';
import type {
  AttachVolumeRequest,
  CreateVolumeRequest,
  DetachVolumeRequest,
} from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  ComputeSpecSchema,
  ComputeState,
  type VirtualCompute,
  type VirtualStorage,
  type VolumeAttachment,
  VolumeAttachmentSchema,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { failpoint } from '../../../sdk/failpoint.ts';
import { checkAttachment, volumeAttached } from './compute-spec.ts';
import { type Core, computeKey, freshVolumeFile, volumeKey, volumePath } from './core.ts';
import { fileError, inSlices, remove, syncFile, syncFolder, writeNew } from './files.ts';
import type { Volume } from './inventory.ts';
import { volumeBytesMax, volumesMax } from './limits.ts';
import { copySparse } from './machine/sparse-copy.ts';
import { computeMessage, volumeMessage } from './messages.ts';
import { badField, capabilityMissing, idReused, tooMany } from './refusals.ts';

const sectorBytes = 512n;

/** Makes a volume, empty or from an image. */
export function createVolume(core: Core, request: CreateVolumeRequest): Promise<VirtualStorage> {
  const { volumeId, image } = request;
  return core.locks.run([volumeKey(volumeId)], async () => {
    const known = core.inventory.volumes.get(volumeId);
    if (known) {
      const same = known.image === image && BigInt(known.requestedBytes) === request.sizeBytes;
      if (!same) throw idReused('volume', volumeId);
      return volumeMessage(core, known);
    }
    if (core.inventory.volumes.size >= volumesMax) throw tooMany('volumes', volumesMax);
    const sizeBytes = await checkedSize(core, request);
    const volume: Volume = {
      id: volumeId,
      sizeBytes,
      requestedBytes: Number(request.sizeBytes),
      image,
      file: freshVolumeFile(core, volumeId),
      createMs: core.clock.now().getTime(),
    };
    try {
      await makeFile(core, volume);
      await failpoint('wasmvm.volume.before-record');
      await core.inventory.write({ volumes: [volume] });
    } catch (error) {
      await remove(volumePath(core, volume));
      throw fileError(error);
    }
    return volumeMessage(core, volume);
  });
}

/** Deletes a volume that nothing has. */
export function deleteVolume(core: Core, volumeId: string): Promise<void> {
  return core.locks.run([volumeKey(volumeId)], async () => {
    const volume = core.inventory.volumes.get(volumeId);
    if (!volume) return;
    const owner = core.inventory.ownerOf(volumeId);
    if (owner) throw volumeAttached(volumeId, owner.id);
    // The record first: a file without a record is removed at the next start.
    await core.inventory.write({ deletedVolumes: [volumeId] });
    core.logs.forget(volumeId);
    await failpoint('wasmvm.volume.before-remove');
    await remove(volumePath(core, volume));
  });
}

/** Attaches a volume to a compute resource that is not in memory. */
export function attachVolume(core: Core, request: AttachVolumeRequest): Promise<VirtualCompute> {
  const { computeId } = request;
  const attachment = request.attachment as VolumeAttachment;
  const keys = [computeKey(computeId), volumeKey(attachment.volumeId)];
  return core.locks.run(keys, async () => {
    const { spec } = core.inventory.compute(computeId);
    if (spec.volumes.some((item) => equals(VolumeAttachmentSchema, item, attachment))) {
      return computeMessage(core, computeId);
    }
    checkAttachment(core, spec.volumes, attachment, 'attachment');
    const place = request.position ?? spec.volumes.length;
    return changeVolumes(core, computeId, spec.volumes.toSpliced(place, 0, attachment));
  });
}

/** Detaches a volume from a compute resource that is not in memory. */
export function detachVolume(core: Core, request: DetachVolumeRequest): Promise<VirtualCompute> {
  const { computeId, volumeId } = request;
  return core.locks.run([computeKey(computeId), volumeKey(volumeId)], async () => {
    const { spec } = core.inventory.compute(computeId);
    core.inventory.volume(volumeId);
    const rest = spec.volumes.filter((item) => item.volumeId !== volumeId);
    if (rest.length === spec.volumes.length) return computeMessage(core, computeId);
    return changeVolumes(core, computeId, rest);
  });
}

async function changeVolumes(
  core: Core,
  computeId: string,
  volumes: VolumeAttachment[],
): Promise<VirtualCompute> {
  const { state } = await computeMessage(core, computeId);
  if (state === ComputeState.RUNNING || state === ComputeState.PAUSED) {
    const text = `compute ${computeId} is in memory: its volumes change only while it is stopped`;
    throw capabilityMissing('HOT_PLUG', text);
  }
  const compute = core.inventory.compute(computeId);
  const spec = create(ComputeSpecSchema, { ...compute.spec, volumes });
  await core.inventory.write({ computes: [{ ...compute, spec }] });
  core.watchers.notify(computeId);
  return computeMessage(core, computeId);
}

async function checkedSize(core: Core, request: CreateVolumeRequest): Promise<number> {
  if (request.sizeBytes % sectorBytes !== 0n) {
    throw badField('size_bytes', `must be a multiple of ${sectorBytes}`);
  }
  if (request.sizeBytes > BigInt(volumeBytesMax)) {
    throw badField('size_bytes', `must be at most ${volumeBytesMax}`);
  }
  const asked = Number(request.sizeBytes);
  if (request.image === '') {
    if (asked === 0) throw badField('size_bytes', 'is required for an empty volume');
    return asked;
  }
  const { sizeBytes } = await core.images.find(request.image);
  if (asked !== 0 && asked < sizeBytes) {
    throw badField('size_bytes', `must be at least ${sizeBytes}, the size of the image`);
  }
  return asked || sizeBytes;
}

async function makeFile(core: Core, volume: Volume): Promise<void> {
  const path = volumePath(core, volume);
  if (volume.image === '') await writeNew(path, new Uint8Array());
  else {
    const image = await core.images.find(volume.image);
    await inSlices(copySparse(image.path, path, Math.min(image.sizeBytes, volume.sizeBytes)));
  }
  await truncate(path, volume.sizeBytes);
  await syncFile(path);
  await syncFolder(join(path, '..'));
}
