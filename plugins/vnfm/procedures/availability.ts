import { failedPrecondition, type RpcError } from '../../../sdk/errors.ts';

/** A snapshot whose data is not, or not any more, where it should be. */
export function notAvailable(vnfSnapshotInfoId: string, why: string): RpcError {
  return failedPrecondition(
    'SNAPSHOT_NOT_AVAILABLE',
    `VNF snapshot "${vnfSnapshotInfoId}" is not available: ${why}`,
    { vnf_snapshot_info_id: vnfSnapshotInfoId },
  );
}
