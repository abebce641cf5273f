import type { DescService } from '@bufbuild/protobuf';
import { VirtualisedComputeResourceService } from '../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import { VnfLifecycleOperationGrantingService } from '../../gen/nfv/grant/v1/grant_pb.js';
import { VirtualisedNetworkResourceService } from '../../gen/nfv/network/v1/virtualised_network_resource_pb.js';
import { RepositoryService } from '../../gen/nfv/repository/v1/repository_pb.js';
import { VirtualisedStorageResourceService } from '../../gen/nfv/storage/v1/virtualised_storage_resource_pb.js';
import { VnfcSnapshotPackageService } from '../../gen/nfv/vnfc_snapshot_package/v1/vnfc_snapshot_package_pb.js';
import type { CallOptions, Client } from '../../sdk/client.ts';
import type { PluginContext } from '../../sdk/plugin.ts';
import type { VnfmConfig } from './config.ts';

/** The interfaces of one VIM that the VNFM uses: on Vi-Vnfm, or on Or-Vnfm through the NFVO. */
export type VimClients = {
  compute: Client<typeof VirtualisedComputeResourceService>;
  storage: Client<typeof VirtualisedStorageResourceService>;
  network: Client<typeof VirtualisedNetworkResourceService>;
  packages: Client<typeof VnfcSnapshotPackageService>;
};

/** Everybody whom the VNFM calls. It never calls a driver. */
export type Peers = {
  /** By plugin instance: the one of a VNF is recorded with it. */
  vim(target: string): VimClients;
  granting: Client<typeof VnfLifecycleOperationGrantingService>;
  repository: Client<typeof RepositoryService>;
};

export function connectPeers(context: Pick<PluginContext, 'client'>, config: VnfmConfig): Peers {
  const vims = new Map<string, VimClients>();
  const client =
    config.resourceManagement === 'direct' ? direct(context) : throughNfvo(context, config);
  return {
    vim(target) {
      const known = vims.get(target);
      if (known) return known;
      const clients: VimClients = {
        compute: client(VirtualisedComputeResourceService, target),
        storage: client(VirtualisedStorageResourceService, target),
        network: client(VirtualisedNetworkResourceService, target),
        packages: client(VnfcSnapshotPackageService, target),
      };
      vims.set(target, clients);
      return clients;
    },
    granting: context.client(VnfLifecycleOperationGrantingService, { target: config.nfvo }),
    repository: context.client(RepositoryService, { target: config.repository }),
  };
}

type VimClient = <S extends DescService>(service: S, target: string) => Client<S>;

function direct(context: Pick<PluginContext, 'client'>): VimClient {
  return (service, target) => context.client(service, { target });
}

type AnyMethod = (request: object, options?: CallOptions) => unknown;

/** The same interfaces at the NFVO; each request names the VIM that it is for. */
function throughNfvo(context: Pick<PluginContext, 'client'>, { nfvo }: VnfmConfig): VimClient {
  return <S extends DescService>(service: S, resourceProviderId: string) => {
    const client = context.client(service, { target: nfvo }) as unknown as Record<
      string,
      AnyMethod
    >;
    const methods = service.methods.map(({ localName }) => {
      const method: AnyMethod = (request, options) =>
        client[localName]!({ ...request, resourceProviderId }, options);
      return [localName, method];
    });
    return Object.fromEntries(methods) as Client<S>;
  };
}
