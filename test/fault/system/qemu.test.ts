import { readFile } from 'node:fs/promises';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import test, { type ExecutionContext } from 'ava';
import { askComponent } from '../../../app/demo/vnf-channel.ts';
import {
  type LifecycleOperationOccurrence,
  OperationState,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { buildGuestImage, processesIn, tools } from '../../integration/drivers/qemu/lab.ts';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { problems } from '../../support/system/checker.ts';
import { SystemRig } from '../../support/system/system-rig.ts';

const runMsMax = 280_000;
/** The hold of the VNF; its freeze may last 30 s longer. */
const holdMs = 5_000;
const freezeMarginMs = 30_000;
/** What a busy machine may add. */
const slackMs = 30_000;
const bootMsMax = 90_000;

/** The machines of a site: process ids of QEMU by the guest's name. */
async function machines(rig: SystemRig): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const pid of await processesIn(rig.folder)) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const name = /^[^\0]*qemu-system[^\0]*\0-name\0([^,\0]+)/.exec(command)?.[1];
    if (name) found[name] = pid;
  }
  return found;
}

/** A site with the demo VNF on real guests, under traffic. */
async function runningVnf(t: ExecutionContext): Promise<SystemRig> {
  buildGuestImage();
  const rig = await SystemRig.open(t, 'qemu');
  t.teardown(async () => {
    await rig.kill();
    for (const pid of await processesIn(rig.folder)) process.kill(pid, 'SIGKILL');
    const gone = async () => (await processesIn(rig.folder)).length === 0;
    await eventually('the machines end', gone);
  });
  await rig.instantiate((vnfd) => {
    vnfd.snapshotDescriptor!.holdDeadline = durationFromMs(holdMs);
  });
  const traffic = async () =>
    Object.values(await rig.agent.states()).every((state) => state.counter > 3);
  await eventually('the guests speak to each other', traffic, bootMsMax);
  return rig;
}

/** The channels of the guests, which outlive the site. */
async function channelsOf(rig: SystemRig): Promise<string[]> {
  const { instantiatedVnfInfo } = await rig.vnf();
  return instantiatedVnfInfo!.vnfcResourceInfo.map((vnfc) => vnfc.vnfChannel);
}

/** Waits until every guest has counted further: it runs, and may write to its disks. */
async function untilAllCount(channels: string[], withinMs: number): Promise<void> {
  const endMs = performance.now() + withinMs;
  const ask = (path: string) => askComponent(path, 'status', AbortSignal.timeout(withinMs));
  const counters = new Map<string, number>();
  for (const path of channels) counters.set(path, (await ask(path)).counter);
  for (const [path, counter] of counters) {
    const leftMs = Math.max(1, endMs - performance.now());
    await eventually(
      'all guests count on',
      async () => (await ask(path)).counter > counter + 1,
      leftMs,
    );
  }
}

const stateOf = ({ operationState }: LifecycleOperationOccurrence) =>
  OperationState[operationState];

test.serial(
  'system: kill -9 while real guests are held: they are let go, and adopted by a restart',
  async (t) => {
    if (!skipUnless(t, ...tools)) return;
    t.timeout(runMsMax);
    const rig = await runningVnf(t);
    const before = await machines(rig);
    t.is(Object.keys(before).length, 2);
    const channels = await channelsOf(rig);

    await rig.kill();
    await rig.start('vnfm.create-vnf-snapshot.hold database-0.done=1*kill');
    t.deepEqual(await machines(rig), before, 'a restart adopts the guests');
    const torn = await rig.createSnapshot();
    await rig.died();
    // Nobody but the watchdog is there.
    await untilAllCount(channels, holdMs + freezeMarginMs + slackMs);
    t.deepEqual(await machines(rig), before, 'the guests live on');

    await rig.start('vnfm.create-vnf-snapshot.capture database-0.done=1*kill');
    const ended = await rig.ended(torn.lifecycleOperationOccurrenceId);
    t.is(stateOf(ended), 'ROLLED_BACK', ended.error?.detail);
    const nothing = { snapshots: [], packages: [], archives: [] };
    t.deepEqual(await problems(rig, nothing), []);
    t.deepEqual(await machines(rig), before, 'the guests are adopted');

    // This time the site is back before the deadline.
    const second = await rig.createSnapshot();
    await rig.died();
    await rig.start();
    const rolledBack = await rig.ended(second.lifecycleOperationOccurrenceId);
    t.is(stateOf(rolledBack), 'ROLLED_BACK', rolledBack.error?.detail);
    t.deepEqual(await problems(rig, nothing), []);
    t.deepEqual(await machines(rig), before);
  },
);

test.serial(
  'system: kill -9 while real guests are packed: the package is whole or gone, they live on',
  async (t) => {
    if (!skipUnless(t, ...tools)) return;
    t.timeout(runMsMax);
    const rig = await runningVnf(t);
    const before = await machines(rig);
    const { vnfSnapshotInfoId, lifecycleOperationOccurrenceId } = await rig.createSnapshot();
    await rig.completed(lifecycleOperationOccurrenceId);
    const packages: string[] = [];
    for (const point of ['vim.package.opened=1*off->1*kill', 'store.after-blocks=1*kill']) {
      await rig.kill();
      await rig.start(point);
      const channels = await channelsOf(rig);
      const packed = await rig.createPackage(vnfSnapshotInfoId);
      await rig.died();
      await untilAllCount(channels, slackMs);
      await rig.start();
      const ended = await rig.ended(packed.lifecycleOperationOccurrenceId);
      if (stateOf(ended) === 'COMPLETED') packages.push(packed.vnfSnapshotPkgId);
      else t.is(stateOf(ended), 'ROLLED_BACK', ended.error?.detail);
      const expected = { snapshots: [vnfSnapshotInfoId], packages, archives: [] };
      t.deepEqual(await problems(rig, expected), [], point);
      t.deepEqual(await machines(rig), before, 'the guests live on');
    }
  },
);
