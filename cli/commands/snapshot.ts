import { durationMs, timestampDate } from '@bufbuild/protobuf/wkt';
import type { Command } from 'commander';
import { ConsistencyLevel } from '../../gen/nfv/common/v1/common_pb.js';
import {
  SnapshotAvailability,
  SnapshotPurpose,
  type VnfSnapshotInfo,
  VnfSnapshotInfoSchema,
} from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { ConsistencyPolicy, SnapshotType } from '../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { invalidArgument } from '../../sdk/errors.ts';
import { asClient, asOperation, type CommonOptions, clientAction } from '../action.ts';
import { findOne, type Kind } from '../find.ts';
import { messageJson } from '../message-json.ts';
import { reportOperation } from '../occurrence.ts';
import { enumName, printFields, printJson, printTable } from '../output.ts';
import { showPlan } from '../plan.ts';
import type { Session } from '../session.ts';
import { operations } from './operation.ts';
import { findVnf, lifeCycle } from './vnf.ts';

type WaitOptions = CommonOptions & { wait: boolean };
type CreateOptions = WaitOptions & {
  replace?: string;
  plan?: boolean;
  name?: string;
  folder?: string;
  cold?: boolean;
  warm?: boolean;
  consistency?: string;
  vnfc?: string[];
  purpose?: string;
};

type RevertOptions = WaitOptions & {
  host?: string;
  skipSafetySnapshot?: boolean;
  force?: boolean;
  plan?: boolean;
};

const planHelp =
  'say what would be done, by which techniques, and what is not possible; do nothing';

export function snapshotCommand(program: Command): Command {
  const snapshot = program
    .command('snapshot')
    .description('consistent snapshots of VNFs, and going back to them');
  createCommand(snapshot);
  revertCommand(snapshot);
  readCommands(snapshot);
  changeCommands(snapshot);
  return snapshot;
}

function createCommand(snapshot: Command): void {
  asOperation(snapshot.command('create <vnf>'))
    .description('take a consistent snapshot of a VNF')
    .option('--name <name>', 'a name for people')
    .option('--warm', 'disks, memory and device state')
    .option('--cold', 'disks only')
    .option(
      '--consistency <policy>',
      'required: the VNF itself prepares, or nothing is taken (the default unless its descriptor says ' +
        'otherwise); preferred: the best that can be reached; none: one component after the other',
    )
    .option('--vnfc <ids...>', 'only these VNFC instances')
    .option(
      '--purpose <what>',
      'backup, post-mortem or recovery; the last two add what the VNFM knows of the VNF',
    )
    .option('--replace <snapshot>', 'delete this snapshot of the VNF when the new one is whole')
    .option(
      '--folder <path>',
      'keep what is captured in this folder of the hosts; their drivers must allow it (snapshotFolders)',
    )
    .option('--plan', planHelp)
    .action(
      clientAction<CreateOptions>(async (session, options, idOrName) => {
        const { id } = await findVnf(session, idOrName!);
        const started = await lifeCycle(session).createVnfSnapshot({
          vnfInstanceId: id,
          name: options.name ?? '',
          type: snapshotType(options),
          consistency: consistencyPolicy(options.consistency),
          vnfcInstanceIds: options.vnfc ?? [],
          folder: options.folder ?? '',
          purpose: snapshotPurpose(options.purpose),
          validateOnly: options.plan === true,
          ...(options.replace && {
            replacesVnfSnapshotInfoId: await snapshotId(session, options.replace),
          }),
        });
        if (started.plan) return showPlan(started.plan, options.json === true);
        const { lifecycleOperationOccurrenceId: operation, vnfSnapshotInfoId } = started;
        if (!options.json) process.stdout.write(`snapshot ${vnfSnapshotInfoId}\n`);
        const follow = { json: options.json === true, wait: options.wait };
        const extra = { snapshot: vnfSnapshotInfoId };
        return reportOperation(operations(session), operation, follow, extra);
      }),
    );
}

function snapshotType({ cold, warm }: CreateOptions): SnapshotType {
  if (cold && warm) throw invalidArgument('USAGE', '--cold and --warm exclude each other');
  if (cold) return SnapshotType.COLD;
  return warm ? SnapshotType.WARM : SnapshotType.UNSPECIFIED;
}

function consistencyPolicy(text: string | undefined): ConsistencyPolicy {
  if (text === undefined) return ConsistencyPolicy.UNSPECIFIED;
  const policy = { required: 1, preferred: 2, none: 3 }[text];
  if (policy) return policy;
  throw invalidArgument('USAGE', `--consistency "${text}": must be required, preferred or none`);
}

function snapshotPurpose(text: string | undefined): SnapshotPurpose {
  const { UNSPECIFIED, BACKUP, POST_MORTEM, RECOVERY } = SnapshotPurpose;
  if (text === undefined) return UNSPECIFIED;
  const purpose = { backup: BACKUP, 'post-mortem': POST_MORTEM, recovery: RECOVERY }[text];
  if (purpose) return purpose;
  throw invalidArgument('USAGE', `--purpose "${text}": must be backup, post-mortem or recovery`);
}

function revertCommand(snapshot: Command): void {
  asOperation(snapshot.command('revert <vnf> <snapshot>'))
    .description('bring a VNF back to a snapshot: wholly, or not at all')
    .option('--skip-safety-snapshot', 'do not take a safety snapshot first')
    .option('--force', 'load memory of another kind of machine too')
    .option(
      '--host <name>',
      'on this host: a driver, as "mano plugin list" names it; what it leaves elsewhere ends when the VNF is there',
    )
    .option('--plan', planHelp)
    .action(
      clientAction<RevertOptions>(async (session, options, idOrName, snapshot) => {
        const { id } = await findVnf(session, idOrName!);
        const started = await lifeCycle(session).revertToVnfSnapshot({
          vnfInstanceId: id,
          vnfSnapshotInfoId: await snapshotId(session, snapshot!),
          skipSafetySnapshot: options.skipSafetySnapshot === true,
          force: options.force === true,
          targetHost: options.host ?? '',
          validateOnly: options.plan === true,
        });
        if (started.plan) return showPlan(started.plan, options.json === true);
        return reportOperation(operations(session), started.lifecycleOperationOccurrenceId, {
          json: options.json === true,
          wait: options.wait,
        });
      }),
    );
}

function readCommands(snapshot: Command): void {
  asClient(snapshot.command('list'))
    .description('list VNF snapshots')
    .option('--filter <filter>', 'ETSI attribute filter')
    .action(
      clientAction<CommonOptions & { filter?: string }>(async (session, options) => {
        const { vnfSnapshotInfos } = await lifeCycle(session).queryVnfSnapshotInfo({
          filter: options.filter ?? '',
          allFields: true,
        });
        if (options.json) {
          const list = vnfSnapshotInfos.map((item) => messageJson(VnfSnapshotInfoSchema, item));
          return printJson({ snapshots: list });
        }
        printTable(
          ['ID', 'NAME', 'VNF', 'TAKEN', 'CONSISTENCY', 'AVAILABILITY'],
          vnfSnapshotInfos.map((item) => [
            item.id,
            item.vnfSnapshot?.name ?? '',
            item.vnfSnapshot?.vnfInstanceId ?? '',
            taken(item),
            enumName(ConsistencyLevel, item.vnfSnapshot?.consistency?.level ?? 0),
            SnapshotAvailability[item.availability],
          ]),
        );
      }),
    );

  asClient(snapshot.command('show <snapshot>'))
    .description('show one VNF snapshot with its consistency record')
    .action(
      clientAction(async (session, options, id) => {
        const found = await findSnapshot(session, id!);
        if (options.json) {
          return printJson({ snapshot: messageJson(VnfSnapshotInfoSchema, found) });
        }
        showSnapshot(found);
        if (found.vnfSnapshot) showPlaces(found);
      }),
    );
}

const snapshotKind: Kind = {
  name: 'VNF snapshot',
  nameAttribute: 'vnfSnapshot/name',
  unknown: 'SNAPSHOT_UNKNOWN',
  list: 'mano snapshot list',
};

/** Finds a VNF snapshot by its id or its name. */
export function findSnapshot(session: Session, idOrName: string): Promise<VnfSnapshotInfo> {
  return findOne(snapshotKind, idOrName, async (filter) => {
    const request = { filter, allFields: true };
    return (await lifeCycle(session).queryVnfSnapshotInfo(request)).vnfSnapshotInfos;
  });
}

/** The id of a VNF snapshot. What looks like one is not asked for: who only knows ids needs no right to list. */
export async function snapshotId(session: Session, idOrName: string): Promise<string> {
  if (/^snap-[a-z0-9]{8}$/.test(idOrName)) return idOrName;
  return (await findSnapshot(session, idOrName)).id;
}

function showSnapshot(info: VnfSnapshotInfo): void {
  const { vnfSnapshot: content } = info;
  const record = content?.consistency;
  printFields({
    id: info.id,
    name: content?.name,
    vnf: content?.vnfInstanceId,
    package: info.vnfSnapshotPkgId,
    taken: taken(info),
    availability: SnapshotAvailability[info.availability],
    consistency: record && ConsistencyLevel[record.level],
    skew: record?.skew && `${durationMs(record.skew).toFixed(1)} ms`,
    excluded: content?.excluded.join('; '),
    operation: info.operationInProgress,
  });
  if (!content) return;
  process.stdout.write('\n');
  printTable(
    ['VNFC', 'TYPE', 'LEVEL', 'IMAGES', 'WHY NOT HIGHER'],
    content.vnfcSnapshots.map((vnfc) => {
      const level = record?.vnfc.find((item) => item.vnfcInstanceId === vnfc.vnfcInstanceId);
      return [
        vnfc.vnfcInstanceId,
        vnfc.warm ? 'warm' : 'cold',
        enumName(ConsistencyLevel, level?.level ?? 0),
        vnfc.instanceSnapshot?.images.map((image) => image.name).join(' ') ?? '',
        level?.reason ?? '',
      ];
    }),
  );
}

/** The VIM and the file paths (TR 32.842, VNF snapshot capture, step 7), and what the EM added. */
function showPlaces({ captureReport, vnfSnapshot }: VnfSnapshotInfo): void {
  const rows = (captureReport?.vnfcs ?? []).flatMap((vnfc) => {
    const { vimConnectionId, resourceProviderId, resourceId } = vnfc.snapshotResource ?? {};
    const vim = vimConnectionId || (resourceProviderId && `${resourceProviderId} (by the NFVO)`);
    return vnfc.images.map(({ name, file }) => [
      ...[vnfc.vnfcInstanceId, vim ?? '', resourceId ?? '', name],
      file?.path ?? (vnfc.unknownReason || 'the driver tells no file'),
    ]);
  });
  process.stdout.write('\n');
  printTable(['VNFC', 'VIM', 'SNAPSHOT', 'IMAGE', 'FILE'], rows);
  const names = vnfSnapshot?.emData.map(({ name }) => name) ?? [];
  if (names.length > 0) process.stdout.write(`\nfrom the EM: ${names.join(', ')}\n`);
}

function taken(info: VnfSnapshotInfo): string {
  const time = info.vnfSnapshot?.creationStartedAt;
  return time ? timestampDate(time).toISOString() : '';
}

function changeCommands(snapshot: Command): void {
  asClient(snapshot.command('update <snapshot>'))
    .description('change the name or the user defined data of a VNF snapshot')
    .option('--name <name>', 'the new name')
    .option('--set <key=value...>', 'pairs to set; an empty value removes the key')
    .action(
      clientAction<CommonOptions & { name?: string; set?: string[] }>(
        async (session, options, idOrName) => {
          const { vnfSnapshotInfo } = await lifeCycle(session).updateVnfSnapshotInfo({
            vnfSnapshotInfoId: await snapshotId(session, idOrName!),
            ...(options.name !== undefined && { name: options.name }),
            userDefinedData: parsePairs(options.set ?? []),
          });
          if (options.json) {
            printJson({ snapshot: messageJson(VnfSnapshotInfoSchema, vnfSnapshotInfo!) });
          }
        },
      ),
    );

  asOperation(snapshot.command('delete [snapshot]'))
    .description(
      'delete a VNF snapshot and its data, or all that match a filter; packages of them stay',
    )
    .option('--filter <filter>', 'ETSI attribute filter, for example (eq,vnfSnapshot/name,nightly)')
    .option('--dry-run', 'with --filter: only list what matches')
    .action(
      clientAction<DeleteOptions>(async (session, options, idOrName) => {
        if ((idOrName === undefined) === (options.filter === undefined)) {
          throw invalidArgument('USAGE', 'name a snapshot, or give --filter');
        }
        if (options.filter !== undefined) return deleteMatching(session, options, options.filter);
        return deleteOne(session, await snapshotId(session, idOrName!), options);
      }),
    );
}

type DeleteOptions = WaitOptions & { filter?: string; dryRun?: boolean };

/** Deletes one after the other, and stops at the first that cannot be deleted. */
async function deleteMatching(
  session: Session,
  options: DeleteOptions,
  filter: string,
): Promise<number | undefined> {
  const ids: string[] = [];
  for (let pageToken: string | undefined = ''; pageToken !== undefined; ) {
    const page = await lifeCycle(session).queryVnfSnapshotInfo({ filter, pageToken });
    ids.push(...page.vnfSnapshotInfos.map(({ id }) => id));
    pageToken = page.nextPageToken || undefined;
  }
  const deleted: string[] = [];
  let code: number | undefined;
  for (const id of options.dryRun ? [] : ids) {
    // The one line of JSON is for all of them.
    code = await deleteOne(session, id, { ...options, json: false, quiet: options.json === true });
    if (code) break;
    deleted.push(id);
  }
  if (options.json) printJson({ matching: ids, deleted });
  else if (options.dryRun) for (const id of ids) process.stdout.write(`${id}\n`);
  return code;
}

async function deleteOne(
  session: Session,
  id: string,
  { json, wait, quiet }: WaitOptions & { quiet?: boolean },
): Promise<number | undefined> {
  const started = await lifeCycle(session).deleteVnfSnapshotInfo({ vnfSnapshotInfoId: id });
  const operation = started.lifecycleOperationOccurrenceId;
  if (operation !== '') {
    const shown = { json: json === true, quiet: quiet === true, wait };
    return reportOperation(operations(session), operation, shown);
  }
  if (json) printJson({ deleted: id });
  return undefined;
}

/** Parses "key=value" pairs. */
export function parsePairs(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw invalidArgument('USAGE', `--set "${pair}": must be key=value`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}
