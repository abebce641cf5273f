/**
 * Delete VNF snapshot: ETSI GS NFV-SOL 003 clause 5.4.22; the data of each VNFC goes at the VIM (GR
 * NFV-TST 005 5.1.3.7).
 */
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { SnapshotAvailability } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { type OperationDefinition, parallel, type Step } from '../../../sdk/operations/engine.ts';
import { deleteSnapshotRecord } from '../em-data.ts';
import { changeRecord, vnfSnapshots } from '../records.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import { callOf, defineProcedure } from './define.ts';
import { grantStep } from './grant.ts';
import { deleteDeadlineMs, type SnapshotParts } from './replace-vnf-snapshot.ts';

export const deleteVnfSnapshotName = 'delete-vnf-snapshot';
export type DeleteVnfSnapshotInput = {
  uses: Use[];
  vnfInstanceId: string;
  vnfdId: string;
  vnfSnapshotInfoId: string;
  parts: SnapshotParts;
};

/**
 * The procedure. What was begun is brought to its end: a snapshot of which parts are gone is of no
 * use.
 */
export function deleteVnfSnapshot(vnfm: Vnfm): OperationDefinition<DeleteVnfSnapshotInput> {
  return defineProcedure<DeleteVnfSnapshotInput>({
    name: deleteVnfSnapshotName,
    operation: OperationType.DELETE_SNAPSHOT,
    onFailure: 'failed-temp',
    plan: (input) => [
      grantStep(vnfm, { clause: 'Micromano', clauseStep: '' }, (given) => ({
        vnfInstanceId: given.vnfInstanceId,
        vnfdId: given.vnfdId,
        operation: OperationType.DELETE_SNAPSHOT,
        removeResources: given.parts.map((part) => ({
          id: part.vnfcInstanceId,
          type: 'SNAPSHOT',
          resourceTemplateId: given.vnfSnapshotInfoId,
        })),
      })),
      ...(input.parts.length > 0
        ? [parallel(input.parts.map((part) => deletePart(vnfm, part)))]
        : []),
    ],
    ended: async (tx, { to, input }) => {
      if (to === OperationState.COMPLETED) {
        await deleteSnapshotRecord(tx, input.vnfSnapshotInfoId);
        return;
      }
      await changeRecord(tx, vnfSnapshots, input.vnfSnapshotInfoId, (info) => {
        info.availability = SnapshotAvailability.AVAILABLE;
      });
    },
  });
}

function deletePart(
  vnfm: Vnfm,
  part: DeleteVnfSnapshotInput['parts'][number],
): Step<DeleteVnfSnapshotInput> {
  const { snapshotId, vnfcInstanceId } = part;
  return {
    name: `delete ${vnfcInstanceId}`,
    clause: '5.1.3.7',
    caller: 'vnfm',
    callee: 'vim',
    vnfcInstanceId,
    irreversible: true,
    retryable: true,
    deadlineMs: deleteDeadlineMs,
    run: async (context) => {
      await vnfm.peers
        .vim(part.vim)
        .compute.deleteVirtualisedComputeResourceSnapshot(
          { snapshotId, call: callOf(context) },
          { signal: context.signal, deadlineMs: deleteDeadlineMs },
        );
    },
  };
}
