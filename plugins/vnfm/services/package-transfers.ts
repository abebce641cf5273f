import {
  DeleteVnfSnapshotPackageRequestSchema,
  ExportVnfSnapshotPackageRequestSchema,
  ImportVnfSnapshotPackageRequestSchema,
  PackageState,
  type VnfSnapshotPackageService,
} from '../../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import type { Handlers } from '../../../sdk/server.ts';
import { archiveId, archiveUses, isArchive } from '../archives/location.ts';
import { checkSource, checkTarget } from '../locations.ts';
import { readSnapshotRecord } from '../package-files.ts';
import { checkExport } from '../plan/restrictions.ts';
import { type DeletePackageInput, deletePackageName } from '../procedures/delete-package.ts';
import { type ExportPackageInput, exportPackageName } from '../procedures/export-package.ts';
import { type ImportPackageInput, importPackageName } from '../procedures/import-package.ts';
import { changeRecord, vnfPackages } from '../records.ts';
import type { VnfmServices } from '../vnfm.ts';
import { checkAddress, isWebAddress } from '../web-address.ts';
import { idempotent, paramsOf, startedBefore, startOperation } from './accepting.ts';
import { availablePackage, packageUse, requireAvailable } from './package-state.ts';

/** Exporting, importing and deleting packages. */
export function packageTransferHandlers(
  vnfm: VnfmServices,
): Handlers<typeof VnfSnapshotPackageService> {
  return {
    exportVnfSnapshotPackage: async (request, context) => {
      const known = idempotent(ExportVnfSnapshotPackageRequestSchema, request, context);
      const before = await startedBefore(vnfm, known);
      if (before !== undefined) return { lifecycleOperationOccurrenceId: before };
      const { vnfSnapshotPkgId, diskFormat, prove } = request;
      const { vnfInstanceId, vnfdId } = await availablePackage(vnfm, vnfSnapshotPkgId);
      const { repository } = vnfm.peers;
      const snapshot = await readSnapshotRecord(repository, vnfSnapshotPkgId, context.signal);
      checkExport(
        snapshot.vnfd,
        snapshot.vnfcSnapshots.map((part) => part.vduId),
      );
      const location = await checkExportLocation(vnfm, request.location);
      const uses = [packageUse(vnfSnapshotPkgId, 'shared'), ...archiveUses(location)];
      const id = await startOperation<ExportPackageInput>(vnfm, {
        definition: exportPackageName,
        input: { uses, vnfSnapshotPkgId, vnfInstanceId, vnfdId, location, diskFormat, prove },
        vnfInstanceId,
        vnfSnapshotPkgId,
        request: known,
        params: paramsOf(ExportVnfSnapshotPackageRequestSchema, request),
        record: async (tx) => {
          await requireAvailable(tx, vnfSnapshotPkgId);
          if (isArchive(location)) await vnfm.shelf.reserve(tx, archiveId(location));
        },
      });
      return { lifecycleOperationOccurrenceId: id };
    },
    importVnfSnapshotPackage: async (request, context) => {
      const known = idempotent(ImportVnfSnapshotPackageRequestSchema, request, context);
      const before = await startedBefore(vnfm, known);
      if (before !== undefined) return { lifecycleOperationOccurrenceId: before };
      const location = await checkImportLocation(vnfm, request.location);
      const id = await startOperation<ImportPackageInput>(vnfm, {
        definition: importPackageName,
        input: { uses: archiveUses(location), location },
        request: known,
        params: paramsOf(ImportVnfSnapshotPackageRequestSchema, request),
        record: async (tx) => {
          if (isArchive(location)) await vnfm.shelf.requireWhole(tx, archiveId(location));
        },
      });
      return { lifecycleOperationOccurrenceId: id };
    },
    deleteVnfSnapshotPackage: async (request, context) => {
      const known = idempotent(DeleteVnfSnapshotPackageRequestSchema, request, context);
      const before = await startedBefore(vnfm, known);
      if (before !== undefined) return { lifecycleOperationOccurrenceId: before };
      const { vnfSnapshotPkgId } = request;
      const { vnfInstanceId, vnfdId } = await availablePackage(vnfm, vnfSnapshotPkgId);
      const uses = [packageUse(vnfSnapshotPkgId, 'exclusive')];
      const id = await startOperation<DeletePackageInput>(vnfm, {
        definition: deletePackageName,
        input: { uses, vnfSnapshotPkgId, vnfInstanceId, vnfdId },
        vnfInstanceId,
        vnfSnapshotPkgId,
        request: known,
        params: paramsOf(DeleteVnfSnapshotPackageRequestSchema, request),
        record: async (tx) => {
          await requireAvailable(tx, vnfSnapshotPkgId);
          await changeRecord(tx, vnfPackages, vnfSnapshotPkgId, (info) => {
            info.state = PackageState.DELETING;
          });
        },
      });
      return { lifecycleOperationOccurrenceId: id };
    },
  };
}

async function checkExportLocation({ config }: VnfmServices, location: string): Promise<string> {
  if (isArchive(location)) return `stream:${archiveId(location)}`;
  if (isWebAddress(location)) return checkAddress(location, config.packageAddresses);
  return checkTarget(location, config.packageFolders);
}

async function checkImportLocation({ config }: VnfmServices, location: string): Promise<string> {
  if (isArchive(location)) return `stream:${archiveId(location)}`;
  if (isWebAddress(location)) return checkAddress(location, config.packageAddresses);
  return checkSource(location, config.packageFolders);
}
