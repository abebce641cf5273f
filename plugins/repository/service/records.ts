import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { ImageRole, MapSource } from '../../../gen/nfv/common/v1/common_pb.js';
import { PackageKind } from '../../../gen/nfv/repository/v1/repository_pb.js';
import { internal } from '../../../sdk/errors.ts';
import type { ImageRecord, Manifest, PackageKind as StoreKind } from '../store/store.ts';

const kinds: Record<StoreKind, PackageKind> = {
  VNF: PackageKind.VNF,
  VNFC: PackageKind.VNFC,
  IMAGE: PackageKind.IMAGES,
};

const roles: Record<string, ImageRole> = {
  disk: ImageRole.DISK,
  memory: ImageRole.MEMORY,
  'device-state': ImageRole.DEVICE_STATE,
};

/** The store's word for a kind; the validated request has one. */
export function storeKind(kind: PackageKind): StoreKind {
  const found = Object.entries(kinds).find(([, value]) => value === kind);
  if (found) return found[0] as StoreKind;
  throw internal('KIND_UNKNOWN', `package kind ${kind} has no word in the store`);
}

/** The store's word for what an image holds. */
export function storeRole(role: ImageRole): string {
  return Object.entries(roles).find(([, value]) => value === role)?.[0] ?? 'disk';
}

export function imageRole(role: string): ImageRole {
  return roles[role] ?? ImageRole.UNSPECIFIED;
}

/** A manifest as the interface shows it. */
export function packageInfo(manifest: Manifest) {
  return {
    packageId: manifest.id,
    kind: kinds[manifest.kind],
    name: manifest.name,
    createTime: timestampFromDate(new Date(manifest.createdAt)),
    images: manifest.images.map(imageInfo),
    files: manifest.files.map(({ name, sizeBytes, id }) => ({
      name,
      sizeBytes: BigInt(sizeBytes),
      checksum: { algorithm: 'BLAKE3', hash: id },
    })),
    labels: manifest.labels,
    parentPackageId: manifest.parents[0] ?? '',
  };
}

function imageInfo(image: ImageRecord) {
  const { written, map } = image;
  return {
    name: image.name,
    role: imageRole(image.role),
    logicalBytes: BigInt(image.logicalBytes),
    bytesRead: BigInt(written.bytesRead),
    blocks: BigInt(image.blockCount),
    newBlocks: BigInt(written.newBlocks),
    storedBytes: BigInt(written.storedBytes),
    sampledBlocks: BigInt(written.sampledBlocks),
    mapSource: mapSource(image),
    mapReason: map.reason,
    root: image.root,
    sourceSnapshotId: image.sourceSnapshotId,
  };
}

/** The label of an image that keeps the mechanism of its map. */
export const mapOriginLabel = 'mapOrigin';

function mapSource({ map, labels }: ImageRecord): MapSource {
  if (map.source === 'full') return MapSource.FULL;
  if (map.source === 'hash-scan') return MapSource.HASH_SCAN;
  if (map.source === 'parent-image') return MapSource.PARENT_IMAGE;
  if (map.source === 'map-rejected') return MapSource.REJECTED;
  const origin = labels[mapOriginLabel] as keyof typeof MapSource | undefined;
  return (origin && MapSource[origin]) || MapSource.USER;
}
