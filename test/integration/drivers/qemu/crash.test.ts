import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { StateAfterRevert } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import { ComputeState } from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { callVnf } from '../../../../plugins/drivers/qemu/channels/vnf-channel.ts';
import { Code } from '../../../../sdk/errors.ts';
import { configureFailpoints } from '../../../../sdk/failpoint.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { assertWhole, machinesIn, runDriver, snapshotRequest } from './doomed-driver.ts';
import {
  buildGuestImage,
  counting,
  type Driver,
  dataFolder,
  inGuest,
  processesIn,
  roles,
  seconds,
  startDriver,
  startPair,
  tools,
  until,
  vnf,
} from './lab.ts';

test.serial('Whatever kills the driver, the guests run on and nothing is half-made', async (t) => {
  if (!skipUnless(t, ...tools)) return;
  buildGuestImage();
  const folder = await dataFolder(t);
  let driver = await startDriver(folder);
  t.teardown(() => driver.close());
  await startPair(driver);
  await driver.client.createInstanceSnapshot(snapshotRequest('safe'));
  const { generation } = await vnf(driver, 'gateway');

  const capture = ['createInstanceSnapshot', snapshotRequest('torn')];
  const revert = [
    'revertToInstanceSnapshot',
    { computeId: 'gateway', snapshotId: 'safe', stateAfter: StateAfterRevert.RUNNING },
  ];
  const deaths = [
    ['qemu.capture.switching', capture],
    ['qemu.capture.disks', capture],
    ['qemu.capture.durable', capture],
    ['qemu.capture.recorded', capture],
    ['qemu.revert.paused', revert],
    ['qemu.revert.loaded', revert],
    ['qemu.revert.committed', revert],
  ] as const;
  for (const [failpoint, call] of deaths) {
    await driver.close();
    const { killed } = await runDriver(t, folder, [call], `${failpoint}=kill`);
    t.true(killed, `${failpoint} was reached`);
    driver = await startDriver(folder);
    await assertWhole(t, driver, folder);
    const listed = (await driver.client.listInstanceSnapshots({})).snapshots;
    const torn = listed.some(({ snapshotId }) => snapshotId === 'torn');
    t.is(torn, failpoint === 'qemu.capture.recorded', `${failpoint}: whole or not there`);
    await driver.client.deleteInstanceSnapshot({ snapshotId: 'torn' });
    t.is((await vnf(driver, 'gateway')).generation, generation, 'the guest never booted again');
  }
});

test.serial('The watchdog ends a hold and thaws when everything else is dead', async (t) => {
  if (!skipUnless(t, ...tools)) return;
  buildGuestImage();
  const folder = await dataFolder(t);
  const first = await startDriver(folder);
  await startPair(first);
  const { compute } = await first.client.getCompute({ computeId: 'gateway' });
  await first.close();
  const barrier = { computeId: 'gateway', deadline: '2.5s' };
  const calls = [
    ['quiesceCompute', barrier],
    ['holdCompute', barrier],
  ];
  const { child, output } = await runDriver(t, folder, calls, '');
  const before = performance.now();
  child.kill('SIGKILL');
  const ask = () => callVnf(compute!.vnfChannel, { op: 'status' }, 400);
  await t.throwsAsync(ask, { message: /no answer/ }, 'a held guest does not answer');
  await until('the watchdog to let go', 15_000, async () => (await ask()).counter);
  t.true(performance.now() - before > 1000, 'not before the deadline');

  const driver = await startDriver(folder);
  t.teardown(() => driver.close());
  const { counter } = await vnf(driver, 'gateway');
  await counting(driver, 'gateway', counter + 3); // it writes to its disk: thawed
  const leases = output.split('\n').filter((line) => line.includes('leaseId'));
  const [freeze, hold] = leases.map((line) => JSON.parse(line).lease.leaseId);
  const expected = { code: Code.ABORTED, reason: 'LEASE_EXPIRED' };
  const { client } = driver;
  await throwsRpc(t, client.releaseCompute({ computeId: 'gateway', leaseId: hold }), expected);
  await throwsRpc(t, client.unquiesceCompute({ computeId: 'gateway', leaseId: freeze }), expected);
  const late = { ...snapshotRequest('late'), leaseId: hold };
  await throwsRpc(t, client.createInstanceSnapshot(late), expected);
  t.deepEqual((await client.listInstanceSnapshots({})).snapshots, []);
  const watchdog = await driver.context.leases.files.readFired(hold);
  t.is(watchdog?.outcome, 'resumed');

  await agentThatNeverAnswers(t, driver);
  await machineThatDiesDuringCapture(t, driver);
});

async function agentThatNeverAnswers(t: ExecutionContext, driver: Driver): Promise<void> {
  await inGuest(
    driver,
    'database',
    '(sleep 0.3; killall -STOP qemu-ga || kill -STOP $(pidof qemu-ga)) >/dev/null 2>&1 &',
  );
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const start = performance.now();
  const call = driver.client.quiesceCompute({ computeId: 'database', deadline: seconds(2) });
  await throwsRpc(t, call, { code: Code.UNAVAILABLE, reason: 'GUEST_AGENT_SILENT' });
  t.true(performance.now() - start < 10_000);
  const { compute } = await driver.client.getCompute({ computeId: 'database' });
  t.false(compute!.quiesced);
  const { counter } = await vnf(driver, 'database');
  await counting(driver, 'database', counter + 3);
}

async function machineThatDiesDuringCapture(t: ExecutionContext, driver: Driver): Promise<void> {
  configureFailpoints('qemu.capture.disks=sleep(800)');
  t.teardown(() => configureFailpoints(undefined));
  const { client, context } = driver;
  const { pid } = context.machine('gateway')!.process;
  const call = client.createInstanceSnapshot(snapshotRequest('dying'));
  setTimeout(() => process.kill(pid, 'SIGKILL'), 400);
  const error = await throwsRpc(t, call, { code: Code.UNAVAILABLE, reason: 'HYPERVISOR_GONE' });
  t.regex(error.message, /QMP/);
  configureFailpoints(undefined);
  t.deepEqual((await client.listInstanceSnapshots({})).snapshots, []);
  const gone = await until('the death to be noticed', 10_000, async () => {
    const { compute } = await client.getCompute({ computeId: 'gateway' });
    return compute!.state === ComputeState.FAILED && compute;
  });
  t.regex(gone.stateReason, /ended by itself/);
  await client.operateCompute({ computeId: 'gateway', operation: 1 });
  const status = await until('another boot', 40_000, () => vnf(driver, 'gateway'));
  t.true(status.lines >= 0);
  t.regex(await inGuest(driver, 'gateway', 'tail -n 1 /data/numbers.log.old'), /^\d+$/);
}

test.serial('QEMU killed during a revert leaves the instance where it was', async (t) => {
  if (!skipUnless(t, ...tools)) return;
  buildGuestImage();
  const folder = await dataFolder(t);
  const driver = await startDriver(folder);
  t.teardown(() => driver.close());
  await startPair(driver);
  const { client } = driver;
  await client.createInstanceSnapshot(snapshotRequest('s'));
  await counting(driver, 'gateway', (await vnf(driver, 'gateway')).counter + 10);
  const before = await vnf(driver, 'gateway');
  const { pid } = driver.context.machine('gateway')!.process;

  configureFailpoints('qemu.revert.started=sleep(1000)');
  t.teardown(() => configureFailpoints(undefined));
  const revert = client.revertToInstanceSnapshot({
    computeId: 'gateway',
    snapshotId: 's',
    stateAfter: StateAfterRevert.RUNNING,
  });
  const newcomer = await until('the new machine', 10_000, async () =>
    (await processesIn(driver.context.folders.machine('gateway'))).find((other) => other !== pid),
  );
  process.kill(newcomer, 'SIGKILL');
  const error = await t.throwsAsync(revert);
  t.truthy(error);
  configureFailpoints(undefined);
  t.is(driver.context.machine('gateway')!.process.pid, pid, 'the old process');
  t.true((await vnf(driver, 'gateway')).counter >= before.counter, 'no number was lost');
  await counting(driver, 'gateway', before.counter + 5);
  await assertWhole(t, driver, folder);

  const state = join(driver.context.folders.snapshot('s'), 'device-state.bin');
  const bytes = await readFile(state);
  await writeFile(state, bytes.subarray(0, bytes.length / 2));
  await throwsRpc(t, client.revertToInstanceSnapshot({ computeId: 'gateway', snapshotId: 's' }), {
    code: Code.DATA_LOSS,
    reason: 'DEVICE_STATE_REFUSED',
  });
  await writeFile(state, bytes);
  t.is(driver.context.machine('gateway')!.process.pid, pid, 'still the old process');
  await assertWhole(t, driver, folder);

  const reverted = await client.revertToInstanceSnapshot({
    computeId: 'gateway',
    snapshotId: 's',
    stateAfter: StateAfterRevert.RUNNING,
  });
  t.is(reverted.compute!.state, ComputeState.RUNNING);
  t.true((await vnf(driver, 'gateway')).counter < before.counter, 'the second try came through');
  for (const computeId of roles) await client.deleteCompute({ computeId });
  t.is(await machinesIn(folder), 0);
});
