import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { create, fromJson, toJson } from '@bufbuild/protobuf';
import { ImageRole } from '../../../../gen/nfv/common/v1/common_pb.js';
import {
  type InstanceSnapshot,
  InstanceSnapshotSchema,
  type SnapshotImage,
} from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { alreadyExists, dataLoss, invalidArgument } from '../../../../sdk/errors.ts';
import { failpoint } from '../../../../sdk/failpoint.ts';
import { unknownSnapshot } from '../errors.ts';
import { renameDurably, syncFile, syncFolder } from '../host/durable-files.ts';
import type { DriverContext } from '../state/context.ts';
import type { SnapshotRecord } from '../state/records.ts';
import { memoryImage, nextOrder, stateImage } from './capture.ts';
import { fileSize } from './openings.ts';

const imagesMax = 32;
const namePattern = /^[a-z0-9][a-z0-9-]{0,63}$/;
const idPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const imageBytesMax = 2n ** 46n;

/** The folder of an import that is not sealed yet. */
export const importFolder = (context: DriverContext, snapshotId: string): string =>
  `${context.folders.snapshot(snapshotId)}.import`;

/**
 * The file of one image of an import. Disks come in as raw files: nothing in them chooses a format.
 */
export const importFile = (image: SnapshotImage): string => {
  if (image.role === ImageRole.MEMORY) return memoryImage.file;
  if (image.role === ImageRole.DEVICE_STATE) return stateImage.file;
  return `disk-${image.name}.raw`;
};

/**
 * Makes empty files for a snapshot that comes from elsewhere; an earlier try of the same id is
 * dropped.
 */
export async function beginImport(
  context: DriverContext,
  snapshot: InstanceSnapshot,
): Promise<void> {
  assertImportable(snapshot);
  if (context.store.get('snapshot', snapshot.snapshotId)) {
    const text = `there is a snapshot "${snapshot.snapshotId}" already`;
    throw alreadyExists('ID_REUSED', text, { snapshot_id: snapshot.snapshotId });
  }
  const folder = importFolder(context, snapshot.snapshotId);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o700 });
  for (const image of snapshot.images) {
    await (await open(join(folder, importFile(image)), 'wx', 0o600)).close();
  }
  await syncFolder(folder);
  context.store.put('import', snapshot.snapshotId, {
    snapshotId: snapshot.snapshotId,
    instance: toJson(InstanceSnapshotSchema, snapshot),
    beginTimeMs: Date.now(),
  });
}

/** The description comes from an archive: nothing of it is believed. */
function assertImportable(snapshot: InstanceSnapshot): void {
  const wrong = (field: string, why: string) =>
    invalidArgument('FIELD_VIOLATION', `snapshot.${field}: ${why}`, { field });
  if (!idPattern.test(snapshot.snapshotId)) throw wrong('snapshot_id', 'it is not an identifier');
  if (snapshot.images.length > imagesMax) throw wrong('images', `more than ${imagesMax}`);
  const names = new Set<string>();
  const roles = { memory: 0, state: 0 };
  for (const { name, role, sizeBytes } of snapshot.images) {
    if (!namePattern.test(name)) throw wrong('images', `"${name}" is not a name`);
    if (names.has(name)) throw wrong('images', `"${name}" is there twice`);
    names.add(name);
    if (sizeBytes > imageBytesMax) throw wrong('images', `"${name}" is too large`);
    if (role === ImageRole.MEMORY) roles.memory++;
    else if (role === ImageRole.DEVICE_STATE) roles.state++;
    else if (role !== ImageRole.DISK) throw wrong('images', `"${name}" has no role`);
    else if (sizeBytes === 0n || sizeBytes % 512n !== 0n) {
      throw wrong('images', `disk "${name}" has ${sizeBytes} bytes, not a multiple of 512`);
    }
  }
  const want = snapshot.memory ? 1 : 0;
  if (roles.memory !== want || roles.state !== want) {
    throw wrong('images', 'a warm snapshot has one memory and one device state image, a cold none');
  }
}

/**
 * Checks the sizes, makes all durable, and publishes. DATA_LOSS reason IMAGE_SIZE for a file that
 * is too short.
 */
export async function sealImport(
  context: DriverContext,
  snapshotId: string,
): Promise<SnapshotRecord> {
  const sealed = context.store.get('snapshot', snapshotId);
  if (sealed) return sealed;
  const begun = context.store.get('import', snapshotId);
  if (!begun) throw unknownSnapshot(snapshotId);
  const snapshot = fromJson(InstanceSnapshotSchema, begun.instance);
  const folder = importFolder(context, snapshotId);
  for (const image of snapshot.images) await checkFile(join(folder, importFile(image)), image);
  await syncFolder(folder);
  await failpoint('qemu.import.checked');
  const layers: Record<string, string> = {};
  try {
    for (const image of snapshot.images) {
      if (image.role !== ImageRole.DISK) continue;
      const path = join(folder, importFile(image));
      // A second name for the file: when this ends half-way, the import is still whole and can be
      // sealed again.
      const layer = await context.layers.adopt(path, 'raw', Number(image.sizeBytes));
      layers[image.name] = layer.layerId;
    }
    await publish(context, snapshot, folder);
    return recordImport(context, snapshot, layers);
  } finally {
    context.layers.unpin(Object.values(layers));
  }
}

async function checkFile(path: string, image: SnapshotImage): Promise<void> {
  const size = await fileSize(path);
  if (size !== Number(image.sizeBytes)) {
    const text = `image "${image.name}" has ${size} bytes in ${path}, not ${image.sizeBytes}`;
    throw dataLoss('IMAGE_SIZE', text, { image: image.name, size: String(size) });
  }
  await syncFile(path);
}

async function publish(
  context: DriverContext,
  snapshot: InstanceSnapshot,
  folder: string,
): Promise<void> {
  const target = context.folders.snapshot(snapshot.snapshotId);
  await rm(target, { recursive: true, force: true });
  await renameDurably(folder, target);
  await failpoint('qemu.import.renamed');
}

function recordImport(
  context: DriverContext,
  snapshot: InstanceSnapshot,
  layers: Record<string, string>,
): SnapshotRecord {
  const instance = create(InstanceSnapshotSchema, {
    ...snapshot,
    driver: context.instanceId,
    parentSnapshotId: '',
    imported: true,
  });
  const record: SnapshotRecord = {
    snapshotId: snapshot.snapshotId,
    instance: toJson(InstanceSnapshotSchema, instance),
    layers,
    request: 'import',
    order: nextOrder(context),
  };
  context.store.transaction(() => {
    context.store.put('snapshot', snapshot.snapshotId, record);
    context.store.delete('import', snapshot.snapshotId);
  });
  return record;
}
