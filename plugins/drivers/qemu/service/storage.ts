import { rm } from 'node:fs/promises';
import type { DriverService } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import { alreadyExists, failedPrecondition, invalidArgument } from '../../../../sdk/errors.ts';
import type { Handlers } from '../../../../sdk/server.ts';
import { tidyLayers } from '../disks/tidy.ts';
import type { DriverContext } from '../state/context.ts';
import type { VolumeRecord } from '../state/records.ts';
import { networkMessage, ownerOf, volumeMessage } from './messages.ts';

/** What qcow2 and the virtio disk take. */
const sectorBytes = 512;
const volumeBytesMax = 2 ** 46;

type StorageHandlers = Pick<
  Handlers<typeof DriverService>,
  | 'createVolume'
  | 'listVolumes'
  | 'deleteVolume'
  | 'createNetwork'
  | 'listNetworks'
  | 'deleteNetwork'
>;

/** The calls about volumes and networks. */
export function storageHandlers(context: DriverContext): StorageHandlers {
  return {
    createVolume: ({ volumeId, sizeBytes, image }) =>
      context.locks.run(`volume ${volumeId}`, async () => {
        const existing = context.store.get('volume', volumeId);
        const volume =
          existing ?? (await createVolume(context, volumeId, Number(sizeBytes), image));
        const sameSize = sizeBytes === 0n || volume.sizeBytes === Number(sizeBytes);
        if (volume.image !== image || !sameSize) throw reused('volume', volumeId);
        return { volume: volumeMessage(context, volume) };
      }),
    listVolumes: async () => ({
      volumes: context.store.list('volume').map((volume) => volumeMessage(context, volume)),
    }),
    deleteVolume: ({ volumeId }) =>
      context.locks.run(`volume ${volumeId}`, async () => {
        const owner = ownerOf(context, volumeId);
        if (owner) {
          const text = `volume ${volumeId} is attached to ${owner.computeId}; detach it first`;
          throw failedPrecondition('VOLUME_ATTACHED', text, { volume_id: volumeId });
        }
        if (context.store.get('volume', volumeId)) {
          context.store.delete('volume', volumeId);
          await tidyLayers(context);
        }
        return {};
      }),
    createNetwork: async ({ networkId }) => {
      const existing = context.store.get('network', networkId);
      const network = existing ?? { networkId, createTimeMs: Date.now() };
      if (!existing) context.store.put('network', networkId, network);
      return { network: networkMessage(context, network) };
    },
    listNetworks: async () => ({
      networks: context.store.list('network').map((network) => networkMessage(context, network)),
    }),
    deleteNetwork: async ({ networkId }) => {
      const user = context.store
        .list('compute')
        .find(({ interfaces }) => interfaces.some((port) => port.networkId === networkId));
      if (user) {
        const text = `${user.computeId} has an interface on network ${networkId}`;
        throw failedPrecondition('NETWORK_IN_USE', text, { network_id: networkId });
      }
      context.store.delete('network', networkId);
      await rm(context.folders.link(networkId), { recursive: true, force: true });
      return {};
    },
  };
}

async function createVolume(
  context: DriverContext,
  volumeId: string,
  sizeBytes: number,
  image: string,
): Promise<VolumeRecord> {
  if (sizeBytes % sectorBytes !== 0 || sizeBytes > volumeBytesMax) {
    const text = `size_bytes: ${sizeBytes} is not a multiple of ${sectorBytes} up to ${volumeBytesMax}`;
    throw invalidArgument('FIELD_VIOLATION', text, { size_bytes: String(sizeBytes) });
  }
  if (image === '' && sizeBytes === 0) {
    throw invalidArgument('FIELD_VIOLATION', 'size_bytes: an empty volume needs a size');
  }
  const pinned: string[] = [];
  try {
    const base = image === '' ? undefined : await imageLayer(context, image, sizeBytes);
    if (base) pinned.push(base.layerId);
    const size = sizeBytes || base!.sizeBytes;
    const layer = await context.layers.create(size, base?.layerId);
    pinned.push(layer.layerId);
    const volume: VolumeRecord = {
      volumeId,
      sizeBytes: size,
      image,
      activeLayerId: layer.layerId,
      createTimeMs: Date.now(),
    };
    context.store.put('volume', volumeId, volume);
    return volume;
  } finally {
    context.layers.unpin(pinned);
  }
}

async function imageLayer(context: DriverContext, image: string, sizeBytes: number) {
  const source = await context.images.diskImage(image);
  if (sizeBytes !== 0 && sizeBytes < source.sizeBytes) {
    const text = `size_bytes: image ${image} needs ${source.sizeBytes} bytes, not ${sizeBytes}`;
    throw invalidArgument('FIELD_VIOLATION', text, { size_bytes: String(sizeBytes) });
  }
  return context.locks.run('image layers', () => context.layers.fromImage(source));
}

const reused = (kind: string, id: string) =>
  alreadyExists('ID_REUSED', `${kind} "${id}" exists and differs from what was asked for`, { id });
