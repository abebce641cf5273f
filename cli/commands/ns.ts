import type { Command } from 'commander';
import { NsInstanceSchema, NsLcmService } from '../../gen/nfv/ns_lcm/v1/ns_lcm_service_pb.js';
import { OperationOccurrenceService } from '../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { asClient, asOperation, type CommonOptions, clientAction } from '../action.ts';
import { findOne, type Kind } from '../find.ts';
import { messageJson } from '../message-json.ts';
import { reportOperation } from '../occurrence.ts';
import { printJson, printTable } from '../output.ts';
import type { Session } from '../session.ts';
import { snapshotId } from './snapshot.ts';
import { findVnf } from './vnf.ts';

type WaitOptions = CommonOptions & { wait: boolean };

/** Network services, as the OSS/BSS sees them at the NFVO. */
export function nsCommand(program: Command): void {
  const ns = program
    .command('ns')
    .description('network services: snapshots of their VNFs, asked for at the NFVO');
  listCommands(ns);
  updateCommands(ns);
}

function listCommands(ns: Command): void {
  asClient(ns.command('create <vnfs...>'))
    .description('make a network service of VNF instances')
    .option('--name <name>', 'a name for people')
    .action(
      clientAction<CommonOptions & { name?: string }>(async (session, options, ...vnfs) => {
        const ids: string[] = [];
        for (const vnf of vnfs.flat()) ids.push((await findVnf(session, vnf)).id);
        const { nsInstance } = await lifeCycle(session).createNsIdentifier({
          nsInstanceName: options.name ?? '',
          vnfInstanceIds: ids,
        });
        if (options.json) return printJson({ ns: messageJson(NsInstanceSchema, nsInstance!) });
        process.stdout.write(`${nsInstance!.id}\n`);
      }),
    );

  asClient(ns.command('list'))
    .description('list network services')
    .action(
      clientAction(async (session, options) => {
        const { nsInstances } = await lifeCycle(session).queryNs({});
        if (options.json) {
          return printJson({ ns: nsInstances.map((item) => messageJson(NsInstanceSchema, item)) });
        }
        printTable(
          ['ID', 'NAME', 'VNFS'],
          nsInstances.map((item) => [item.id, item.nsInstanceName, item.vnfInstanceIds.join(' ')]),
        );
      }),
    );

  asClient(ns.command('delete <ns>'))
    .description('forget a network service; its VNFs and their snapshots stay')
    .action(
      clientAction(async (session, options, idOrName) => {
        const nsInstanceId = await nsId(session, idOrName!);
        await lifeCycle(session).deleteNsIdentifier({ nsInstanceId });
        if (options.json) printJson({ deleted: nsInstanceId });
      }),
    );
}

function updateCommands(ns: Command): void {
  asOperation(ns.command('snapshot <ns> <vnf>'))
    .description('take a snapshot of a VNF of a network service')
    .option('--name <name>', 'a name for people')
    .action(
      clientAction<WaitOptions & { name?: string }>(async (session, options, idOrName, vnf) => {
        const { id: vnfInstanceId } = await findVnf(session, vnf!);
        const started = await lifeCycle(session).updateNs({
          nsInstanceId: await nsId(session, idOrName!),
          update: {
            case: 'createVnfSnapshot',
            value: { vnfInstanceId, name: options.name ?? '' },
          },
        });
        const extra = { snapshot: started.vnfSnapshotInfoId };
        return report(session, started.lifecycleOperationOccurrenceId, options, extra);
      }),
    );

  asOperation(ns.command('revert <ns> <vnf> <snapshot>'))
    .description('bring a VNF of a network service back to a snapshot')
    .action(
      clientAction<WaitOptions>(async (session, options, idOrName, vnf, snapshot) => {
        const { id: vnfInstanceId } = await findVnf(session, vnf!);
        const vnfSnapshotInfoId = await snapshotId(session, snapshot!);
        const started = await lifeCycle(session).updateNs({
          nsInstanceId: await nsId(session, idOrName!),
          update: { case: 'revertToVnfSnapshot', value: { vnfInstanceId, vnfSnapshotInfoId } },
        });
        return report(session, started.lifecycleOperationOccurrenceId, options);
      }),
    );
}

function lifeCycle(session: Session) {
  return session.client(NsLcmService, 'oss');
}

function report(
  session: Session,
  operation: string,
  { json, wait }: WaitOptions,
  extra: Record<string, unknown> = {},
): Promise<number> {
  const operations = session.client(OperationOccurrenceService, 'oss');
  return reportOperation(operations, operation, { json: json === true, wait }, extra);
}

const nsKind: Kind = {
  ...{ name: 'network service', nameAttribute: 'nsInstanceName' },
  ...{ unknown: 'NS_UNKNOWN', list: 'mano ns list' },
};

async function nsId(session: Session, idOrName: string): Promise<string> {
  const query = async (filter: string) =>
    (await lifeCycle(session).queryNs({ filter })).nsInstances;
  return (await findOne(nsKind, idOrName, query)).id;
}
