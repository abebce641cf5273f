/** Export VNF snapshot package: GR NFV-TST 005 clause 6.7.3, by its step numbers. */
import { mkdir } from 'node:fs/promises';
import type { ImageFormat } from '../../../gen/nfv/common/v1/common_pb.js';
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import type { OperationDefinition, Step } from '../../../sdk/operations/engine.ts';
import { archiveId, isArchive } from '../archives/location.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import { isWebAddress } from '../web-address.ts';
import { forgetTransfer, takeBack, transferRetries, upload } from '../web-transfer.ts';
import { callOf, defineProcedure } from './define.ts';
import { grantStep } from './grant.ts';
import { relay } from './progress.ts';
import { waitingPath } from './waiting-path.ts';

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
    plan: ({ location }) => [
      grantStep(vnfm, { clause: '6.7.3', clauseStep: '2' }, (given) => ({
        vnfInstanceId: given.vnfInstanceId,
        vnfdId: given.vnfdId,
        vnfSnapshotPkgId: given.vnfSnapshotPkgId,
        operation: OperationType.EXPORT_PACKAGE,
      })),
      transfer(vnfm),
      ...(isWebAddress(location) ? [send(vnfm)] : []),
    ],
    ended: async (tx, { occurrence, input, to }) => {
      if (isArchive(input.location) && to !== OperationState.COMPLETED) {
        await vnfm.shelf.forget(tx, archiveId(input.location));
      }
      if (isWebAddress(input.location)) await forgetTransfer(waitingPath(vnfm, occurrence.id));
    },
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
      const { vnfSnapshotPkgId: packageId, location, diskFormat, prove } = context.input;
      const isWeb = isWebAddress(location);
      const isShelved = isArchive(location);
      if (isShelved) await vnfm.shelf.prepare();
      const shelved = isShelved ? vnfm.shelf.pathOf(archiveId(location)) : location;
      const path = isWeb ? waitingPath(vnfm, context.operationId) : shelved;
      if (isWeb) await mkdir(vnfm.transferFolder, { recursive: true, mode: 0o700 });
      const events = vnfm.peers.repository.exportPackage(
        { packageId, path, diskFormat, prove, call: callOf(context) },
        { signal: context.signal, deadlineMs: exportDeadlineMs },
      );
      const written = await relay(events, 'result', context);
      context.result('location', isWeb || isShelved ? location : written.path);
      context.result('bytes', String(written.sizeBytes));
      context.result('sha256', written.checksum?.hash ?? '');
      if (isShelved) {
        const { sizeBytes, checksum } = written;
        const sha256 = checksum?.hash ?? '';
        context.withEnd((tx) => vnfm.shelf.fill(tx, archiveId(location), { sizeBytes, sha256 }));
      }
      context.note(`${written.provenBlocks} blocks were read back through an independent decoder`);
    },
  };
}

/** Puts the archive to its address; whole and final there, or taken away again. */
function send(vnfm: Vnfm): Step<Input> {
  return {
    name: 'send',
    clause: '6.7.3',
    clauseStep: '4',
    caller: 'vnfm',
    callee: 'repository',
    retryable: transferRetries,
    deadlineMs: exportDeadlineMs,
    run: async (context) => {
      const { signal, progress: report } = context;
      const { packageAddresses: allowed } = vnfm.config;
      const path = waitingPath(vnfm, context.operationId);
      const there = await upload(path, context.input.location, { allowed, signal, report });
      context.result('location', there);
    },
    compensate: (context) =>
      takeBack(waitingPath(vnfm, context.operationId), context.input.location, context.signal),
  };
}
