import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { ImageFormat, LocalFileSchema } from '../../../gen/nfv/common/v1/common_pb.js';
import type { UpdateInstanceSnapshotRequest } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  type InstanceSnapshot,
  InstanceSnapshotSchema,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import { placeOf, removeLinked } from '../../../sdk/snapshot-folder.ts';
import { type ChangedMap, rebase } from './changed-map.ts';
import { type Core, imageFile, mapsKey, snapshotFolder, snapshotKey } from './core.ts';
import type { Snapshot, StoredMap } from './inventory.ts';
import type { Openings } from './openings.ts';
import { loadMap, storeMap } from './snapshot-create.ts';

const metadataItemsMax = 64;

/** Snapshots that are whole, oldest first; of one compute resource when it is named. */
export function listSnapshots(core: Core, computeId: string): InstanceSnapshot[] {
  return [...core.inventory.snapshots.values()]
    .filter(({ stage }) => stage === 'SEALED')
    .map(({ snapshot }) => snapshot)
    .filter((snapshot) => computeId === '' || snapshot.computeId === computeId);
}

/** A snapshot as it is told of: with the files that it is in. */
export function withFiles(core: Core, snapshot: InstanceSnapshot): InstanceSnapshot {
  const folder = placeOf(snapshotFolder(core, snapshot.snapshotId));
  const images = snapshot.images.map((image) => ({
    ...image,
    file: create(LocalFileSchema, {
      path: join(folder, imageFile(image.name)),
      format: ImageFormat.RAW,
    }),
  }));
  return create(InstanceSnapshotSchema, { ...snapshot, images });
}

/** Changes the name or the metadata. */
export function updateSnapshot(
  core: Core,
  request: UpdateInstanceSnapshotRequest,
): Promise<InstanceSnapshot> {
  // Deletions relink snapshots, so they and this must not overtake each other.
  return core.locks.run([snapshotKey(request.snapshotId), mapsKey], async () => {
    const record = core.inventory.snapshot(request.snapshotId);
    const metadata = { ...record.snapshot.metadata };
    for (const [key, value] of Object.entries(request.metadata)) {
      if (value === '') delete metadata[key];
      else metadata[key] = value;
    }
    if (Object.keys(metadata).length > metadataItemsMax) {
      const text = `a snapshot has at most ${metadataItemsMax} pairs of metadata`;
      throw failedPrecondition('METADATA_FULL', text, { limit: String(metadataItemsMax) });
    }
    const name = request.name ?? record.snapshot.name;
    const snapshot = create(InstanceSnapshotSchema, { ...record.snapshot, name, metadata });
    await core.inventory.write({ snapshots: [{ ...record, snapshot }] });
    return snapshot;
  });
}

/** Deletes a snapshot; maps and parents that led to it lead to its own base and parent then. */
export function deleteSnapshot(core: Core, openings: Openings, snapshotId: string): Promise<void> {
  return core.locks.run([snapshotKey(snapshotId), mapsKey], async () => {
    const record = core.inventory.snapshots.get(snapshotId);
    if (!record) return;
    if (openings.isOpen(snapshotId)) {
      const text = `data of snapshot ${snapshotId} is open; close it first`;
      throw failedPrecondition('SNAPSHOT_OPEN', text, { snapshot_id: snapshotId });
    }
    const maps = loadMaps(record);
    const relinked = [...core.inventory.snapshots.values()]
      .filter(({ id }) => id !== snapshotId)
      .flatMap((other) => relink(other, record, maps));
    await core.inventory.write({ snapshots: relinked, deletedSnapshots: [snapshotId] });
    core.logs.forward(snapshotId, maps);
    await failpoint('wasmvm.snapshot.before-remove');
    await removeLinked(snapshotFolder(core, snapshotId));
  });
}

function loadMaps(record: Snapshot): Record<string, ChangedMap> {
  return Object.fromEntries(
    Object.entries(record.maps).map(([name, map]) => [name, loadMap(map) as ChangedMap]),
  );
}

/**
 * The record of another snapshot without the one that goes away; nothing when it did not refer to
 * it.
 */
function relink(other: Snapshot, gone: Snapshot, goneMaps: Record<string, ChangedMap>): Snapshot[] {
  const child = other.snapshot.parentSnapshotId === gone.id;
  const based = Object.values(other.maps).some(({ base }) => base.snapshotId === gone.id);
  if (!child && !based) return [];
  const maps: Record<string, StoredMap> = {};
  for (const [name, map] of Object.entries(other.maps)) {
    const kept =
      map.base.snapshotId === gone.id
        ? rebase(loadMap(map) as ChangedMap, goneMaps[map.base.imageName])
        : loadMap(map);
    if (kept) maps[name] = storeMap(kept);
  }
  const parentSnapshotId = child ? gone.snapshot.parentSnapshotId : other.snapshot.parentSnapshotId;
  const snapshot = create(InstanceSnapshotSchema, { ...other.snapshot, parentSnapshotId });
  return [{ ...other, maps, snapshot }];
}
