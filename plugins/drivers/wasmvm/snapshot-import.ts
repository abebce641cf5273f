import { stat } from 'node:fs/promises';
import { create, toJsonString } from '@bufbuild/protobuf';
import { type DataLocation, ImageRole } from '../../../gen/nfv/common/v1/common_pb.js';
import type { BeginSnapshotImportRequest } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  type InstanceSnapshot,
  InstanceSnapshotSchema,
  type SnapshotImage,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import { deviceStateImage, memoryImage } from './compute-spec.ts';
import { type Core, imagePath, snapshotFolder, snapshotKey } from './core.ts';
import { fileError, makeFolder, remove, writeNew } from './files.ts';
import { unknown } from './inventory.ts';
import { deviceStateBytesMax, memoryMibMax, snapshotsMax, volumeBytesMax } from './limits.ts';
import { locate } from './openings.ts';
import { badField, idReused, tooMany } from './refusals.ts';
import { syncImages } from './snapshot-create.ts';

const idPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const namePattern = /^[a-z0-9][a-z0-9-]{0,63}$/;
const imagesMax = 28;

/** Begins to bring a snapshot in; beginning again starts over. */
export function beginImport(
  core: Core,
  request: BeginSnapshotImportRequest,
): Promise<DataLocation[]> {
  const described = request.snapshot as InstanceSnapshot;
  checkDescription(described);
  const { snapshotId } = described;
  return core.locks.run([snapshotKey(snapshotId)], async () => {
    const known = core.inventory.snapshots.get(snapshotId);
    if (known?.stage === 'SEALED') throw idReused('snapshot', snapshotId);
    if (!known && core.inventory.snapshots.size >= snapshotsMax) {
      throw tooMany('snapshots', snapshotsMax);
    }
    const snapshot = create(InstanceSnapshotSchema, {
      ...described,
      driver: core.instanceId,
      // Its relatives are elsewhere.
      parentSnapshotId: '',
      imported: true,
    });
    try {
      await remove(snapshotFolder(core, snapshotId));
      await makeFolder(snapshotFolder(core, snapshotId));
      for (const { name } of snapshot.images) {
        await writeNew(imagePath(core, snapshotId, name), new Uint8Array());
      }
      await syncImages(core, snapshotId, snapshot.images);
    } catch (error) {
      throw fileError(error);
    }
    await failpoint('wasmvm.import.before-begun');
    const requestText = toJsonString(InstanceSnapshotSchema, described);
    await core.inventory.write({
      snapshots: [{ id: snapshotId, stage: 'BEGUN', snapshot, request: requestText, maps: {} }],
    });
    return snapshot.images.map((image) => locate(image, imagePath(core, snapshotId, image.name)));
  });
}

/** Makes an imported snapshot whole and visible. */
export function sealImport(core: Core, snapshotId: string): Promise<InstanceSnapshot> {
  return core.locks.run([snapshotKey(snapshotId)], async () => {
    const record = core.inventory.snapshots.get(snapshotId);
    if (!record?.snapshot.imported) return unknown('SNAPSHOT_UNKNOWN', 'snapshot', snapshotId);
    if (record.stage === 'SEALED') return record.snapshot;
    for (const image of record.snapshot.images) await checkSize(core, snapshotId, image);
    await syncImages(core, snapshotId, record.snapshot.images);
    await failpoint('wasmvm.import.before-sealed');
    await core.inventory.write({ snapshots: [{ ...record, stage: 'SEALED' }] });
    return record.snapshot;
  });
}

async function checkSize(core: Core, snapshotId: string, image: SnapshotImage): Promise<void> {
  const { size } = await stat(imagePath(core, snapshotId, image.name));
  if (BigInt(size) === image.sizeBytes) return;
  const text = `image ${image.name} of ${snapshotId} has ${size} bytes, not ${image.sizeBytes}`;
  throw failedPrecondition('IMAGE_SIZE', `${text}; write all of it, then seal again`, {
    image_name: image.name,
    size_bytes: String(size),
    expected_bytes: String(image.sizeBytes),
  });
}

/**
 * The description comes from somewhere else: everything that becomes a path or a length is checked.
 */
function checkDescription({ snapshotId, images, memory, spec }: InstanceSnapshot): void {
  if (!idPattern.test(snapshotId)) {
    throw badField('snapshot.snapshot_id', `must match ${idPattern.source}`);
  }
  if (images.length === 0 || images.length > imagesMax) {
    throw badField('snapshot.images', `must have 1 to ${imagesMax} entries`);
  }
  if (!spec) throw badField('snapshot.spec', 'is required');
  const names = new Set<string>();
  for (const [index, image] of images.entries()) {
    const field = `snapshot.images[${index}]`;
    if (!namePattern.test(image.name) || names.has(image.name)) {
      throw badField(`${field}.name`, `must match ${namePattern.source} and be unique`);
    }
    names.add(image.name);
    if (!isRoleOf(image)) throw badField(`${field}.role`, 'does not fit the name');
    if (image.sizeBytes > BigInt(largest(image.role))) {
      throw badField(`${field}.size_bytes`, `must be at most ${largest(image.role)}`);
    }
  }
  if (memory !== (names.has(memoryImage) && names.has(deviceStateImage))) {
    throw badField(
      'snapshot.memory',
      'must say whether memory and device state are among the images',
    );
  }
}

function isRoleOf({ name, role }: SnapshotImage): boolean {
  if (name === memoryImage) return role === ImageRole.MEMORY;
  if (name === deviceStateImage) return role === ImageRole.DEVICE_STATE;
  return role === ImageRole.DISK;
}

function largest(role: ImageRole): number {
  if (role === ImageRole.MEMORY) return memoryMibMax * 1024 * 1024;
  return role === ImageRole.DEVICE_STATE ? deviceStateBytesMax : volumeBytesMax;
}
