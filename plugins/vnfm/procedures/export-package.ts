/** Export VNF snapshot package: GR NFV-TST 005 clause 6.7.3, by its step numbers. */
import type { ImageFormat } from '../../../gen/nfv/common/v1/common_pb.js';
import { OperationType } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import type { OperationDefinition, Step } from '../../../sdk/operations/engine.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import { callOf, defineProcedure } from './define.ts';
import { grantStep } from './grant.ts';
import { relay } from './progress.ts';

export const exportPackageName = 'export-vnf-snapshot-package';
const exportDeadlineMs = 6 * 3_600_000;

export type ExportPackageInput = {
  uses: Use[];
  vnfSnapshotPkgId: string;
  vnfInstanceId: string;
  vnfdId: string;
  location: string;
  diskFormat: ImageFormat;
  prove: boolean;
};

type Input = ExportPackageInput;

/** The procedure. The archive appears under its name only when it is whole. */
export function exportPackage(vnfm: Vnfm): OperationDefinition<Input> {
  return defineProcedure<Input>({
    name: exportPackageName,
    operation: OperationType.EXPORT_PACKAGE,
    onFailure: 'rollback',
    plan: () => [
      grantStep(vnfm, { clause: '6.7.3', clauseStep: '2' }, (given) => ({
        vnfInstanceId: given.vnfInstanceId,
        vnfdId: given.vnfdId,
        vnfSnapshotPkgId: given.vnfSnapshotPkgId,
        operation: OperationType.EXPORT_PACKAGE,
      })),
      transfer(vnfm),
    ],
    ended: async () => {},
  });
}

/** 6.7.3 step 4. The repository leaves nothing of an archive that was not completed. */
function transfer(vnfm: Vnfm): Step<Input> {
  return {
    name: 'transfer',
    clause: '6.7.3',
    clauseStep: '4',
    caller: 'vnfm',
    callee: 'repository',
    deadlineMs: exportDeadlineMs,
    run: async (context) => {
      const { vnfSnapshotPkgId: packageId, location: path, diskFormat, prove } = context.input;
      const events = vnfm.peers.repository.exportPackage(
        { packageId, path, diskFormat, prove, call: callOf(context) },
        { signal: context.signal, deadlineMs: exportDeadlineMs },
      );
      const written = await relay(events, 'result', context);
      context.result('location', written.path);
      context.result('bytes', String(written.sizeBytes));
      context.result('sha256', written.checksum?.hash ?? '');
      context.note(`${written.provenBlocks} blocks were read back through an independent decoder`);
    },
  };
}
