import { open } from 'node:fs/promises';
import {
  type DataLocation,
  type Extent,
  ImageRole,
  MapSource,
} from '../../../gen/nfv/common/v1/common_pb.js';
import {
  DataTransport,
  type GetMetadataAllocatedRequest,
  type GetMetadataDeltaRequest,
  type OpenSnapshotDataRequest,
} from '../../../gen/nfv/driver/v1/driver_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { dataLoss, failedPrecondition } from '../../../sdk/errors.ts';
import { differenceOf } from './changed-map.ts';
import { type Core, computeKey, imagePath, snapshotKey, volumeKey, volumePath } from './core.ts';
import { type Snapshot, unknown } from './inventory.ts';
import { blockBytes, extentsPerMessageMax, sliceBytes } from './limits.ts';
import { logExtents } from './machine/change-log.ts';
import { computeMessage } from './messages.ts';
import { locate, type Openings } from './openings.ts';
import { capabilityMissing, computeState } from './refusals.ts';
import { loadMap } from './snapshot-create.ts';

type Run = Pick<Extent, 'start' | 'length'>;

/** Opens the images of a snapshot for reading. */
export function openSnapshotData(
  core: Core,
  openings: Openings,
  request: OpenSnapshotDataRequest,
): Promise<DataLocation[]> {
  return core.locks.run([snapshotKey(request.snapshotId)], async () => {
    const record = core.inventory.snapshot(request.snapshotId);
    if (request.transport === DataTransport.NBD) {
      throw capabilityMissing('NBD', 'the driver has no NBD server: its images are local files');
    }
    const names = request.imageNames.length > 0 ? request.imageNames : allNames(record);
    const images = [...new Set(names)].map((name) => imageOf(record, name));
    const opening = openings.open(record.id, request.token);
    return images.map((image) => locate(image, imagePath(core, record.id, image.name), opening));
  });
}

/** Opens the content of a volume that no running guest writes to. */
export async function openVolumeData(
  core: Core,
  openings: Openings,
  volumeId: string,
): Promise<DataLocation> {
  const owner = core.inventory.ownerOf(volumeId);
  const keys = [volumeKey(volumeId), ...(owner ? [computeKey(owner.id)] : [])];
  return core.locks.run(keys, async () => {
    const volume = core.inventory.volume(volumeId);
    const now = core.inventory.ownerOf(volumeId);
    const state = now ? (await computeMessage(core, now.id)).state : ComputeState.STOPPED;
    if (now && state === ComputeState.RUNNING) {
      throw computeState(now.id, 'running', `volume ${volumeId} changes under the reader`);
    }
    const image = { name: volume.id, role: ImageRole.DISK, sizeBytes: BigInt(volume.sizeBytes) };
    return locate(image, volumePath(core, volume), openings.open(''));
  });
}

/** The blocks of an image that may differ between two snapshots. */
export async function* metadataDelta(
  core: Core,
  request: GetMetadataDeltaRequest,
): AsyncIterable<{ source: MapSource; extents: Run[] }> {
  const { imageName } = request;
  const base = core.inventory.snapshot(request.baseSnapshotId);
  const target = core.inventory.snapshot(request.targetSnapshotId);
  const sizes = [base, target].map((record) => imageOf(record, imageName).sizeBytes);
  const bits = differenceOf(
    { snapshotId: base.id, imageName },
    { snapshotId: target.id, imageName },
    (image) => loadMap(core.inventory.snapshots.get(image.snapshotId)?.maps[image.imageName]),
  );
  if (bits === undefined || sizes[0] !== sizes[1]) {
    const text = `no map leads from ${base.id} to ${target.id} for ${imageName}; scan instead`;
    throw failedPrecondition('MAP_LOST', text, {
      base_snapshot_id: base.id,
      target_snapshot_id: target.id,
      image_name: imageName,
    });
  }
  const runs = logExtents(bits, Number(sizes[0])).map(toExtent);
  for (const extents of batches(after(runs, request.startingOffset))) {
    yield { source: MapSource.DRIVER_LOG, extents };
  }
}

/** The blocks of an image that are not zero. */
export async function* metadataAllocated(
  core: Core,
  request: GetMetadataAllocatedRequest,
): AsyncIterable<{ extents: Run[] }> {
  const record = core.inventory.snapshot(request.snapshotId);
  const image = imageOf(record, request.imageName);
  const path = imagePath(core, record.id, image.name);
  const runs = await allocatedRuns(path, Number(image.sizeBytes));
  for (const extents of batches(after(runs, request.startingOffset))) yield { extents };
}

async function allocatedRuns(path: string, sizeBytes: number): Promise<Run[]> {
  const zero = Buffer.alloc(blockBytes);
  const buffer = Buffer.alloc(Math.min(sliceBytes, sizeBytes));
  const runs: Run[] = [];
  const file = await open(path, 'r');
  try {
    for (let offset = 0; offset < sizeBytes; offset += sliceBytes) {
      const length = Math.min(sliceBytes, sizeBytes - offset);
      await readFully(file, buffer.subarray(0, length), offset, path);
      for (let at = 0; at < length; at += blockBytes) {
        const block = buffer.subarray(at, Math.min(at + blockBytes, length));
        if (!block.equals(zero.subarray(0, block.length))) grow(runs, offset + at, block.length);
      }
    }
    return runs;
  } finally {
    await file.close();
  }
}

type File = Awaited<ReturnType<typeof open>>;

async function readFully(file: File, target: Buffer, offset: number, path: string): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, target.length - done, offset + done);
    if (bytesRead === 0) {
      const at = String(offset + done);
      throw dataLoss('SOURCE_TRUNCATED', `${path} ends at ${at}`, { path, offset: at });
    }
    done += bytesRead;
  }
}

function grow(runs: Run[], start: number, length: number): void {
  const last = runs.at(-1);
  if (last && last.start + last.length === BigInt(start)) last.length += BigInt(length);
  else runs.push(toExtent({ start, length }));
}

function toExtent({ start, length }: { start: number; length: number }): Run {
  return { start: BigInt(start), length: BigInt(length) };
}

function after(runs: Run[], offset: bigint): Run[] {
  return runs.filter(({ start, length }) => start + length > offset);
}

/** At least one message, so that the source of an empty map is told too. */
function* batches(runs: Run[]): Iterable<Run[]> {
  let at = 0;
  do {
    yield runs.slice(at, at + extentsPerMessageMax);
    at += extentsPerMessageMax;
  } while (at < runs.length);
}

function allNames({ snapshot }: Snapshot): string[] {
  return snapshot.images.map(({ name }) => name);
}

function imageOf({ id, snapshot }: Snapshot, name: string) {
  const image = snapshot.images.find((candidate) => candidate.name === name);
  return image ?? unknown('IMAGE_UNKNOWN', 'image', `${name} in snapshot ${id}`);
}
