import { timestampDate } from '@bufbuild/protobuf/wkt';
import type { Command } from 'commander';
import { MapSource } from '../../gen/nfv/common/v1/common_pb.js';
import {
  PackageState,
  type VnfSnapshotPkgInfo,
  VnfSnapshotPkgInfoSchema,
} from '../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { asClient, asOperation, type CommonOptions, clientAction } from '../action.ts';
import { messageJson } from '../message-json.ts';
import { formatBytes, printFields, printJson, printTable } from '../output.ts';
import { findPackage, packageId, packages, report, type WaitOptions } from '../packages.ts';
import { exportAndImport } from './package-transfer.ts';
import { snapshotId } from './snapshot.ts';
import { findVnf } from './vnf.ts';

export function packageCommand(program: Command): void {
  const group = program.command('package').description('VNF snapshot packages');
  createAndExtract(group);
  exportAndImport(group);
  readCommands(group);
}

function createAndExtract(group: Command): void {
  asOperation(group.command('create <snapshot>'))
    .description('pack a VNF snapshot')
    .option('--name <name>', 'a name for people')
    .option('--parent <package>', 'share blocks with this package; the newest of the VNF else')
    .action(
      clientAction<WaitOptions & { name?: string; parent?: string }>(
        async (session, options, snapshot) => {
          const started = await packages(session).createVnfSnapshotPackage({
            vnfSnapshotInfoId: await snapshotId(session, snapshot!),
            name: options.name ?? '',
            parentPkgId: options.parent ? await packageId(session, options.parent) : '',
          });
          const { lifecycleOperationOccurrenceId: operation, vnfSnapshotPkgId } = started;
          if (!options.json) process.stdout.write(`package ${vnfSnapshotPkgId}\n`);
          return report(session, operation, options, { package: vnfSnapshotPkgId });
        },
      ),
    );

  asOperation(group.command('extract <package>'))
    .description('make a VNF snapshot of a package, ready to revert to')
    .option('--vnf <vnf>', 'the VNF instance whose drivers shall hold it')
    .option('--force', 'extract memory of another kind of machine too')
    .action(
      clientAction<WaitOptions & { vnf?: string; force?: boolean }>(
        async (session, options, id) => {
          const started = await packages(session).extractVnfSnapshotPackage({
            vnfSnapshotPkgId: await packageId(session, id!),
            vnfInstanceId: options.vnf ? (await findVnf(session, options.vnf)).id : '',
            force: options.force === true,
          });
          const { lifecycleOperationOccurrenceId: operation, vnfSnapshotInfoId } = started;
          if (!options.json) process.stdout.write(`snapshot ${vnfSnapshotInfoId}\n`);
          return report(session, operation, options, { snapshot: vnfSnapshotInfoId });
        },
      ),
    );

  asOperation(group.command('delete <package>'))
    .description('delete a package; other packages are not touched')
    .action(
      clientAction<WaitOptions>(async (session, options, id) => {
        const vnfSnapshotPkgId = await packageId(session, id!);
        const started = await packages(session).deleteVnfSnapshotPackage({ vnfSnapshotPkgId });
        return report(session, started.lifecycleOperationOccurrenceId, options);
      }),
    );
}

function readCommands(group: Command): void {
  asClient(group.command('list'))
    .description('list packages')
    .option('--filter <filter>', 'ETSI attribute filter')
    .action(
      clientAction<CommonOptions & { filter?: string }>(async (session, options) => {
        const { vnfSnapshotPkgInfos } = await packages(session).queryVnfSnapshotPackageInfo({
          filter: options.filter ?? '',
          allFields: true,
        });
        if (options.json) {
          const list = vnfSnapshotPkgInfos.map((item) =>
            messageJson(VnfSnapshotPkgInfoSchema, item),
          );
          return printJson({ packages: list });
        }
        printTable(
          ['ID', 'NAME', 'VNF', 'CREATED', 'LOGICAL', 'STORED', 'STATE'],
          vnfSnapshotPkgInfos.map((item) => [
            item.id,
            item.name,
            item.vnfInstanceId,
            item.createdAt ? timestampDate(item.createdAt).toISOString() : '',
            formatBytes(item.logicalBytes),
            formatBytes(item.storedBytes),
            PackageState[item.state],
          ]),
        );
      }),
    );

  asClient(group.command('show <package>'))
    .description('show one package and what each of its images cost')
    .action(
      clientAction(async (session, options, id) => {
        const found = await findPackage(session, id!);
        if (options.json) {
          return printJson({ package: messageJson(VnfSnapshotPkgInfoSchema, found) });
        }
        showPackage(found);
      }),
    );
}

function showPackage(info: VnfSnapshotPkgInfo): void {
  printFields({
    id: info.id,
    name: info.name,
    snapshot: info.vnfSnapshotId,
    vnf: info.vnfInstanceId,
    vnfd: info.vnfdId,
    state: PackageState[info.state],
    parent: info.parentPkgId,
    logical: formatBytes(info.logicalBytes),
    stored: formatBytes(info.storedBytes),
    operation: info.operationInProgress,
  });
  process.stdout.write('\n');
  printTable(
    ['IMAGE', 'LOGICAL', 'READ', 'BLOCKS', 'NEW', 'STORED', 'MAP', 'WHY'],
    info.images.map((image) => [
      image.name,
      formatBytes(image.logicalBytes),
      formatBytes(image.bytesRead),
      String(image.blocks),
      String(image.newBlocks),
      formatBytes(image.storedBytes),
      MapSource[image.mapSource],
      image.mapReason,
    ]),
  );
}
