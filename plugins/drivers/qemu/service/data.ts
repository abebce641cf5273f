import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import {
  type DataLocationSchema,
  ImageFormat,
  ImageRole,
  MapSource,
} from '../../../../gen/nfv/common/v1/common_pb.js';
import {
  DataTransport,
  type DriverService,
  type OpenSnapshotDataRequest,
} from '../../../../gen/nfv/driver/v1/driver_pb.js';
import type { SnapshotImage } from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { notFound } from '../../../../sdk/errors.ts';
import type { Handlers } from '../../../../sdk/server.ts';
import { layersLock } from '../disks/tidy.ts';
import { capabilityMissing, unknownVolume, wrongState } from '../errors.ts';
import { observe } from '../machine/lifecycle.ts';
import { allocatedRuns, changedRuns, type Run } from '../snapshots/changed-map.ts';
import { beginImport, importFile, importFolder, sealImport } from '../snapshots/import.ts';
import { closeOpening, fileSize, recordOpening, serveLayer } from '../snapshots/openings.ts';
import type { DriverContext } from '../state/context.ts';
import type { LayerRecord, SnapshotRecord } from '../state/records.ts';
import { ownerOf, snapshotMessage } from './messages.ts';
import { imageFile, layerFormats, withFiles } from './snapshot-files.ts';
import { snapshotRecord, tidyLater } from './snapshots.ts';

const extentsPerMessageMax = 4096;

type DataHandlers = Pick<
  Handlers<typeof DriverService>,
  | 'openSnapshotData'
  | 'openVolumeData'
  | 'closeData'
  | 'getMetadataDelta'
  | 'getMetadataAllocated'
  | 'beginSnapshotImport'
  | 'sealSnapshotImport'
>;

type Location = MessageInitShape<typeof DataLocationSchema>;

/** The calls that lead to bulk data; the bytes themselves never pass here. */
export function dataHandlers(context: DriverContext): DataHandlers {
  return {
    openSnapshotData: async (request) => ({ locations: await openSnapshot(context, request) }),
    openVolumeData: async ({ volumeId }) => ({ location: await openVolume(context, volumeId) }),
    closeData: async ({ token }) => {
      if (await closeOpening(context, token)) tidyLater(context);
      return {};
    },
    async *getMetadataDelta({ baseSnapshotId, targetSnapshotId, imageName, startingOffset }) {
      const base = snapshotRecord(context, baseSnapshotId);
      const target = snapshotRecord(context, targetSnapshotId);
      imageOf(target, imageName);
      const runs = await changedRuns(context, base, target, imageName);
      const source = MapSource.OVERLAY;
      for (const extents of pages(runs, startingOffset)) yield { source, extents };
    },
    async *getMetadataAllocated({ snapshotId, imageName, startingOffset }) {
      const snapshot = snapshotRecord(context, snapshotId);
      const image = imageOf(snapshot, imageName);
      const runs =
        image.role === ImageRole.DEVICE_STATE
          ? [{ start: 0, length: Number(image.sizeBytes) }]
          : await allocatedRuns(context, snapshot, imageName);
      for (const extents of pages(runs, startingOffset)) yield { extents };
    },
    beginSnapshotImport: ({ snapshot }) =>
      context.locks.run(`snapshot ${snapshot!.snapshotId}`, async () => {
        await beginImport(context, snapshot!);
        const folder = importFolder(context, snapshot!.snapshotId);
        return {
          locations: snapshot!.images.map((image) =>
            fileLocation(image, join(folder, importFile(image)), ImageFormat.RAW),
          ),
        };
      }),
    sealSnapshotImport: ({ snapshotId }) =>
      context.locks.run(`snapshot ${snapshotId}`, async () => ({
        snapshot: withFiles(context, await sealImport(context, snapshotId)),
      })),
  };
}

/** Extents after the resume point, in messages of bounded size; at least one message. */
function* pages(runs: Run[], startingOffset: bigint) {
  const rest = runs
    .map(({ start, length }) => ({ start: BigInt(start), length: BigInt(length) }))
    .filter(({ start, length }) => start + length > startingOffset);
  for (let at = 0; at === 0 || at < rest.length; at += extentsPerMessageMax) {
    yield rest.slice(at, at + extentsPerMessageMax);
  }
}

function imageOf(record: SnapshotRecord, name: string): SnapshotImage {
  const image = snapshotMessage(record).images.find((candidate) => candidate.name === name);
  if (image) return image;
  const text = `snapshot ${record.snapshotId} has no image "${name}"`;
  throw notFound('IMAGE_UNKNOWN', text, { snapshot_id: record.snapshotId, image: name });
}

function fileLocation(
  image: Pick<SnapshotImage, 'name' | 'role' | 'sizeBytes'>,
  path: string,
  format: ImageFormat,
): Location {
  return {
    name: image.name,
    role: image.role,
    sizeBytes: image.sizeBytes,
    location: { case: 'localFile', value: { path, format } },
  };
}

async function openSnapshot(
  context: DriverContext,
  { snapshotId, transport, imageNames, token }: OpenSnapshotDataRequest,
): Promise<Location[]> {
  const nbd = transport === DataTransport.NBD;
  if (nbd && !context.hypervisor.nbdServer) {
    throw capabilityMissing('NBD', 'serve NBD: qemu-nbd is missing (package qemu-utils)');
  }
  // Under the lock of the layers: a merge that is under way must end before somebody reads.
  const { record, opening } = await context.locks.run(layersLock, async () => {
    const found = snapshotRecord(context, snapshotId);
    const topLayerIds = Object.values(found.layers);
    if (token !== '') await closeOpening(context, token);
    return { record: found, opening: recordOpening(context, { snapshotId, topLayerIds }, token) };
  });
  try {
    const names =
      imageNames.length > 0 ? imageNames : snapshotMessage(record).images.map(({ name }) => name);
    const locations: Location[] = [];
    for (const [index, name] of names.entries()) {
      const served = nbd ? { token: opening.token, index } : undefined;
      const location = await locate(context, record, imageOf(record, name), served);
      const expireTime = timestampFromMs(opening.expireTimeMs);
      locations.push({ ...location, token: opening.token, expireTime });
    }
    return locations;
  } catch (error) {
    await closeOpening(context, opening.token);
    throw error;
  }
}

async function locate(
  context: DriverContext,
  record: SnapshotRecord,
  image: SnapshotImage,
  served: { token: string; index: number } | undefined,
): Promise<Location> {
  if (image.role !== ImageRole.DISK) {
    const { path } = imageFile(context, record, image);
    const sizeBytes = BigInt(await fileSize(path));
    return fileLocation({ ...image, sizeBytes }, path, ImageFormat.RAW);
  }
  const layer = context.layers.get(record.layers[image.name]!);
  if (!served) return layerLocation(context, image, layer);
  const { token, index } = served;
  const { socketPath, exportName } = await serveLayer(context, token, index, image.name, layer);
  return {
    name: image.name,
    role: image.role,
    sizeBytes: image.sizeBytes,
    location: {
      case: 'nbd',
      value: {
        address: { case: 'socketPath', value: socketPath },
        exportName,
        metaContexts: ['base:allocation'],
        tls: false,
      },
    },
  };
}

const layerLocation = (
  context: DriverContext,
  image: Pick<SnapshotImage, 'name' | 'role' | 'sizeBytes'>,
  layer: LayerRecord,
): Location => fileLocation(image, context.folders.layer(layer), layerFormats[layer.format]);

async function openVolume(context: DriverContext, volumeId: string): Promise<Location> {
  return context.locks.run(layersLock, async () => {
    const volume = context.store.get('volume', volumeId);
    if (!volume) throw unknownVolume(volumeId);
    const owner = ownerOf(context, volumeId);
    if (owner) {
      const { state } = await observe(context, owner.computeId);
      if (state === 'RUNNING') throw wrongState(owner.computeId, state, 'PAUSED or STOPPED');
    }
    const layer = context.layers.get(volume.activeLayerId);
    const opening = recordOpening(context, { volumeId, topLayerIds: [layer.layerId] });
    const image = {
      name: volumeId,
      role: ImageRole.DISK,
      sizeBytes: BigInt(volume.sizeBytes),
    };
    return {
      ...layerLocation(context, image, layer),
      token: opening.token,
      expireTime: timestampFromMs(opening.expireTimeMs),
    };
  });
}
