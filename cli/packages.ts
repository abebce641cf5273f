import { OperationOccurrenceService } from '../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import {
  VnfSnapshotPackageService,
  type VnfSnapshotPkgInfo,
} from '../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import type { CommonOptions } from './action.ts';
import { findOne, type Kind } from './find.ts';
import { reportOperation } from './occurrence.ts';
import type { Session } from './session.ts';

export type WaitOptions = CommonOptions & { wait: boolean };

/** Packages are managed as the OSS/BSS does it: through the NFVO, on Os-Ma-nfvo. */
export function packages(session: Session) {
  return session.client(VnfSnapshotPackageService, 'oss');
}

const packageKind: Kind = {
  name: 'package',
  nameAttribute: 'name',
  unknown: 'PACKAGE_UNKNOWN',
  list: 'mano package list',
};

/** Finds a package by its id or its name. */
export function findPackage(session: Session, idOrName: string): Promise<VnfSnapshotPkgInfo> {
  return findOne(packageKind, idOrName, async (filter) => {
    const request = { filter, allFields: true };
    return (await packages(session).queryVnfSnapshotPackageInfo(request)).vnfSnapshotPkgInfos;
  });
}

export async function packageId(session: Session, idOrName: string): Promise<string> {
  return (await findPackage(session, idOrName)).id;
}

export function report(
  session: Session,
  id: string,
  options: WaitOptions,
  extra: Record<string, unknown> = {},
): Promise<number> {
  const follow = { json: options.json === true, wait: options.wait };
  return reportOperation(session.client(OperationOccurrenceService, 'oss'), id, follow, extra);
}
