import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { DataTransport } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  type LifecycleOperationOccurrence,
  OperationState,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { VnfcSnapshotPackageService } from '../../../gen/nfv/vnfc_snapshot_package/v1/vnfc_snapshot_package_pb.js';
import { tools } from '../../integration/drivers/qemu/lab.ts';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { problems } from '../../support/system/checker.ts';
import type { Expected } from '../../support/system/procedures.ts';
import { guestProcesses } from '../../support/system/qemu-leftovers.ts';
import {
  channelsOf,
  freezeMarginMs,
  machines,
  runningVnf,
  slackMs,
  untilAllCount,
} from '../../support/system/qemu-rig.ts';
import type { SystemRig } from '../../support/system/system-rig.ts';

const runMsMax = 600_000;
const holdMs = 5_000;
/** Where the snapshot has to come through on a busy machine. */
const longHoldMs = 30_000;

const stateOf = ({ operationState }: LifecycleOperationOccurrence) =>
  OperationState[operationState];

test.serial(
  'system: kill -9 while real guests are held: they are let go, and adopted by a restart',
  async (t) => {
    if (!skipUnless(t, ...tools)) return;
    t.timeout(runMsMax);
    const rig = await runningVnf(t, holdMs);
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
    const rig = await runningVnf(t, longHoldMs);
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
    await packOverNbd(t, rig, vnfSnapshotInfoId);
    // What the kills left open would refuse it.
    await rig.deleteSnapshot(vnfSnapshotInfoId);
    const expected = { snapshots: [], packages, archives: [] };
    t.deepEqual(await problems(rig, expected), []);
    await plantedLeftovers(t, rig, expected);
    const { others } = await guestProcesses(rig);
    const watchdogEnds = async () => (await guestProcesses(rig)).others.length === 0;
    await eventually('the watchdog ends when nothing is held', watchdogEnds, slackMs);
    t.true(others.length <= 1);
  },
);

/** Killed while the repository reads over NBD: the servers end with the next start. */
async function packOverNbd(t: ExecutionContext, rig: SystemRig, snapshot: string): Promise<void> {
  const { vnfSnapshotInfos } = await rig.lab.lcm.queryVnfSnapshotInfo({ allFields: true });
  const parts = vnfSnapshotInfos.find(({ id }) => id === snapshot)!.vnfSnapshot!.vnfcSnapshots;
  const { snapshotId } = parts[0]!.instanceSnapshot!;
  await rig.kill();
  await rig.start('vim.package.opened=1*kill');
  const request = {
    vnfcSnapshotPackageId: 'over-nbd',
    snapshotId,
    transport: DataTransport.NBD,
    call: { operationId: 'test', stepId: 'nbd' },
  };
  const client = rig.site.client(VnfcSnapshotPackageService, 'vnfm');
  const packing = client.createVnfcSnapshotPackage(request, { target: 'vim' });
  const torn = t.throwsAsync(async () => {
    for await (const _ of packing);
  });
  await rig.died();
  await torn;
  const servers = async () =>
    (await guestProcesses(rig)).others.filter(([, command]) => command.includes('qemu-nbd'));
  t.true((await servers()).length > 0, 'the servers outlive the site');
  await rig.start();
  t.deepEqual(await servers(), [], 'and end with the next start');
}

/** The judge of leftovers is not blind. */
async function plantedLeftovers(t: ExecutionContext, rig: SystemRig, expected: Expected) {
  const folder = join(rig.folder, 'plugins/qemu');
  const orphan = spawn('sleep', ['600'], { cwd: folder, stdio: 'ignore' });
  await writeFile(join(folder, 'layers/0123456789abcdef.qcow2'), '');
  await mkdir(join(folder, 'snapshots/00000000000000000000'));
  await mkdir(join(folder, 'machines/00000000000000000000'));
  const found = (await problems(rig, expected)).join('\n');
  t.regex(found, /process \d+: sleep/);
  t.regex(found, /layers: 0123456789abcdef.qcow2 should not/);
  t.regex(found, /folders of snapshots: 0{20} should not/);
  t.regex(found, /folders of machines: 0{20} should not/);
  orphan.kill('SIGKILL');
}
