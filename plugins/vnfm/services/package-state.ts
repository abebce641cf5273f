import {
  PackageState,
  type VnfSnapshotPkgInfo,
} from '../../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import type { Transaction } from '../../../sdk/records/record-store.ts';
import { requireRecord, unknownPackage, vnfPackages } from '../records.ts';
import { checkFree, type Use } from '../usage.ts';
import type { VnfmServices } from '../vnfm.ts';

export const packageUse = (id: string, mode: Use['mode']): Use => ({ kind: 'package', id, mode });

/**
 * A package that is whole, and that no operation changes. FAILED_PRECONDITION with reason
 * PACKAGE_STATE.
 */
export async function availablePackage(
  vnfm: VnfmServices,
  id: string,
): Promise<VnfSnapshotPkgInfo> {
  const { value } = await requireRecord(vnfm.store, vnfPackages, id, unknownPackage);
  await checkFree(vnfm.store, packageUse(id, 'shared'));
  checkState(value);
  return value;
}

/** The same in the transaction that accepts an operation. */
export async function requireAvailable(tx: Transaction, id: string): Promise<void> {
  checkState((await requireRecord(tx, vnfPackages, id, unknownPackage)).value);
}

function checkState({ id, state }: VnfSnapshotPkgInfo): void {
  if (state === PackageState.AVAILABLE) return;
  const name = PackageState[state] ?? '';
  throw failedPrecondition('PACKAGE_STATE', `package "${id}" is ${name}, not AVAILABLE`, {
    vnf_snapshot_pkg_id: id,
    state: name,
  });
}
