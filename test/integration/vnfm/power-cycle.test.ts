import test, { type ExecutionContext } from 'ava';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { SnapshotAvailability, VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { eventually } from '../../support/eventually.ts';
import { watchAsVnf } from '../../support/vnfm/fake-vnf.ts';
import { completed, demoVnfd, instantiated, type Rig, startRig } from '../../support/vnfm/rig.ts';

const { STARTED, STOPPED } = VnfState;

/** A VNF whose database is captured when it is powered off, and reverted when it is powered on. */
async function rigWith(t: ExecutionContext, flags: object) {
  const rig = await startRig(t);
  const vnf = await instantiated(rig, demoVnfd({ vnfc: [{ vduId: 'database', ...flags }] }));
  await watchAsVnf(t, rig, vnf);
  return { rig, vnf, disk: `${vnf}.database-0.data` };
}

async function operate(
  rig: Rig,
  vnfInstanceId: string,
  changeStateTo: VnfState,
  more: object = {},
) {
  const started = await rig.lcm.operateVnf({ vnfInstanceId, changeStateTo, ...more });
  return completed(rig, started.lifecycleOperationOccurrenceId);
}

async function whole(rig: Rig) {
  const { vnfSnapshotInfos } = await rig.lcm.queryVnfSnapshotInfo({ allFields: true });
  return vnfSnapshotInfos.filter(
    ({ availability }) => availability === SnapshotAvailability.AVAILABLE,
  );
}

test('power off: a snapshot is taken of the components that want it, by the VNFM itself [Vnfsd.013]', async (t) => {
  const { rig, vnf } = await rigWith(t, { snapshotAtPowerOff: true });
  await operate(rig, vnf, STOPPED);
  await eventually('the snapshot is there', async () => (await whole(rig)).length === 1, 10_000);
  const [info] = await whole(rig);
  const parts = info!.vnfSnapshot!.vnfcSnapshots;
  t.deepEqual(
    parts.map(({ vnfcInstanceId, warm }) => [vnfcInstanceId, warm]),
    [['database-0', false]],
  );
  const { occurrences } = await rig.operations.listLifecycleOperationOccurrences({});
  t.true(occurrences[0]!.isAutomaticInvocation);
  t.is(occurrences[0]!.operationState, OperationState.COMPLETED);
  // Once: neither later nor after another start of the VNFM.
  await rig.restart();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  t.is((await whole(rig)).length, 1);
});

test('power off: nothing is captured of components that do not want it', async (t) => {
  const { rig, vnf } = await rigWith(t, { snapshotAtPowerOff: true });
  await operate(rig, vnf, STOPPED, { vnfcInstanceIds: ['gateway-0'] });
  await new Promise((resolve) => setTimeout(resolve, 1500));
  t.is(rig.world.snapshots.size, 0);
});

test('power off: what a VNFM that ends owes is captured by the next [Vnfsd.013]', async (t) => {
  const { rig, vnf } = await rigWith(t, { snapshotAtPowerOff: true });
  await operate(rig, vnf, STOPPED);
  await rig.restart();
  await eventually('the snapshot is there', async () => (await whole(rig)).length === 1, 10_000);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  t.is(rig.world.snapshots.size, 1, 'and once');
});

test('power on: the disks go back to the newest snapshot before the component boots [Vnfsd.014]', async (t) => {
  const { rig, vnf, disk } = await rigWith(t, { revertAtPowerOn: true });
  rig.world.volumes.set(disk, 'good');
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf });
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  rig.world.volumes.set(disk, 'bad');
  const gatewayDisk = `${vnf}.gateway-0.data`;
  rig.world.volumes.set(gatewayDisk, 'its own');
  const running = await operate(rig, vnf, STARTED);
  t.is(rig.world.volumes.get(disk), 'bad', 'what runs is not reverted');
  t.regex(
    running.steps.find(({ name }) => name === 'revert database-0')!.note,
    /powered on already/,
  );
  await operate(rig, vnf, STOPPED);
  await operate(rig, vnf, STARTED);
  t.is(rig.world.volumes.get(disk), 'good');
  t.is(rig.world.volumes.get(gatewayDisk), 'its own');
  t.is(rig.world.guest(`${vnf}.database-0`).state, ComputeState.RUNNING);
});

test('power on: without a snapshot the component just starts', async (t) => {
  const { rig, vnf } = await rigWith(t, { revertAtPowerOn: true });
  await operate(rig, vnf, STOPPED);
  await operate(rig, vnf, STARTED);
  t.is(rig.world.guest(`${vnf}.database-0`).state, ComputeState.RUNNING);
});
