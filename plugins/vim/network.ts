import { VirtualisedNetworkResourceService } from '../../gen/nfv/network/v1/virtualised_network_resource_pb.js';
import { implement } from '../../sdk/server.ts';
import { forwarded, type Vim } from './vim.ts';

/** The network interface: finds the driver that has the network and passes the call on, errors unchanged. */
export function networkService(vim: Vim) {
  return implement(
    VirtualisedNetworkResourceService,
    {
      allocateVirtualisedNetworkResource: async (request, context) => {
        const driver = await vim.placeOf(request);
        await vim.resources.place('network', request.networkResourceId, driver);
        const { networkResourceId: networkId, ...rest } = forwarded(request);
        const { network } = await vim.drivers
          .client(driver)
          .createNetwork({ ...rest, networkId }, vim.options(context));
        return { networkData: network && { ...network, driver } };
      },
      queryVirtualisedNetworkResource: async ({ networkResourceIds }) => {
        const networks = await vim.all(async (client) => (await client.listNetworks({})).networks);
        const wanted = new Set(networkResourceIds);
        return {
          queryResult: networks.filter((item) => wanted.size === 0 || wanted.has(item.networkId)),
        };
      },
      terminateVirtualisedNetworkResource: async (request, context) => {
        const driver = await vim.resources.find('network', request.networkResourceId);
        if (!driver) return {};
        const { networkResourceId: networkId, ...rest } = forwarded(request);
        await vim.drivers
          .client(driver)
          .deleteNetwork({ ...rest, networkId }, vim.options(context));
        await vim.resources.forget('network', request.networkResourceId);
        return {};
      },
    },
    { logger: vim.logger },
  );
}
