import { create } from '@bufbuild/protobuf';
import type { PackageInfo } from '../../gen/nfv/repository/v1/repository_pb.js';
import type { VnfSnapshot } from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  PackageState,
  type VnfSnapshotPkgInfo,
  VnfSnapshotPkgInfoSchema,
} from '../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';

/** What the VNFM tells of a package: from the repository's record and from the snapshot in it. */
export function packageInfoOf(
  stored: PackageInfo,
  snapshot: VnfSnapshot,
  userDefinedData: { [key: string]: string },
): VnfSnapshotPkgInfo {
  const captured = snapshot.vnfcSnapshots.map((part) => part.vnfcInstanceId);
  const packed = captured.filter((vnfc) =>
    stored.images.some((image) => image.name.startsWith(`${vnfc}/`)),
  );
  const sum = (bytes: (image: PackageInfo['images'][number]) => bigint) =>
    stored.images.reduce((total, image) => total + bytes(image), 0n);
  return create(VnfSnapshotPkgInfoSchema, {
    id: stored.packageId,
    name: stored.name,
    ...(stored.createTime && { createdAt: stored.createTime }),
    vnfSnapshotId: snapshot.id,
    vnfInstanceId: snapshot.vnfInstanceId,
    vnfdId: snapshot.vnfdId,
    vnfcSnapshotInfoIds: packed,
    isFullSnapshot: packed.length === captured.length,
    images: stored.images.map((image) => ({
      name: image.name,
      role: image.role,
      logicalBytes: image.logicalBytes,
      bytesRead: image.bytesRead,
      blocks: image.blocks,
      newBlocks: image.newBlocks,
      storedBytes: image.storedBytes,
      sampledBlocks: image.sampledBlocks,
      mapSource: image.mapSource,
      mapReason: image.mapReason,
    })),
    state: PackageState.AVAILABLE,
    parentPkgId: stored.parentPackageId,
    logicalBytes: sum((image) => image.logicalBytes),
    storedBytes: sum((image) => image.storedBytes),
    ...(snapshot.consistency && { consistency: snapshot.consistency }),
    userDefinedData,
  });
}
