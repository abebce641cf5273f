import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import test, { type ExecutionContext } from 'ava';
import {
  OperationState,
  StepState,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { CancelMode } from '../../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import type { SnapshotPlan } from '../../../gen/nfv/vnf_lcm/v1/plan_pb.js';
import { PowerOff, VirtualStorageDescSchema } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { watchAsVnf } from '../../support/vnfm/fake-vnf.ts';
import { demoVnfd, finished, instantiated, type Rig, startRig } from '../../support/vnfm/rig.ts';

type Wanted = {
  powerOff?: PowerOff;
  powerOnAfter?: boolean;
  detachBefore?: boolean;
  attachAfter?: boolean;
};
const around = {
  ...{ powerOff: PowerOff.BEFORE, powerOnAfter: true },
  ...{ detachBefore: true, attachAfter: true },
};

/** A VNF whose database has three disks, of which the middle one is in no snapshot. */
async function started(t: ExecutionContext, wanted: Wanted) {
  const rig = await startRig(t);
  const vnfd = demoVnfd({
    vnfc: [{ vduId: 'database', includedStorageIds: ['data', 'logs'], ...wanted }],
  });
  vnfd.virtualStorageDesc!.push(
    ...['scratch', 'logs'].map((id) =>
      create(VirtualStorageDescSchema, { id, sizeOfStorageMib: 1n }),
    ),
  );
  vnfd.vdu![1]!.virtualStorageDesc!.push('scratch', 'logs');
  const vnf = await instantiated(rig, vnfd);
  await watchAsVnf(t, rig, vnf);
  const database = () => rig.world.guest(`${vnf}.database-0`);
  const attached = () => database().spec.volumes.map(({ name }) => name);
  const volumeId = (name: string) => `${vnf}.database-0.${name}`;
  return { rig, vnf, database, attached, volumeId };
}

async function taken({ lcm, operations }: Rig, vnfInstanceId: string) {
  const asked = await lcm.createVnfSnapshot({ vnfInstanceId });
  const end = await finished({ operations }, asked.lifecycleOperationOccurrenceId);
  return { end, vnfSnapshotInfoId: asked.vnfSnapshotInfoId };
}

const breaks = () => {
  throw failedPrecondition('COMPUTE_STATE', 'the test breaks it');
};

test('volumes: detached before, captured while nothing has them, attached after to their places [6.4.1/9 6.4.1/30 Vnfsd.011 Vnfsd.012]', async (t) => {
  const { rig, vnf, attached, volumeId, database } = await started(t, around);
  let during: string[] = [];
  rig.world.before('capture', 'database-0', () => {
    during = attached();
  });
  rig.world.volumes.set(volumeId('logs'), 'as captured');
  const { end, vnfSnapshotInfoId } = await taken(rig, vnf);
  t.is(end.operationState, OperationState.COMPLETED);
  t.deepEqual(during, ['scratch']);
  t.deepEqual(attached(), ['data', 'scratch', 'logs']);
  t.is(database().state, ComputeState.RUNNING);
  const steps = end.steps.filter(({ vnfcInstanceId }) => vnfcInstanceId === 'database-0');
  t.deepEqual(
    steps.map(({ clauseStep }) => clauseStep),
    ['5', '9', '17, 21', '30', '34', '25'],
  );
  rig.world.volumes.set(volumeId('logs'), 'later');
  rig.world.before('revert', 'database-0', () => {
    during = attached();
  });
  during = [];
  const reverted = await rig.lcm.revertToVnfSnapshot({ vnfInstanceId: vnf, vnfSnapshotInfoId });
  const reversion = await finished(rig, reverted.lifecycleOperationOccurrenceId);
  t.is(reversion.operationState, OperationState.COMPLETED);
  t.deepEqual(during, ['scratch']);
  t.is(rig.world.volumes.get(volumeId('logs')), 'as captured');
  t.deepEqual(attached(), ['data', 'scratch', 'logs']);
});

test('volumes: without "attached after" they stay detached, are captured so again, and come back when the descriptor wants it', async (t) => {
  const { rig, vnf, attached } = await started(t, { ...around, attachAfter: false });
  t.is((await taken(rig, vnf)).end.operationState, OperationState.COMPLETED);
  t.deepEqual(attached(), ['scratch']);
  const second = await taken(rig, vnf);
  t.is(second.end.operationState, OperationState.COMPLETED);
  t.false(second.end.steps.some(({ name }) => /^(de|at)tach /.test(name)));
  const filter = `(eq,id,${second.vnfSnapshotInfoId})`;
  const { vnfSnapshotInfos } = await rig.lcm.queryVnfSnapshotInfo({ filter, allFields: true });
  const part = vnfSnapshotInfos[0]!.vnfSnapshot!.vnfcSnapshots.find(
    ({ id }) => id === 'database-0',
  );
  t.deepEqual(
    part!.instanceSnapshot!.images.map(({ name }) => name),
    ['data', 'logs'],
  );
});

for (const [method, resource] of [
  ['detach', 'database-0.logs'],
  ['capture', 'gateway-0'],
  ['attach', 'database-0.data'],
  ['operate', 'database-0'],
] as const) {
  test(`volumes: when ${method} fails for ${resource}, they are attached again and the component runs`, async (t) => {
    const { rig, vnf, attached, database } = await started(t, around);
    let calls = 0;
    // The first "operate" powers off; the one after the snapshot fails, once.
    const wanted = method === 'operate' ? 2 : 1;
    rig.world.before(method, resource, ({ step }) => {
      calls += 1;
      if (calls >= wanted && !step.includes('undo')) breaks();
    });
    const { end } = await taken(rig, vnf);
    t.is(end.operationState, OperationState.ROLLED_BACK);
    t.deepEqual(attached(), ['data', 'scratch', 'logs']);
    t.is(database().state, ComputeState.RUNNING);
  });
}

for (const method of ['detach', 'revert', 'attach']) {
  test(`volumes: when ${method} fails in a reversion, all is as it was`, async (t) => {
    const { rig, vnf, attached, database, volumeId } = await started(t, around);
    const { vnfSnapshotInfoId } = await taken(rig, vnf);
    rig.world.volumes.set(volumeId('logs'), 'later');
    rig.world.before(method, 'database-0', ({ step }) => {
      if (!step.includes('undo')) breaks();
    });
    const reverted = await rig.lcm.revertToVnfSnapshot({ vnfInstanceId: vnf, vnfSnapshotInfoId });
    const reversion = await finished(rig, reverted.lifecycleOperationOccurrenceId);
    t.is(reversion.operationState, OperationState.ROLLED_BACK);
    t.true(reversion.steps.some(({ state }) => state === StepState.COMPENSATED));
    t.deepEqual(attached(), ['data', 'scratch', 'logs']);
    t.is(rig.world.volumes.get(volumeId('logs')), 'later');
    t.is(database().state, ComputeState.RUNNING);
  });
}

test('volumes: a cancel while they are detached attaches them again', async (t) => {
  const { rig, vnf, attached, database } = await started(t, around);
  const reached = { it: false };
  rig.world.before('capture', 'database-0', async () => {
    reached.it = true;
    await sleep(200);
  });
  const asked = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf });
  const { lifecycleOperationOccurrenceId } = asked;
  await eventually('they are detached', () => reached.it);
  t.deepEqual(attached(), ['scratch']);
  const cancelMode = CancelMode.FORCEFUL;
  await rig.operations.cancelLifecycleOperation({ lifecycleOperationOccurrenceId, cancelMode });
  const end = await finished(rig, lifecycleOperationOccurrenceId);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.deepEqual(attached(), ['data', 'scratch', 'logs']);
  t.is(database().state, ComputeState.RUNNING);
});

test('volumes: a plan says which would be detached and attached, and does nothing', async (t) => {
  const { rig, vnf, attached } = await started(t, around);
  const ofDatabase = (plan: SnapshotPlan | undefined) =>
    plan!.vnfcs.find(({ vnfcInstanceId }) => vnfcInstanceId === 'database-0')!;
  const creation = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf, validateOnly: true });
  t.like(ofDatabase(creation.plan), { detached: ['data', 'logs'], attached: ['data', 'logs'] });
  t.deepEqual(attached(), ['data', 'scratch', 'logs']);
  const { vnfSnapshotInfoId } = await taken(rig, vnf);
  const request = { vnfInstanceId: vnf, vnfSnapshotInfoId, validateOnly: true };
  const reversion = await rig.lcm.revertToVnfSnapshot(request);
  t.like(ofDatabase(reversion.plan), { detached: ['data', 'logs'], attached: ['data', 'logs'] });
});
