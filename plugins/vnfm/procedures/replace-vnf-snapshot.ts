/** Replacing the previous snapshot: GR NFV-TST 005 clauses 5.1.3.4 and 6.1.1. */
import type { JsonValue } from '@bufbuild/protobuf';
import type { VnfSnapshotInfo } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { RpcError } from '../../../sdk/errors.ts';
import type { Step } from '../../../sdk/operations/engine.ts';
import { deleteSnapshotRecord } from '../em-data.ts';
import type { Vnfm } from '../vnfm.ts';
import { callOf } from './define.ts';

/** Deleting may have to merge layers of disks. */
export const deleteDeadlineMs = 10 * 60_000;

/** Where the parts of a snapshot are. JSON, because operations are journaled with it. */
export type SnapshotParts = { vnfcInstanceId: string; snapshotId: string; vim: string }[];

export type ReplacedSnapshot = { vnfSnapshotInfoId: string; parts: SnapshotParts };

export function partsOf({ vnfSnapshot }: VnfSnapshotInfo): SnapshotParts {
  return (vnfSnapshot?.vnfcSnapshots ?? []).map((part) => ({
    vnfcInstanceId: part.vnfcInstanceId,
    snapshotId: part.instanceSnapshot?.snapshotId ?? '',
    vim: part.vimConnectionId,
  }));
}

/**
 * Deletes the snapshot that a new one replaces, once that is whole. That it fails is no reason to
 * lose the new one: it is a warning, and the old one stays listed.
 */
export function deleteReplacedStep<I extends JsonValue>(
  vnfm: Vnfm,
  { vnfSnapshotInfoId, parts }: ReplacedSnapshot,
): Step<I> {
  return {
    ...{ name: 'delete replaced', clause: '5.1.3.4', caller: 'vnfm', callee: 'vim' },
    irreversible: true,
    deadlineMs: deleteDeadlineMs,
    run: async (context) => {
      try {
        for (const { snapshotId, vim, vnfcInstanceId } of parts) {
          await vnfm.peers
            .vim(vim)
            .compute.deleteVirtualisedComputeResourceSnapshot(
              { snapshotId, call: callOf(context, vnfcInstanceId) },
              { signal: context.signal, deadlineMs: deleteDeadlineMs },
            );
        }
      } catch (thrown) {
        const { reason, message } = RpcError.from(thrown);
        context.warn(`${vnfSnapshotInfoId} is not deleted: ${reason}: ${message}; delete it`);
        return;
      }
      context.note(vnfSnapshotInfoId);
      context.withEnd(async (tx) => {
        await deleteSnapshotRecord(tx, vnfSnapshotInfoId);
      });
    },
  };
}
