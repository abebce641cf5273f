import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import type { Command } from 'commander';
import {
  InstantiationState,
  type VnfInstance,
  VnfInstanceSchema,
  VnfState,
} from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { StopType, VnfLcmService } from '../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { type Vnfd, VnfdSchema } from '../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { invalidArgument, notFound } from '../../sdk/errors.ts';
import { findJsonFaults } from '../../sdk/json-faults.ts';
import { asClient, asOperation, type CommonOptions, clientAction } from '../action.ts';
import { findOne, type Kind } from '../find.ts';
import { messageJson } from '../message-json.ts';
import { reportOperation } from '../occurrence.ts';
import { enumName, printFields, printJson, printTable } from '../output.ts';
import { untilServed } from '../ready.ts';
import type { Session } from '../session.ts';
import { operations } from './operation.ts';

type WaitOptions = CommonOptions & { wait: boolean };

/** VNF lifecycle management as the element manager uses it. */
export function lifeCycle(session: Session) {
  return session.client(VnfLcmService, 'em');
}

/** Reads a VNFD file. INVALID_ARGUMENT with the path of the field that is wrong. */
export function readVnfd(path: string): Vnfd {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    throw notFound('FILE_UNREADABLE', `${path} cannot be read (${code})`, { file: path });
  }
  let json: JsonValue;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    const why = `is not JSON: ${(thrown as Error).message}`;
    throw invalidArgument('VNFD_INVALID', `${path}: ${why}`, { file: path });
  }
  const faults = findJsonFaults(VnfdSchema, json);
  const [first] = faults;
  if (first === undefined) return fromJson(VnfdSchema, json);
  const { field, description } = first;
  const why = field === '' ? description : `${field}: ${description}`;
  throw invalidArgument('VNFD_INVALID', `${path}: ${why}`, { file: path, field }, faults);
}

const vnfKind: Kind = {
  name: 'VNF instance',
  nameAttribute: 'vnf_instance_name',
  unknown: 'VNF_UNKNOWN',
  list: 'mano vnf list',
};

/** Finds a VNF instance by its id or its name. */
export function findVnf(session: Session, idOrName: string): Promise<VnfInstance> {
  return findOne(vnfKind, idOrName, async (filter) => {
    return (await lifeCycle(session).queryVnf({ filter, allFields: true })).vnfInstances;
  });
}

export function vnfCommand(program: Command): Command {
  const vnf = program.command('vnf').description('VNF instances and their life cycle');
  createCommand(vnf);
  readCommands(vnf);
  lifeCycleCommands(vnf);
  agentCommand(vnf);
  return vnf;
}

function agentCommand(vnf: Command): void {
  asClient(vnf.command('agent <vnf>'))
    .description(
      'be the own side of a demo VNF until interrupted: prepare its components for each snapshot',
    )
    .action(
      clientAction(async (session, options, idOrName) => {
        const { id } = await untilServed(() => findVnf(session, idOrName!));
        const { VnfAgent } = await import('../../app/demo/vnf-agent.ts');
        let last = '';
        const print = (line: string) => {
          // A server that is away is worth one line, not five a second.
          if (line !== last) process.stderr.write(`${line}\n`);
          last = line;
        };
        const agent = new VnfAgent(await session.transport('vnf'), id, print);
        const interrupted = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
        await agent.start();
        agent.reportHealth();
        if (!options.json) process.stdout.write(`the agent of ${id} listens\n`);
        await interrupted;
        await agent.stop();
        if (options.json) printJson({ handled: agent.handled.length });
      }),
    );
}

function createCommand(vnf: Command): void {
  asClient(vnf.command('create <vnfd.json>'))
    .description('make a VNF instance from a descriptor (a JSON file), not instantiated')
    .option('--name <name>', 'a name for people')
    .action(
      clientAction<CommonOptions & { name?: string }>(async (session, options, path) => {
        const { vnfInstance } = await lifeCycle(session).createVnfIdentifier({
          vnfd: readVnfd(path!),
          vnfInstanceName: options.name ?? '',
        });
        if (options.json) printJson({ vnf: messageJson(VnfInstanceSchema, vnfInstance!) });
        else process.stdout.write(`${vnfInstance!.id}\n`);
      }),
    );
}

function readCommands(vnf: Command): void {
  asClient(vnf.command('list'))
    .description('list VNF instances')
    .option('--filter <filter>', 'ETSI attribute filter')
    .action(
      clientAction<CommonOptions & { filter?: string }>(async (session, options) => {
        const { vnfInstances } = await lifeCycle(session).queryVnf({
          filter: options.filter ?? '',
          allFields: true,
        });
        if (options.json) {
          const list = vnfInstances.map((item) => messageJson(VnfInstanceSchema, item));
          return printJson({ vnfs: list });
        }
        printTable(
          ['ID', 'NAME', 'VNFD', 'STATE', 'RUNS', 'OPERATION'],
          vnfInstances.map((item) => [
            item.id,
            item.vnfInstanceName,
            item.vnfdId,
            InstantiationState[item.instantiationState],
            runState(item),
            item.operationInProgress,
          ]),
        );
      }),
    );

  asClient(vnf.command('show <vnf>'))
    .description('show one VNF instance')
    .action(
      clientAction(async (session, options, idOrName) => {
        const found = await findVnf(session, idOrName!);
        if (options.json) return printJson({ vnf: messageJson(VnfInstanceSchema, found) });
        showVnf(found);
      }),
    );

  asClient(vnf.command('delete <vnf>'))
    .description('delete the identifier of a VNF instance that has no resources')
    .action(
      clientAction(async (session, options, idOrName) => {
        const { id } = await findVnf(session, idOrName!);
        await lifeCycle(session).deleteVnfIdentifier({ vnfInstanceId: id });
        if (options.json) printJson({ deleted: id });
      }),
    );
}

/** Empty for a VNF without resources. */
function runState({ instantiatedVnfInfo: info }: VnfInstance): string {
  return info ? enumName(VnfState, info.vnfState) : '';
}

function showVnf(vnf: VnfInstance): void {
  const info = vnf.instantiatedVnfInfo;
  printFields({
    id: vnf.id,
    name: vnf.vnfInstanceName,
    vnfd: `${vnf.vnfdId} (${vnf.vnfProvider} ${vnf.vnfProductName} ${vnf.vnfSoftwareVersion})`,
    state: InstantiationState[vnf.instantiationState],
    runs: runState(vnf),
    operation: vnf.operationInProgress,
  });
  if (!info) return;
  process.stdout.write('\n');
  printTable(
    ['VNFC', 'COMPUTE', 'DRIVER', 'VOLUMES'],
    info.vnfcResourceInfo.map((vnfc) => [
      vnfc.id,
      vnfc.computeResource?.resourceId ?? '',
      vnfc.computeResource?.vimLevelResourceType ?? '',
      vnfc.storageResourceIds.join(' '),
    ]),
  );
}

function lifeCycleCommands(vnf: Command): void {
  asOperation(vnf.command('instantiate <vnf>'))
    .description('allocate the resources of a VNF instance and start it')
    .option(
      '--driver <kind>',
      'the driver for VDUs whose descriptor names none, for example wasmvm',
    )
    .option('--host <name>', 'on this host: a driver, as "mano plugin list" names it')
    .option('--leave-stopped', 'allocate only')
    .action(
      clientAction<WaitOptions & { driver?: string; host?: string; leaveStopped?: boolean }>(
        async (session, options, idOrName) => {
          const { id } = await findVnf(session, idOrName!);
          const started = await lifeCycle(session).instantiateVnf({
            vnfInstanceId: id,
            virtualisationEnvironment: options.driver ?? '',
            targetHost: options.host ?? '',
            leaveStopped: options.leaveStopped === true,
          });
          return report(session, started.lifecycleOperationOccurrenceId, options);
        },
      ),
    );

  asOperation(vnf.command('terminate <vnf>'))
    .description('end a VNF instance and free its resources; snapshots and packages stay')
    .option('--graceful', 'let the guests shut down')
    .action(
      clientAction<WaitOptions & { graceful?: boolean }>(async (session, options, idOrName) => {
        const { id } = await findVnf(session, idOrName!);
        const started = await lifeCycle(session).terminateVnf({
          vnfInstanceId: id,
          terminationType: options.graceful ? StopType.GRACEFUL : StopType.FORCEFUL,
        });
        return report(session, started.lifecycleOperationOccurrenceId, options);
      }),
    );

  for (const [name, state] of [
    ['start', VnfState.STARTED],
    ['stop', VnfState.STOPPED],
  ] as const) {
    asOperation(vnf.command(`${name} <vnf>`))
      .description(`${name} the components of a VNF`)
      .option('--vnfc <ids...>', 'only these VNFC instances')
      .option('--graceful', 'let the guests shut down')
      .action(
        clientAction<WaitOptions & { vnfc?: string[]; graceful?: boolean }>(
          async (session, options, idOrName) => {
            const { id } = await findVnf(session, idOrName!);
            const started = await lifeCycle(session).operateVnf({
              vnfInstanceId: id,
              vnfcInstanceIds: options.vnfc ?? [],
              changeStateTo: state,
              stopType: options.graceful ? StopType.GRACEFUL : StopType.FORCEFUL,
            });
            return report(session, started.lifecycleOperationOccurrenceId, options);
          },
        ),
      );
  }
}

function report(session: Session, id: string, options: WaitOptions): Promise<number> {
  return reportOperation(operations(session), id, {
    json: options.json === true,
    wait: options.wait,
  });
}
