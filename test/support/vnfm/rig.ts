/** A VNFM in this process with a VIM, a repository and an NFVO in memory, which outlive it. */
import type { DescService, MessageInitShape } from '@bufbuild/protobuf';
import type { ExecutionContext } from 'ava';
import {
  type GrantRequest,
  VnfLifecycleOperationGrantingService,
} from '../../../gen/nfv/grant/v1/grant_pb.js';
import {
  type LifecycleOperationOccurrence,
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { OperationOccurrenceService } from '../../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { VnfIndicatorService } from '../../../gen/nfv/vnf_indicator/v1/vnf_indicator_pb.js';
import { EmDataService } from '../../../gen/nfv/vnf_lcm/v1/em_data_service_pb.js';
import { VnfLcmService } from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { VnfSnapshotNotificationService } from '../../../gen/nfv/vnf_snapshot_notification/v1/vnf_snapshot_notification_pb.js';
import { VnfSnapshotPackageService } from '../../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import type { VnfdSchema, VnfSnapshotDescriptorSchema } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { vnfmPlugin } from '../../../plugins/vnfm/plugin.ts';
import { createClient } from '../../../sdk/client.ts';
import { permissionDenied } from '../../../sdk/errors.ts';
import type { RunningPlugin } from '../../../sdk/plugin.ts';
import { systemClock } from '../../../sdk/ports/clock.ts';
import { silentLogger } from '../../../sdk/ports/logger.ts';
import { systemRandom } from '../../../sdk/ports/random.ts';
import { implement, type ServiceImplementation } from '../../../sdk/server.ts';
import { inProcessTransport } from '../../../sdk/transport/in-process.ts';
import type { ByteHandler, Transport } from '../../../sdk/transport/transport.ts';
import { FakeRepository, fakeRepositoryServices } from '../fake-repository.ts';
import { fakeVim } from '../fake-vim.ts';
import { tempFolder } from '../temp-folder.ts';
import { FakeWorld, fakeDriver } from './fake-world.ts';

/** Serves calls by the service in their path. */
export function serving(services: readonly ServiceImplementation[]): ByteHandler {
  const byName = new Map(services.map((each) => [each.service.typeName, each]));
  return (call) => byName.get(call.path.split('/')[1] ?? '')!.handle(call);
}

/** What is around the VNFM. */
export type Surroundings = {
  world: FakeWorld;
  repository: FakeRepository;
  /** Operations that the NFVO refuses. */
  refused: Set<OperationType>;
  /** Looks at each request for a grant; what it throws is the refusal. */
  judge: { grant?: (request: GrantRequest) => void };
  services: ServiceImplementation[];
};

export function surroundings(): Surroundings {
  const world = new FakeWorld();
  const repository = new FakeRepository(world);
  const refused = new Set<OperationType>();
  const judge: Surroundings['judge'] = {};
  const granting = implement(VnfLifecycleOperationGrantingService, {
    grantVnfLifecycleOperation: async ({ grantRequest }) => {
      const { operation } = grantRequest!;
      world.calls.push({
        method: 'grant',
        id: OperationType[operation]!,
        atMs: Date.now(),
        step: '',
      });
      judge.grant?.(grantRequest!);
      if (!refused.has(operation)) return { grant: { id: 'grant-1', vimConnectionId: 'vim' } };
      throw permissionDenied('GRANT_REFUSED', 'the policy says no', { rule: 'test' });
    },
  });
  const services = [...fakeVim(world), ...fakeRepositoryServices(repository), granting];
  return { world, repository, refused, judge, services };
}

/** The clients of a VNFM. */
export function clientsOf(transport: Transport) {
  return {
    lcm: createClient(VnfLcmService, transport),
    emData: createClient(EmDataService, transport),
    packages: createClient(VnfSnapshotPackageService, transport),
    operations: createClient(OperationOccurrenceService, transport),
    notifications: createClient(VnfSnapshotNotificationService, transport),
    indicators: createClient(VnfIndicatorService, transport),
  };
}

export type Clients = ReturnType<typeof clientsOf>;

export type Rig = Surroundings &
  Clients & {
    folder: string;
    /** Stops the VNFM and starts another on the same records. */
    restart(): Promise<void>;
  };

/** Starts a VNFM; it stops when the test ends. */
export async function startRig(t: ExecutionContext, settings: object = {}): Promise<Rig> {
  const folder = await tempFolder(t);
  const around = surroundings();
  const peers = inProcessTransport(serving(around.services));
  const stopping = new AbortController();
  const start = () =>
    vnfmPlugin.start({
      ...{ instanceId: 'vnfm', dataFolder: folder, logger: silentLogger, transport: peers },
      ...{ clock: systemClock, random: systemRandom, signal: stopping.signal },
      config: {
        ...{ vim: 'vim', nfvo: 'nfvo', repository: 'repository', packageFolders: [folder] },
        ...settings,
      },
      client: <S extends DescService>(service: S) => createClient(service, peers),
    });
  let running: RunningPlugin = await start();
  const clients = clientsOf(inProcessTransport((call) => serving(running.services)(call)));
  t.teardown(async () => {
    await running.stop?.();
    around.world.close();
  });
  const restart = async () => {
    await running.stop?.();
    running = await start();
  };
  return { ...around, ...clients, folder, restart };
}

/** Waits for the end of an operation: a final state or FAILED_TEMP. */
export async function finished(
  { operations }: Pick<Clients, 'operations'>,
  id: string,
): Promise<LifecycleOperationOccurrence> {
  const watched = operations.watchLifecycleOperationOccurrence({
    lifecycleOperationOccurrenceId: id,
  });
  let last: LifecycleOperationOccurrence | undefined;
  for await (const { occurrence } of watched) last = occurrence;
  if (!last) throw new Error(`operation ${id} was never seen`);
  return last;
}

/** Waits for the end and wants it good. */
export async function completed(clients: Pick<Clients, 'operations'>, id: string) {
  const occurrence = await finished(clients, id);
  const { operationState, error } = occurrence;
  if (operationState === OperationState.COMPLETED) return occurrence;
  throw new Error(`${OperationState[operationState]}: ${error?.reason} ${error?.detail}`);
}

/** Two components whose data depend on each other. */
export function demoVnfd(
  descriptor: Omit<MessageInitShape<typeof VnfSnapshotDescriptorSchema>, '$typeName'> = {},
): Omit<MessageInitShape<typeof VnfdSchema>, '$typeName'> {
  const vdu = (vduId: string) => ({
    ...{ vduId, virtualComputeDesc: 'small', swImage: `${vduId}.wasm` },
    virtualStorageDesc: ['data'],
    intCpd: [{ cpdId: 'eth0', intVirtualLinkDesc: 'internal' }],
  });
  return {
    ...{ vnfdId: 'demo', vnfProvider: 'Micromano', vnfProductName: 'demo' },
    ...{ vnfSoftwareVersion: '1', vnfdVersion: '1' },
    vdu: [vdu('gateway'), vdu('database')],
    virtualComputeDesc: [{ virtualComputeDescId: 'small', virtualisationEnvironment: fakeDriver }],
    virtualStorageDesc: [{ id: 'data', sizeOfStorageMib: 1n }],
    intVirtualLinkDesc: [{ virtualLinkDescId: 'internal' }],
    snapshotDescriptor: { prepareTimeout: { seconds: 2n }, ...descriptor },
  };
}

/** Makes and starts a VNF. */
export async function instantiated(
  rig: Clients,
  vnfd: Omit<MessageInitShape<typeof VnfdSchema>, '$typeName'> = demoVnfd(),
): Promise<string> {
  const { vnfInstance } = await rig.lcm.createVnfIdentifier({ vnfd });
  const vnfInstanceId = vnfInstance!.id;
  const { lifecycleOperationOccurrenceId } = await rig.lcm.instantiateVnf({ vnfInstanceId });
  await completed(rig, lifecycleOperationOccurrenceId);
  return vnfInstanceId;
}
