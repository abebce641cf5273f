import { VirtualisedStorageResourceService } from '../../gen/nfv/storage/v1/virtualised_storage_resource_pb.js';
import { implement } from '../../sdk/server.ts';
import { forwarded, type Vim } from './vim.ts';

/** The storage interface: finds the driver that has the volume and passes the call on, errors unchanged. */
export function storageService(vim: Vim) {
  return implement(
    VirtualisedStorageResourceService,
    {
      allocateVirtualisedStorageResource: async (request, context) => {
        const driver = await vim.placeOf(request);
        await vim.resources.place('storage', request.storageId, driver);
        const { storageId: volumeId, ...rest } = forwarded(request);
        const { volume } = await vim.drivers
          .client(driver)
          .createVolume({ ...rest, volumeId }, vim.options(context));
        return { storageData: volume && { ...volume, driver } };
      },
      queryVirtualisedStorageResource: async ({ storageIds }) => {
        const volumes = await vim.all(async (client) => (await client.listVolumes({})).volumes);
        const wanted = new Set(storageIds);
        return {
          queryResult: volumes.filter((item) => wanted.size === 0 || wanted.has(item.storageId)),
        };
      },
      terminateVirtualisedStorageResource: async (request, context) => {
        const driver = await vim.resources.find('storage', request.storageId);
        if (!driver) return {};
        const { storageId: volumeId, ...rest } = forwarded(request);
        await vim.drivers.client(driver).deleteVolume({ ...rest, volumeId }, vim.options(context));
        await vim.resources.forget('storage', request.storageId);
        return {};
      },
      openVirtualisedStorageResource: async ({ storageId: volumeId }, context) => {
        const { client } = await vim.of('storage', volumeId);
        const { location } = await client.openVolumeData({ volumeId }, vim.options(context));
        return { location };
      },
      closeVirtualisedStorageResource: async ({ storageId, token }, context) => {
        const { client } = await vim.of('storage', storageId);
        await client.closeData({ token }, vim.options(context));
        return {};
      },
    },
    { logger: vim.logger },
  );
}
