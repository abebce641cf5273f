import { resolve } from 'node:path';
import type { Command } from 'commander';
import { ImageFormat } from '../../gen/nfv/common/v1/common_pb.js';
import { PackageArchiveService } from '../../gen/nfv/vnf_snapshot_package/v1/package_archive_pb.js';
import { invalidArgument } from '../../sdk/errors.ts';
import { asOperation, clientAction } from '../action.ts';
import { sendArchive } from '../archive-upload.ts';
import { fetchExport } from '../fetch-export.ts';
import { packageId, packages, report, type WaitOptions } from '../packages.ts';
import type { Session } from '../session.ts';

type ArchiveOptions = WaitOptions & { atServer?: boolean };
type ExportOptions = ArchiveOptions & { diskFormat: string; prove?: boolean };

/** `mano package export` and `mano package import`. */
export function exportAndImport(group: Command): void {
  withPlace(asOperation(group.command('export <package> <archive>')))
    .description('write a package as a ZIP64 archive, to a file or an HTTP(S) address')
    .option('--disk-format <format>', 'raw.lz4 or qcow2', 'raw.lz4')
    .option('--prove', 'read everything back through an independent decoder')
    .action(clientAction<ExportOptions>(exportPackage));

  withPlace(asOperation(group.command('import <archive>')))
    .description(
      'read a package from a file or an HTTP(S) address; everything in it is checked first',
    )
    .action(clientAction<ArchiveOptions>(importPackage));
}

function withPlace(command: Command): Command {
  return command.option('--at-server', 'with --connect: the file is at the server, not here');
}

async function exportPackage(
  session: Session,
  options: ExportOptions,
  id?: string,
  archive?: string,
) {
  const request = {
    vnfSnapshotPkgId: await packageId(session, id!),
    diskFormat: diskFormat(options.diskFormat),
    prove: options.prove === true,
  };
  if (isStreamed(session, options, archive!)) {
    return fetchExport(session, options, request, resolve(archive!));
  }
  const location = locationOf(archive!);
  const started = await packages(session).exportVnfSnapshotPackage({ ...request, location });
  return report(session, started.lifecycleOperationOccurrenceId, options);
}

async function importPackage(session: Session, options: ArchiveOptions, archive?: string) {
  const location = isStreamed(session, options, archive!)
    ? `stream:${await sendArchive(session.client(PackageArchiveService, 'oss'), resolve(archive!), options)}`
    : locationOf(archive!);
  const started = await packages(session).importVnfSnapshotPackage({ location });
  return report(session, started.lifecycleOperationOccurrenceId, options);
}

/** A file on this side of the network. */
function isStreamed(session: Session, options: ArchiveOptions, archive: string): boolean {
  return session.isRemote && options.atServer !== true && !isElsewhere(archive);
}

function isElsewhere(archive: string): boolean {
  return /^(https?:\/\/|stream:)/i.test(archive);
}

/** A path counts from here; an HTTP(S) address is one. */
function locationOf(archive: string): string {
  return isElsewhere(archive) ? archive : resolve(archive);
}

function diskFormat(text: string): ImageFormat {
  if (text === 'raw.lz4') return ImageFormat.RAW_LZ4;
  if (text === 'qcow2') return ImageFormat.QCOW2;
  throw invalidArgument('USAGE', `--disk-format "${text}": must be raw.lz4 or qcow2`);
}
