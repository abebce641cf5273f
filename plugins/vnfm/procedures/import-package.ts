/** Import VNF snapshot package: GR NFV-TST 005 clause 6.7.4, by its step numbers. */
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { PackageKind } from '../../../gen/nfv/repository/v1/repository_pb.js';
import { invalidArgument } from '../../../sdk/errors.ts';
import type { OperationDefinition, Step, StepContext } from '../../../sdk/operations/engine.ts';
import { archiveId, isArchive } from '../archives/location.ts';
import { readEmContents } from '../em-data.ts';
import { readSnapshotRecord } from '../package-files.ts';
import { packageInfoOf } from '../package-info.ts';
import { vnfPackages } from '../records.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import { isWebAddress } from '../web-address.ts';
import { download, forgetTransfer, transferRetries } from '../web-transfer.ts';
import { callOf, defineProcedure } from './define.ts';
import { grantStep } from './grant.ts';
import { relay } from './progress.ts';
import { waitingPath } from './waiting-path.ts';

export const importPackageName = 'import-vnf-snapshot-package';
const importDeadlineMs = 6 * 3_600_000;

export type ImportPackageInput = { uses: Use[]; location: string };

type Input = ImportPackageInput;

/** The procedure. Nothing is listed of an archive that is not whole and sound. */
export function importPackage(vnfm: Vnfm): OperationDefinition<Input> {
  return defineProcedure<Input>({
    name: importPackageName,
    operation: OperationType.IMPORT_PACKAGE,
    onFailure: 'rollback',
    plan: ({ location }) => [
      grantStep(vnfm, { clause: '6.7.4', clauseStep: '2' }, () => ({
        operation: OperationType.IMPORT_PACKAGE,
      })),
      ...(isWebAddress(location) ? [fetchArchive(vnfm)] : []),
      transfer(vnfm),
      list(vnfm),
    ],
    ended: async (tx, { occurrence, input, to }) => {
      // After a failure it stays: it may be imported again without being sent again.
      if (isArchive(input.location) && to === OperationState.COMPLETED) {
        await vnfm.shelf.forget(tx, archiveId(input.location));
      }
      if (isWebAddress(input.location)) await forgetTransfer(waitingPath(vnfm, occurrence.id));
    },
  });
}

/** Brings the archive here; a retry and a restart go on where it was. */
function fetchArchive(vnfm: Vnfm): Step<Input> {
  return {
    name: 'fetch',
    clause: '6.7.4',
    clauseStep: '4',
    caller: 'vnfm',
    callee: 'repository',
    retryable: transferRetries,
    deadlineMs: importDeadlineMs,
    run: async (context) => {
      const path = waitingPath(vnfm, context.operationId);
      await download(context.input.location, path, context.signal, context.progress);
    },
  };
}

function sourceOf(vnfm: Vnfm, { input, operationId }: StepContext<Input>): string {
  if (isArchive(input.location)) return vnfm.shelf.pathOf(archiveId(input.location));
  return isWebAddress(input.location) ? waitingPath(vnfm, operationId) : input.location;
}

/**
 * 6.7.4 step 4: the repository checks everything in the archive before it publishes the package.
 */
function transfer(vnfm: Vnfm): Step<Input> {
  const { repository } = vnfm.peers;
  return {
    name: 'transfer',
    clause: '6.7.4',
    clauseStep: '4',
    caller: 'vnfm',
    callee: 'repository',
    deadlineMs: importDeadlineMs,
    run: async (context) => {
      const events = repository.importPackage(
        { path: sourceOf(vnfm, context), call: callOf(context) },
        { signal: context.signal, deadlineMs: importDeadlineMs },
      );
      const { packageId } = await relay(events, 'package', context);
      return { packageId };
    },
    compensate: (context) => forget(vnfm, context),
  };
}

/** Puts the package into the VNFM's own repository of packages (Vnfm.009). */
function list(vnfm: Vnfm): Step<Input> {
  return {
    name: 'list',
    clause: '6.7.4',
    clauseStep: '4',
    caller: 'vnfm',
    callee: 'repository',
    retryable: true,
    deadlineMs: 60_000,
    run: async (context) => {
      const { packageId } = context.output<{ packageId: string }>('transfer');
      const { repository } = vnfm.peers;
      const { signal } = context;
      const { package: stored } = await repository.getPackage({ packageId }, { signal });
      if (stored?.kind !== PackageKind.VNF) {
        const text = `package "${packageId}" in ${context.input.location} holds no VNF snapshot`;
        throw invalidArgument('PACKAGE_INVALID', text, { package: packageId });
      }
      const snapshot = await readSnapshotRecord(repository, packageId, signal);
      // Read for the check alone: what does not fit is found now, not when the snapshot is needed.
      await readEmContents(repository, packageId, snapshot, signal);
      const info = packageInfoOf(stored, snapshot, {});
      context.result('package', packageId);
      context.withEnd(async (tx) => {
        // A copy of a package that is here already changes nothing.
        if (await tx.collection(vnfPackages).get(packageId)) return;
        await tx.collection(vnfPackages).insert(packageId, info);
      });
    },
  };
}

/** A package that was not listed before goes again. */
async function forget(vnfm: Vnfm, context: StepContext): Promise<void> {
  const packageId = context.outputIfDone<{ packageId: string }>('transfer')?.packageId;
  if (packageId === undefined) return;
  if (await vnfm.store.collection(vnfPackages).get(packageId)) return;
  await vnfm.peers.repository.deletePackage(
    { packageId, call: callOf(context, 'undo') },
    { signal: context.signal },
  );
}
