import {
  VnfInstanceSchema,
  VnfSnapshotInfoSchema,
} from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { PackageArchiveSchema } from '../../gen/nfv/vnf_snapshot_package/v1/package_archive_pb.js';
import { VnfSnapshotPkgInfoSchema } from '../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { notFound, type RpcError } from '../../sdk/errors.ts';
import {
  type CollectionDefinition,
  messageCollection,
  type StoredRecord,
  type Transaction,
} from '../../sdk/records/record-store.ts';

/** The VNF instances. */
export const vnfInstances = messageCollection('vnf-instances', VnfInstanceSchema);
/**
 * The VNF snapshot repository of the VNFM (GR NFV-TST 005, Vnfm.008): what there is; the data is at
 * the VIM.
 */
export const vnfSnapshots = messageCollection('vnf-snapshots', VnfSnapshotInfoSchema);
/**
 * The VNF snapshot package repository of the VNFM (Vnfm.009): what there is; the data is in the
 * repository.
 */
export const vnfPackages = messageCollection('vnf-snapshot-packages', VnfSnapshotPkgInfoSchema);
/** Archives that are uploaded, or written to be downloaded; their bytes are on the shelf. */
export const packageArchives = messageCollection('package-archives', PackageArchiveSchema);

/** The errors for what is not there. */
export const unknownVnf = (id: string): RpcError =>
  notFound('VNF_UNKNOWN', `there is no VNF instance "${id}"`, { vnf_instance_id: id });
export const unknownSnapshot = (id: string): RpcError =>
  notFound('SNAPSHOT_UNKNOWN', `there is no VNF snapshot "${id}"`, { vnf_snapshot_info_id: id });
export const unknownArchive = (id: string): RpcError =>
  notFound('ARCHIVE_UNKNOWN', `there is no archive "${id}"`, { archive_id: id });
export const unknownPackage = (id: string): RpcError =>
  notFound('PACKAGE_UNKNOWN', `there is no package "${id}"`, { vnf_snapshot_pkg_id: id });

/** The record, or the error that its kind has for an id that nobody knows. */
export async function requireRecord<T>(
  store: Transaction,
  collection: CollectionDefinition<T>,
  id: string,
  unknown: (id: string) => RpcError,
): Promise<StoredRecord<T>> {
  const found = await store.collection(collection).get(id);
  if (found) return found;
  throw unknown(id);
}

/** Changes a record in place within a transaction, when it is there. */
export async function changeRecord<T>(
  tx: Transaction,
  collection: CollectionDefinition<T>,
  id: string,
  change: (value: T) => void,
): Promise<void> {
  const found = await tx.collection(collection).get(id);
  if (!found) return;
  change(found.value);
  await tx.collection(collection).update(id, found.value);
}
