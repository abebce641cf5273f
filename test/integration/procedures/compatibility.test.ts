import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { SiteConfiguration } from '../../../app/configuration.ts';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import type { VnfAgent } from '../../../app/demo/vnf-agent.ts';
import { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { SnapshotType } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { buildGuestImage, tools } from '../drivers/qemu/lab.ts';

/** Not the driver's default model, and one that knows all that the default one knows. */
const cpuModel = 'Westmere';

async function open(t: ExecutionContext, name: string, more: Partial<SiteConfiguration>) {
  const folder = join(await tempFolder(t), name);
  const site = await Site.start(name, folder, { version: 1, drivers: ['qemu'], ...more });
  t.teardown(() => site.stop());
  const lab = new Lab(site, () => {});
  t.teardown(() => lab.clean());
  const client = site.client(DriverService, 'vim');
  const on = async (target: string) => {
    const { computes } = await client.listComputes({}, { target });
    const { volumes } = await client.listVolumes({}, { target });
    const { snapshots } = await client.listInstanceSnapshots({}, { target });
    return [computes.length, volumes.length, snapshots.length];
  };
  return { lab, on };
}

const works = (agent: VnfAgent) =>
  eventually(
    'the components work',
    () =>
      agent.states().then(
        (states) => Object.values(states).every(({ counter }) => counter > 3),
        () => false,
      ),
    180_000,
  );

test.serial(
  'compatibility on qemu: memory goes to no other processor model unless forced; disks go anywhere',
  async (t) => {
    t.timeout(600_000);
    if (!skipUnless(t, ...tools)) return;
    await buildGuestImage();
    const { lab, on } = await open(t, 'a', {
      hosts: [{ name: 'newer', kind: 'qemu', config: { cpuModel } }],
    });
    const { id: vnfInstanceId } = await lab.instantiate('qemu', false);
    const agent = await lab.agent(await lab.vnf(vnfInstanceId));
    await works(agent);
    const take = async (type: SnapshotType) => {
      const taken = await lab.lcm.createVnfSnapshot({ vnfInstanceId, type });
      await lab.follow(taken.lifecycleOperationOccurrenceId);
      return taken.vnfSnapshotInfoId;
    };
    const warm = await take(SnapshotType.WARM);
    const then = agent.handled.at(-1)!.states;
    const before = await on('qemu');
    const revert = (vnfSnapshotInfoId: string, more = {}) =>
      lab.lcm.revertToVnfSnapshot({
        ...{ vnfInstanceId, vnfSnapshotInfoId, targetHost: 'newer', ...more },
      });
    const refused = await throwsRpc(t, revert(warm), {
      ...{ code: Code.FAILED_PRECONDITION, reason: 'INCOMPATIBLE' },
    });
    t.regex(refused.message, /gateway-0.*cpuModel "Nehalem".*"newer" has "Westmere".*force/);
    await throwsRpc(t, revert(warm, { validateOnly: true }), {
      ...{ code: Code.FAILED_PRECONDITION, reason: 'INCOMPATIBLE' },
    });
    t.deepEqual(await on('newer'), [0, 0, 0]);
    t.deepEqual(await on('qemu'), before);
    const { vnfSnapshotInfos } = await lab.lcm.queryVnfSnapshotInfo({ allFields: true });
    for (const { instanceSnapshot } of vnfSnapshotInfos[0]!.vnfSnapshot!.vnfcSnapshots) {
      const { hypervisorVersion, cpuFlags, machineType } = instanceSnapshot!.compatibility!;
      t.regex(hypervisorVersion, /^\d+\.\d+/);
      t.regex(machineType, /q35/);
      t.true(
        ['cx16', 'lm', 'sse4-2'].every((flag) => cpuFlags.includes(flag)),
        cpuFlags.join(),
      );
      t.false(cpuFlags.includes('aes'), 'this model has none');
    }

    const packed = await lab.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId: warm });
    await lab.follow(packed.lifecycleOperationOccurrenceId);
    const archive = join(await tempFolder(t), 'warm.zip');
    const { vnfSnapshotPkgId } = packed;
    const exported = await lab.packages.exportVnfSnapshotPackage({
      ...{ vnfSnapshotPkgId, location: archive },
    });
    await lab.follow(exported.lifecycleOperationOccurrenceId);

    const forced = await revert(warm, { force: true });
    const { operationState } = await lab.follow(forced.lifecycleOperationOccurrenceId);
    t.is(operationState, OperationState.COMPLETED);
    for (const [vnfc, { counter, generation }] of Object.entries(then)) {
      t.like(agent.handled.at(-1)!.states[vnfc], { counter, generation }, vnfc);
    }

    // A site of the other model: its drivers do not hold what they could not load.
    const b = await open(t, 'b', { qemu: { cpuModel } });
    const imported = await b.lab.packages.importVnfSnapshotPackage({ location: archive });
    await b.lab.follow(imported.lifecycleOperationOccurrenceId);
    const extract = (force: boolean) =>
      b.lab.packages.extractVnfSnapshotPackage({ vnfSnapshotPkgId, force });
    const { lifecycleOperationOccurrenceId: id } = await extract(false);
    const ended = await t.throwsAsync(b.lab.follow(id));
    t.regex(ended!.message, /ROLLED_BACK.*cpuModel "Nehalem".*"qemu" has "Westmere"/);
    t.deepEqual(await b.on('qemu'), [0, 0, 0]);
    t.deepEqual((await b.lab.lcm.queryVnfSnapshotInfo({})).vnfSnapshotInfos, []);
    const { lifecycleOperationOccurrenceId: insisted } = await extract(true);
    t.is((await b.lab.follow(insisted)).operationState, OperationState.COMPLETED);

    const home = await revert(warm, { targetHost: 'qemu' });
    await lab.follow(home.lifecycleOperationOccurrenceId);
    const cold = await take(SnapshotType.COLD);
    const moved = await revert(cold);
    t.is(
      (await lab.follow(moved.lifecycleOperationOccurrenceId)).operationState,
      OperationState.COMPLETED,
    );
    await works(agent);
    t.is((await on('newer'))[0], 2);
  },
);

test.serial(
  'compatibility on qemu: a model that this QEMU has not is told at the start',
  async (t) => {
    if (!skipUnless(t, ...tools)) return;
    for (const [key, value] of [
      ['cpuModel', 'Z80'],
      ['machineType', 'isapc'],
    ] as const) {
      const error = await t.throwsAsync(open(t, 'c', { qemu: { [key]: value } }));
      t.regex(error!.message, new RegExp(`config\\.${key}: there is no .*${value}.* help`));
    }
  },
);
