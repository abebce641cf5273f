import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { SiteConfiguration } from '../../../app/configuration.ts';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import type { ComponentStates } from '../../../app/demo/vnf-channel.ts';
import { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { buildGuestImage, tools } from '../drivers/qemu/lab.ts';

const other = 'second-host';

async function open(
  t: ExecutionContext,
  driver: string,
  more: Partial<SiteConfiguration> = {},
  environment: NodeJS.ProcessEnv = {},
) {
  const folder = join(await tempFolder(t), 's');
  const hosts = [{ name: other, kind: driver }];
  const configuration = { version: 1 as const, drivers: [driver], hosts, ...more };
  const site = await Site.start('test', folder, configuration, environment);
  t.teardown(() => site.stop());
  const lab = new Lab(site, () => {});
  t.teardown(() => lab.clean());
  const client = site.client(DriverService, 'vim');
  /** Everything that a host has. */
  const on = async (target: string) => {
    const { computes } = await client.listComputes({}, { target });
    const { volumes } = await client.listVolumes({}, { target });
    const { networks } = await client.listNetworks({}, { target });
    const { snapshots } = await client.listInstanceSnapshots({}, { target });
    return {
      computes: computes.length,
      volumes: volumes.length,
      networks: networks.length,
      snapshots: snapshots.length,
    };
  };
  return { lab, on };
}

const nothing = { computes: 0, volumes: 0, networks: 0, snapshots: 0 };
const demo = { computes: 2, volumes: 2, networks: 1, snapshots: 0 };

/** The demo VNF, captured and then wrecked; what it was like when it was captured. */
async function captured(t: ExecutionContext, lab: Lab, driver: string) {
  const vnf = await lab.instantiate(driver, false);
  const agent = await lab.agent(vnf);
  const answers = () =>
    agent.states().then(
      (states) => Object.values(states).every(({ counter }) => counter > 3),
      () => false,
    );
  await eventually('the components work', answers, 180_000);
  const taken = await lab.lcm.createVnfSnapshot({ vnfInstanceId: vnf.id });
  await lab.follow(taken.lifecycleOperationOccurrenceId);
  const then = agent.handled.at(-1)!.states;
  const isBack = (states: ComponentStates, what: string) => {
    for (const [vnfc, { counter, generation }] of Object.entries(then)) {
      t.is(states[vnfc]?.generation, generation, `${what}: ${vnfc}`);
      t.true(states[vnfc]!.counter >= counter, `${what}: ${vnfc}`);
    }
  };
  const { vnfSnapshotInfoId } = taken;
  return { agent, isBack, request: { vnfInstanceId: vnf.id, vnfSnapshotInfoId } };
}

const moves = test.macro({
  title: (_given, driver: string, mode: string) =>
    `procedures on ${driver}, ${mode}: a VNF goes back to its snapshot on another host, and home again [5.1.3.3/host 5.3-2/target-host]`,
  exec: async (t: ExecutionContext, driver: string, mode: 'direct' | 'indirect') => {
    if (driver === 'qemu') {
      t.timeout(600_000);
      if (!skipUnless(t, ...tools)) return;
      await buildGuestImage();
    }
    const { lab, on } = await open(t, driver, { vnfm: { resourceManagement: mode } });
    const { agent, isBack, request } = await captured(t, lab, driver);
    const revert = async (targetHost: string) => {
      await agent.askAll('wreck');
      const { lifecycleOperationOccurrenceId: id } = await lab.lcm.revertToVnfSnapshot({
        ...{ ...request, targetHost },
      });
      t.is((await lab.follow(id)).operationState, OperationState.COMPLETED);
      isBack(agent.handled.at(-1)!.states, `on "${targetHost}"`);
      const before = await agent.states();
      await eventually(
        'it works on',
        async () =>
          Object.entries(await agent.states()).every(
            ([id, { counter }]) => counter > before[id]!.counter,
          ),
        120_000,
      );
    };

    const running = { ...(await on(driver)), snapshots: 0 };
    t.is(running.computes, 2);
    const { plan } = await lab.lcm.revertToVnfSnapshot({
      ...{ ...request, targetHost: other, validateOnly: true },
    });
    t.deepEqual(
      plan!.vnfcs.map(({ movedTo }) => movedTo),
      [other, other],
    );
    t.deepEqual(await on(other), nothing, 'a plan makes nothing');

    await revert(other);
    t.deepEqual(await on(other), running);
    t.deepEqual(await on(driver), { ...nothing, snapshots: 2 }, 'only the snapshot stays');
    // It was captured on the other host than it is on now.
    await revert('');
    t.deepEqual(await on(other), running);
    await revert(driver);
    t.deepEqual(await on(driver), { ...running, snapshots: 2 });
    t.deepEqual(await on(other), nothing);
  },
});

test.serial(moves, 'wasmvm', 'direct');
test.serial(moves, 'wasmvm', 'indirect');
test.serial(moves, 'qemu', 'direct');

test.serial('target host: what cannot be moved is refused before anything is done', async (t) => {
  const { lab, on } = await open(t, 'wasmvm');
  const { request } = await captured(t, lab, 'wasmvm');
  const { vnfInstanceId } = request;
  const revert = (more: object) => lab.lcm.revertToVnfSnapshot({ ...request, ...more });
  const unknown = await throwsRpc(t, revert({ targetHost: 'nowhere' }), {
    ...{ code: Code.NOT_FOUND, reason: 'HOST_UNKNOWN' },
  });
  t.regex(unknown.message, /it has: wasmvm, second-host/);
  await throwsRpc(t, revert({ targetHost: other, skipSafetySnapshot: true }), {
    ...{ code: Code.INVALID_ARGUMENT, reason: 'SAFETY_NEEDED' },
  });
  const part = await lab.lcm.createVnfSnapshot({ vnfInstanceId, vnfcInstanceIds: ['gateway-0'] });
  await lab.follow(part.lifecycleOperationOccurrenceId);
  const { vnfSnapshotInfoId } = part;
  const left = await throwsRpc(t, revert({ vnfSnapshotInfoId, targetHost: other }), {
    ...{ code: Code.FAILED_PRECONDITION, reason: 'LEFT_BEHIND' },
  });
  t.regex(left.message, /database-0/);
  t.deepEqual(await on(other), nothing);
  t.deepEqual(await on('wasmvm'), { ...demo, snapshots: 3 });
});

for (const step of ['extract gateway-0', 'compute database-0', 'revert database-0']) {
  test.serial(`target host: after a failure in "${step}" the VNF is where it was`, async (t) => {
    const NFV_FAILPOINTS = `vnfm.revert-to-vnf-snapshot.${step}.done=error(broken)`;
    const { lab, on } = await open(t, 'wasmvm', {}, { NFV_FAILPOINTS });
    const { agent, request } = await captured(t, lab, 'wasmvm');
    const before = await agent.states();
    const { lifecycleOperationOccurrenceId: id } = await lab.lcm.revertToVnfSnapshot({
      ...{ ...request, targetHost: other },
    });
    const ended = await t.throwsAsync(lab.follow(id));
    t.regex(ended!.message, /ROLLED_BACK.*broken/);
    t.deepEqual(await on(other), nothing);
    t.deepEqual(await on('wasmvm'), { ...demo, snapshots: 2 });
    const after = await agent.states();
    for (const [vnfc, { counter, generation }] of Object.entries(before)) {
      t.is(after[vnfc]?.generation, generation);
      t.true(after[vnfc]!.counter > counter, 'it ran on, with its memory');
    }
  });
}

test.serial('target host: a VNF is instantiated on the host that the request names', async (t) => {
  const { lab, on } = await open(t, 'wasmvm');
  const { id: first } = await lab.instantiate('wasmvm', true);
  const { vnfd } = await lab.vnf(first);
  const { vnfInstance } = await lab.lcm.createVnfIdentifier({ vnfd: vnfd! });
  const vnfInstanceId = vnfInstance!.id;
  await throwsRpc(t, lab.lcm.instantiateVnf({ vnfInstanceId, targetHost: 'nowhere' }), {
    ...{ code: Code.NOT_FOUND, reason: 'HOST_UNKNOWN' },
  });
  const started = await lab.lcm.instantiateVnf({ vnfInstanceId, targetHost: other });
  await lab.follow(started.lifecycleOperationOccurrenceId);
  t.deepEqual([await on('wasmvm'), await on(other)], [demo, demo]);
});
