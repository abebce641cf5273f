import { VirtualisedComputeResourceService } from '../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import { VirtualisedNetworkResourceService } from '../../gen/nfv/network/v1/virtualised_network_resource_pb.js';
import { VirtualisedStorageResourceService } from '../../gen/nfv/storage/v1/virtualised_storage_resource_pb.js';
import { VnfcSnapshotPackageService } from '../../gen/nfv/vnfc_snapshot_package/v1/vnfc_snapshot_package_pb.js';

/** The interfaces of a VIM that a VNFM reaches through the NFVO in indirect resource management mode. */
export const resourceServices = [
  VirtualisedComputeResourceService,
  VirtualisedStorageResourceService,
  VirtualisedNetworkResourceService,
  VnfcSnapshotPackageService,
] as const;

/** The names of their RPCs. */
export const resourceMethods: readonly string[] = resourceServices.flatMap((service) =>
  service.methods.map(({ name }) => name),
);
