import { mkdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { ComputeOperation, StateAfterRevert } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import { ComputeState } from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { callVnf } from '../../../../plugins/drivers/qemu/channels/vnf-channel.ts';
import { identify, waitForExit } from '../../../../plugins/drivers/qemu/host/process.ts';
import { Code, RpcError } from '../../../../sdk/errors.ts';
import { configureFailpoints, failpointHits } from '../../../../sdk/failpoint.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { assertWhole, machinesIn, runDriver, snapshotRequest } from './doomed-driver.ts';
import {
  booted,
  buildGuestImage,
  counting,
  type Driver,
  dataFolder,
  inGuest,
  processesIn,
  seconds,
  startDriver,
  startPair,
  tools,
  until,
  vnf,
} from './lab.ts';

/** The hold in which the driver dies, and what a busy machine may add to it. */
const holdMs = 5_000;
const slackMs = 30_000;

const revert = {
  computeId: 'gateway',
  snapshotId: 'safe',
  stateAfter: StateAfterRevert.RUNNING,
};

async function openPair(t: ExecutionContext): Promise<{ driver: Driver; folder: string }> {
  buildGuestImage();
  const folder = await dataFolder(t);
  const driver = await startDriver(folder);
  await startPair(driver);
  await driver.client.createInstanceSnapshot(snapshotRequest('safe'));
  return { driver, folder };
}

test.serial(
  'A held guest whose revert is killed runs on at the deadline of its hold',
  async (t) => {
    if (!skipUnless(t, ...tools)) return;
    const pair = await openPair(t);
    const { folder } = pair;
    const { generation } = await vnf(pair.driver, 'gateway');
    const { compute } = await pair.driver.client.getCompute({ computeId: 'gateway' });
    await pair.driver.close();

    const calls = [
      ['holdCompute', { computeId: 'gateway', deadline: `${holdMs / 1000}s` }],
      ['revertToInstanceSnapshot', revert],
    ];
    const { killed } = await runDriver(t, folder, calls, 'qemu.revert.rehold=kill');
    t.true(killed, 'the failpoint was reached');
    // Nobody but the watchdog is there.
    const ask = () => callVnf(compute!.vnfChannel, { op: 'status' }, 400);
    const { counter } = await until('the watchdog to let go', holdMs + slackMs, ask);
    const isFurther = async () => Number((await ask()).counter) > Number(counter);
    await until('the guest to count on', slackMs, isFurther);

    const driver = await startDriver(folder);
    t.teardown(() => driver.close());
    await assertWhole(t, driver, folder);
    t.is((await vnf(driver, 'gateway')).generation, generation, 'it never booted again');
    await watchdogKilled(t, driver);
    await watchdogMissing(t, driver, folder);
  },
);

async function killWatchdog({ context }: Driver): Promise<void> {
  const [pid, ...others] = await processesIn(context.folders.leases);
  if (!pid || others.length > 0) throw new Error('there must be one watchdog');
  const watchdog = identify(pid)!;
  process.kill(pid, 'SIGKILL');
  await waitForExit(watchdog, slackMs);
}

/** A watchdog that is killed under a lease is replaced, and its successor keeps the deadline. */
async function watchdogKilled(t: ExecutionContext, driver: Driver): Promise<void> {
  const { client, context } = driver;
  const { lease } = await client.holdCompute({ computeId: 'gateway', deadline: seconds(2) });
  await killWatchdog(driver);
  await delay(2500);
  const held = await client.getCompute({ computeId: 'gateway' });
  t.is(held.compute!.hold?.leaseId, lease!.leaseId, 'nobody is there to let it go');
  t.is(held.compute!.state, ComputeState.PAUSED);
  await context.leases.checkKept();
  const outcome = await until('the next watchdog to let go', slackMs, async () => {
    return (await context.leases.files.readFired(lease!.leaseId))?.outcome;
  });
  t.is(outcome, 'resumed');
  await counting(driver, 'gateway', (await vnf(driver, 'gateway')).counter + 1);
}

/** Without a watchdog nothing is held and nothing is reverted; what is held stays as it is. */
async function watchdogMissing(t: ExecutionContext, driver: Driver, folder: string): Promise<void> {
  const { client, context } = driver;
  const socket = join(folder, 'leases/watchdog.sock');
  const expected = { code: Code.UNAVAILABLE, reason: 'WATCHDOG_MISSING' };
  const { pid } = context.machine('gateway')!.process;
  const { lease } = await client.holdCompute({ computeId: 'gateway', deadline: seconds(120) });
  await killWatchdog(driver);
  await rm(socket);
  // Nobody can listen here.
  await mkdir(socket);
  await throwsRpc(t, client.holdCompute({ computeId: 'database', deadline: seconds(9) }), expected);
  await throwsRpc(t, client.revertToInstanceSnapshot(revert), expected);
  const { computes } = await client.listComputes({});
  const found = computes.map(({ computeId, state, hold }) => [computeId, state, hold?.leaseId]);
  t.deepEqual(found.sort(), [
    ['database', ComputeState.RUNNING, undefined],
    ['gateway', ComputeState.PAUSED, lease!.leaseId],
  ]);
  await rmdir(socket);
  await client.releaseCompute({ computeId: 'gateway', leaseId: lease!.leaseId });
  t.is(context.machine('gateway')!.process.pid, pid, 'the same machine');
  await assertWhole(t, driver, folder);
}

test.serial('QEMU killed at any moment of a revert leaves all or nothing of it', async (t) => {
  if (!skipUnless(t, ...tools)) return;
  const { driver, folder } = await openPair(t);
  t.teardown(() => configureFailpoints(undefined));
  await driver.client.createInstanceSnapshot({ ...snapshotRequest('cold'), memory: false });
  await mark(driver);
  await counting(driver, 'gateway', (await vnf(driver, 'gateway')).counter + 5);

  await oldKilled(t, driver, folder, 'qemu.revert.started');
  await oldKilled(t, driver, folder, 'qemu.revert.committed');
  await newcomerKilled(t, driver, folder);
  await driver.close();
  await coldRevert(t, folder);
});

/** What the gateway says; on a busy machine its first answer after a change may be late. */
const answer = (driver: Driver) => counting(driver, 'gateway', -1);

/** Puts something on a disk of the gateway that no snapshot has. */
const mark = (driver: Driver) => inGuest(driver, 'gateway', 'echo later > /data/later; sync');
const isMarked = async (driver: Driver) =>
  (await inGuest(driver, 'gateway', 'cat /data/later 2>/dev/null || true')) === 'later';

/** Runs `act` while a revert waits at a failpoint; resolves with how the revert ends. */
async function during(driver: Driver, snapshotId: string, point: string, act: () => unknown) {
  configureFailpoints(`${point}=sleep(1500)`);
  const reverted = driver.client.revertToInstanceSnapshot({ ...revert, snapshotId }).then(
    () => 'reverted',
    (error) => RpcError.from(error).reason,
  );
  await until(point, slackMs, async () => failpointHits().includes(point));
  await act();
  const outcome = await reverted;
  configureFailpoints(undefined);
  return outcome;
}

/** The machine that is left behind is not needed any more: the revert comes through. */
async function oldKilled(t: ExecutionContext, driver: Driver, folder: string, point: string) {
  await mark(driver);
  const old = driver.context.machine('gateway')!.process;
  const outcome = await during(driver, 'safe', point, async () => {
    process.kill(old.pid, 'SIGKILL');
    await waitForExit(old, slackMs);
  });
  t.is(outcome, 'reverted', point);
  t.false(await isMarked(driver), `${point}: it is at the snapshot`);
  const { run } = driver.context.compute('gateway');
  t.is(run?.process?.pid, driver.context.machine('gateway')!.process.pid, `${point}: recorded`);
  await assertWhole(t, driver, folder);
}

/** The instance is at the snapshot as after a power failure: FAILED, and a start boots it. */
async function newcomerKilled(t: ExecutionContext, driver: Driver, folder: string): Promise<void> {
  const { client, context } = driver;
  const { generation } = await answer(driver);
  await mark(driver);
  const outcome = await during(driver, 'safe', 'qemu.revert.committed', () =>
    process.kill(context.compute('gateway').run!.process!.pid, 'SIGKILL'),
  );
  t.is(outcome, 'HYPERVISOR_GONE');
  const isFailed = async () => {
    const { compute } = await client.getCompute({ computeId: 'gateway' });
    return compute!.state === ComputeState.FAILED && compute;
  };
  const failed = await until('the death to be noticed', slackMs, isFailed);
  t.is(failed.hold, undefined, 'what is dead is not held');
  t.is(await machinesIn(folder), 1, 'neither the old machine nor the new one');
  await client.operateCompute({ computeId: 'gateway', operation: ComputeOperation.START });
  await booted(driver, 'gateway');
  t.not((await answer(driver)).generation, generation);
  t.false(await isMarked(driver), 'its disks are at the snapshot');
  await assertWhole(t, driver, folder);
}

/** Killed before its one moment a cold revert leaves a stopped instance with its disks. */
async function coldRevert(t: ExecutionContext, folder: string): Promise<void> {
  const first = await startDriver(folder);
  await mark(first);
  await first.close();
  const calls = [['revertToInstanceSnapshot', { ...revert, snapshotId: 'cold' }]];
  t.true((await runDriver(t, folder, calls, 'qemu.revert.stopped=kill')).killed);

  const driver = await startDriver(folder);
  t.teardown(() => driver.close());
  const start = { computeId: 'gateway', operation: ComputeOperation.START };
  const stateOf = async () =>
    (await driver.client.getCompute({ computeId: 'gateway' })).compute!.state;
  t.is(await stateOf(), ComputeState.STOPPED);
  await driver.client.operateCompute(start);
  await booted(driver, 'gateway');
  t.true(await isMarked(driver), 'its disks are as they were');

  const outcome = await during(driver, 'cold', 'qemu.boot.started', async () => {
    const [pid] = await processesIn(driver.context.folders.machine('gateway'));
    process.kill(pid!, 'SIGKILL');
  });
  t.is(outcome, 'HYPERVISOR_GONE');
  t.is(await stateOf(), ComputeState.STOPPED);
  await driver.client.operateCompute(start);
  await booted(driver, 'gateway');
  t.false(await isMarked(driver), 'its disks are at the snapshot');
  await assertWhole(t, driver, folder);
}
