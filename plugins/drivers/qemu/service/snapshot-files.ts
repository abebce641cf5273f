import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import {
  ImageFormat,
  ImageRole,
  type LocalFile,
  LocalFileSchema,
} from '../../../../gen/nfv/common/v1/common_pb.js';
import type {
  InstanceSnapshot,
  SnapshotImage,
} from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { placeOf } from '../../../../sdk/snapshot-folder.ts';
import { memoryImage, stateImage } from '../snapshots/capture.ts';
import type { DriverContext } from '../state/context.ts';
import type { SnapshotRecord } from '../state/records.ts';
import { snapshotMessage } from './messages.ts';

export const layerFormats = { qcow2: ImageFormat.QCOW2, raw: ImageFormat.RAW } as const;

/** The file of an image; a disk's frozen layer may refer to the layers below it. */
export function imageFile(
  { folders, layers }: DriverContext,
  { snapshotId, layers: top }: SnapshotRecord,
  { name, role }: Pick<SnapshotImage, 'name' | 'role'>,
): LocalFile {
  if (role !== ImageRole.DISK) {
    const { file } = role === ImageRole.MEMORY ? memoryImage : stateImage;
    const path = join(placeOf(folders.snapshot(snapshotId)), file);
    return create(LocalFileSchema, { path, format: ImageFormat.RAW });
  }
  const layer = layers.get(top[name]!);
  const format = layerFormats[layer.format];
  return create(LocalFileSchema, { path: placeOf(folders.layer(layer)), format });
}

/** A snapshot as it is told of: with the files that it is in now; merging moves them. */
export function withFiles(context: DriverContext, record: SnapshotRecord): InstanceSnapshot {
  const snapshot = snapshotMessage(record);
  for (const image of snapshot.images) image.file = imageFile(context, record, image);
  return snapshot;
}
