/** Delete VNF snapshot package: GR NFV-TST 005 clause 6.7.6, by its step numbers. */
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { PackageState } from '../../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import type { OperationDefinition, Step } from '../../../sdk/operations/engine.ts';
import { changeRecord, vnfPackages } from '../records.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import { callOf, defineProcedure } from './define.ts';
import { grantStep } from './grant.ts';

export const deletePackageName = 'delete-vnf-snapshot-package';

export type DeletePackageInput = {
  uses: Use[];
  vnfSnapshotPkgId: string;
  vnfInstanceId: string;
  vnfdId: string;
};

type Input = DeletePackageInput;

/** The procedure. Blocks that no other package needs are freed by the next garbage collection. */
export function deletePackage(vnfm: Vnfm): OperationDefinition<Input> {
  return defineProcedure<Input>({
    name: deletePackageName,
    operation: OperationType.DELETE_PACKAGE,
    onFailure: 'failed-temp',
    plan: () => [
      grantStep(vnfm, { clause: '6.7.6', clauseStep: '2' }, (given) => ({
        vnfInstanceId: given.vnfInstanceId,
        vnfdId: given.vnfdId,
        vnfSnapshotPkgId: given.vnfSnapshotPkgId,
        operation: OperationType.DELETE_PACKAGE,
      })),
      remove(vnfm),
    ],
    ended: async (tx, { to, input }) => {
      if (to === OperationState.COMPLETED) {
        await tx.collection(vnfPackages).delete(input.vnfSnapshotPkgId);
        return;
      }
      await changeRecord(tx, vnfPackages, input.vnfSnapshotPkgId, (info) => {
        info.state = PackageState.AVAILABLE;
      });
    },
  });
}

/** 6.7.6 step 4. */
function remove(vnfm: Vnfm): Step<Input> {
  return {
    name: 'delete',
    clause: '6.7.6',
    clauseStep: '4',
    caller: 'vnfm',
    callee: 'repository',
    irreversible: true,
    retryable: true,
    deadlineMs: 60_000,
    run: async (context) => {
      await vnfm.peers.repository.deletePackage(
        { packageId: context.input.vnfSnapshotPkgId, call: callOf(context) },
        { signal: context.signal },
      );
    },
  };
}
