import test, { type ExecutionContext } from 'ava';
import { Code } from '../../../gen/google/rpc/code_pb.js';
import {
  OperationState,
  StepState,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { SnapshotType } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { aborted, dataLoss } from '../../../sdk/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { watchAsVnf } from '../../support/vnfm/fake-vnf.ts';
import {
  completed,
  demoVnfd,
  finished,
  instantiated,
  type Rig,
  startRig,
} from '../../support/vnfm/rig.ts';

type Ready = { rig: Rig; vnf: string; snapshot: string };

/** A VNF at numbers 11 and 12, and a snapshot of it at 1 and 2. */
async function ready(
  t: ExecutionContext,
  type = SnapshotType.UNSPECIFIED,
  descriptor: Parameters<typeof demoVnfd>[0] = {},
): Promise<Ready> {
  const rig = await startRig(t);
  const vnf = await instantiated(rig, demoVnfd(descriptor));
  const told = await watchAsVnf(t, rig, vnf);
  setNumbers(rig, vnf, 1);
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf, type });
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  setNumbers(rig, vnf, 11);
  told.close();
  return { rig, vnf, snapshot: taken.vnfSnapshotInfoId };
}

function setNumbers({ world }: Rig, vnf: string, first: number): void {
  for (const [at, vnfc] of ['gateway-0', 'database-0'].entries()) {
    world.guest(`${vnf}.${vnfc}`).memory = first + at;
    world.volumes.set(`${vnf}.${vnfc}.data`, `disk at ${first + at}`);
  }
}

function numbers({ world }: Rig, vnf: string) {
  return ['gateway-0', 'database-0'].map((vnfc) => [
    world.guest(`${vnf}.${vnfc}`).memory,
    world.volumes.get(`${vnf}.${vnfc}.data`),
  ]);
}

const numbersAt = (first: number) => [
  [first, `disk at ${first}`],
  [first + 1, `disk at ${first + 1}`],
];

async function revert({ rig, vnf, snapshot }: Ready, options = {}) {
  const { lifecycleOperationOccurrenceId } = await rig.lcm.revertToVnfSnapshot({
    ...{ vnfInstanceId: vnf, vnfSnapshotInfoId: snapshot },
    ...options,
  });
  return finished(rig, lifecycleOperationOccurrenceId);
}

test('revert: a failure at the second component brings both back to where they were', async (t) => {
  const at = await ready(t);
  const { rig, vnf } = at;
  rig.world.before('revert', 'database-0', ({ step }) => {
    if (!step.endsWith('undo')) throw dataLoss('SNAPSHOT_DAMAGED', 'the test breaks it');
  });
  const end = await revert(at);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.is(end.error?.reason, 'SNAPSHOT_DAMAGED');
  t.deepEqual(numbers(rig, vnf), numbersAt(11));
  t.true(rig.world.allFree);
  for (const guest of rig.world.guests.values()) t.is(guest.state, ComputeState.RUNNING);
  t.is(rig.world.snapshots.size, 2, 'no safety snapshot is left');
  rig.world.clearHooks();
  t.is((await revert(at)).operationState, OperationState.COMPLETED);
  t.deepEqual(numbers(rig, vnf), numbersAt(1));
});

test('revert: a failure leaves a component suspended that was', async (t) => {
  const at = await ready(t);
  const { rig, vnf } = at;
  const [gateway, database] = ['gateway-0', 'database-0'].map((id) =>
    rig.world.guest(`${vnf}.${id}`),
  );
  gateway!.state = ComputeState.PAUSED;
  rig.world.before('revert', 'database-0', ({ step }) => {
    if (!step.endsWith('undo')) throw dataLoss('SNAPSHOT_DAMAGED', 'the test breaks it');
  });
  const end = await revert(at);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.deepEqual(numbers(rig, vnf), numbersAt(11));
  t.is(gateway!.state, ComputeState.PAUSED);
  t.is(database!.state, ComputeState.RUNNING);
  t.is(gateway!.hold, undefined);
});

test('revert: a component that the watchdog let run meanwhile goes back with the others', async (t) => {
  const order = { revertOrder: ['gateway', 'database'] };
  const at = await ready(t, SnapshotType.UNSPECIFIED, order);
  const { rig, vnf } = at;
  const database = rig.world.guest(`${vnf}.database-0`);
  rig.world.before('revert', 'gateway-0', ({ step }) => {
    if (step.endsWith('undo')) return;
    rig.world.end(database, 'hold', '');
    database.state = ComputeState.RUNNING;
    database.memory = 99;
    throw dataLoss('SNAPSHOT_DAMAGED', 'the test breaks it');
  });
  const end = await revert(at);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.deepEqual(numbers(rig, vnf), numbersAt(11));
  t.true(rig.world.allFree);
});

test('revert: a look of more than ten minutes is refused', async (t) => {
  const { rig, vnf, snapshot } = await ready(t);
  const request = { vnfInstanceId: vnf, vnfSnapshotInfoId: snapshot, holdAfter: { seconds: 601n } };
  await throwsRpc(t, rig.lcm.revertToVnfSnapshot(request), {
    code: Code.INVALID_ARGUMENT,
    reason: 'HOLD_AFTER_INVALID',
  });
});

test('revert: nothing runs on before all components are back after a failure', async (t) => {
  const at = await ready(t);
  const { world } = at.rig;
  world.before('revert', 'database-0', ({ step }) => {
    if (!step.endsWith('undo')) throw dataLoss('SNAPSHOT_DAMAGED', 'the test breaks it');
  });
  world.calls.length = 0;
  await revert(at);
  const methods = world.calls.map(({ method }) => method);
  t.true(methods.lastIndexOf('revert') < methods.indexOf('release'));
});

test('revert: a hold that ended before the release brings all back', async (t) => {
  const at = await ready(t);
  const { rig, vnf } = at;
  rig.world.before('release', 'database-0', ({ step }) => {
    if (!step.endsWith('undo')) throw aborted('LEASE_EXPIRED', 'the watchdog was first');
  });
  const end = await revert(at);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.is(end.error?.reason, 'LEASE_EXPIRED');
  t.deepEqual(numbers(rig, vnf), numbersAt(11));
  t.true(rig.world.allFree);
});

test('revert: a safety snapshot that a running component cannot give ends it before anything is touched', async (t) => {
  const at = await ready(t);
  const { rig, vnf } = at;
  rig.world.before('capture', 'database-0', () => {
    throw dataLoss('STORE_DAMAGED', 'the test breaks it');
  });
  const end = await revert(at);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.deepEqual(numbers(rig, vnf), numbersAt(11));
  t.is(rig.world.snapshots.size, 2);
  t.false(rig.world.calls.some(({ method }) => method === 'revert'));
});

test('revert: a VNF that is dead is brought back to life', async (t) => {
  const at = await ready(t);
  const { rig, vnf } = at;
  for (const guest of rig.world.guests.values()) guest.state = ComputeState.FAILED;
  rig.world.before('capture', 'gateway-0', () => {
    throw dataLoss('DISK_DAMAGED', 'it is wrecked');
  });
  const end = await revert(at);
  t.is(end.operationState, OperationState.COMPLETED);
  t.regex(end.warnings.join(), /gateway-0: its present disks cannot be kept/);
  t.deepEqual(numbers(rig, vnf), numbersAt(1));
  t.true(rig.world.allFree);
  for (const guest of rig.world.guests.values()) t.is(guest.state, ComputeState.RUNNING);
});

test('revert: the veto of the VNF ends it before anything is touched', async (t) => {
  const at = await ready(t);
  const { rig, vnf } = at;
  await watchAsVnf(t, rig, vnf, () => 'abort');
  const end = await revert(at);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.is(end.error?.reason, 'VNF_VETO');
  t.deepEqual(numbers(rig, vnf), numbersAt(11));
});

test('revert: the VNF is told of the end with the id of the run that begins', async (t) => {
  const at = await ready(t);
  const told = await watchAsVnf(t, at.rig, at.vnf);
  t.is((await revert(at)).operationState, OperationState.COMPLETED);
  t.deepEqual(told.names().slice(-2), ['SNAPSHOT_REVERSION_START', 'SNAPSHOT_REVERSION_END ok']);
  const first = told.heard.at(-1)?.generationId;
  t.regex(first ?? '', /^[0-9a-f-]{36}$/);
  t.is((await revert(at)).operationState, OperationState.COMPLETED);
  t.not(told.heard.at(-1)?.generationId, first);
});

test('revert: a cold snapshot boots the components from its disks [6.4.3/5 6.4.3/25]', async (t) => {
  const at = await ready(t, SnapshotType.COLD);
  const { rig, vnf } = at;
  const end = await revert(at);
  t.is(end.operationState, OperationState.COMPLETED);
  const names = end.steps.filter((step) => step.clauseStep === '25').map((step) => step.name);
  t.deepEqual(names, ['start gateway-0', 'start database-0']);
  t.deepEqual(
    numbers(rig, vnf).map(([memory, disk]) => [memory, disk]),
    [
      [0, 'disk at 1'],
      [0, 'disk at 2'],
    ],
  );
});

test('revert: a failure of a cold one brings memory back too', async (t) => {
  const at = await ready(t, SnapshotType.COLD);
  const { rig, vnf } = at;
  rig.world.before('revert', 'database-0', ({ step }) => {
    if (!step.endsWith('undo')) throw dataLoss('SNAPSHOT_DAMAGED', 'the test breaks it');
  });
  t.is((await revert(at)).operationState, OperationState.ROLLED_BACK);
  t.deepEqual(numbers(rig, vnf), numbersAt(11));
  t.true(rig.world.allFree);
});

test('revert: without a safety snapshot a failure stops what was loaded and waits for a person, who retries', async (t) => {
  const at = await ready(t);
  const { rig, vnf } = at;
  rig.world.before('revert', 'database-0', () => {
    throw dataLoss('SNAPSHOT_DAMAGED', 'the test breaks it');
  });
  const end = await revert(at, { skipSafetySnapshot: true });
  t.is(end.operationState, OperationState.FAILED_TEMP);
  t.is(rig.world.guest(`${vnf}.gateway-0`).state, ComputeState.STOPPED);
  t.true(rig.world.allFree);
  rig.world.clearHooks();
  await rig.operations.retryLifecycleOperation({ lifecycleOperationOccurrenceId: end.id });
  await completed(rig, end.id);
  t.deepEqual(numbers(rig, vnf), numbersAt(1));
  t.true(rig.world.allFree);
});

test('revert: components stay held for a look when asked, and OperateVnf lets them run', async (t) => {
  const at = await ready(t);
  const { rig, vnf } = at;
  const end = await revert(at, { holdAfter: { seconds: 60n } });
  t.is(end.operationState, OperationState.COMPLETED);
  t.false(end.steps.some((step) => step.phase === 'release'));
  for (const guest of rig.world.guests.values()) t.truthy(guest.hold);
  const started = await rig.lcm.operateVnf({ vnfInstanceId: vnf, changeStateTo: VnfState.STARTED });
  await completed(rig, started.lifecycleOperationOccurrenceId);
  t.true(rig.world.allFree, 'they run, and are thawed');
  t.deepEqual(numbers(rig, vnf), numbersAt(1));
});

test('revert: components that nobody lets run are thawed after the watchdog', async (t) => {
  const at = await ready(t);
  const { rig, vnf } = at;
  const end = await revert(at, { holdAfter: { nanos: 200_000_000 } });
  t.is(end.operationState, OperationState.COMPLETED);
  await eventually('they run, and are thawed', () => rig.world.allFree);
  for (const guest of rig.world.guests.values()) t.is(guest.watchdogs, 1);
  t.deepEqual(numbers(rig, vnf), numbersAt(1));
});

test('revert: a safety snapshot that cannot be deleted waits for a retry, and the VNF stays at the snapshot', async (t) => {
  const at = await ready(t);
  const { rig, vnf } = at;
  rig.world.before('deleteSnapshot', 'safe-', () => {
    throw dataLoss('STORE_DAMAGED', 'the test breaks it');
  });
  const end = await revert(at);
  t.is(end.operationState, OperationState.FAILED_TEMP);
  t.is(end.steps.at(-1)?.state, StepState.FAILED);
  t.deepEqual(numbers(rig, vnf), numbersAt(1));
  t.true(rig.world.allFree);
  rig.world.clearHooks();
  await rig.operations.retryLifecycleOperation({ lifecycleOperationOccurrenceId: end.id });
  await completed(rig, end.id);
  t.is(rig.world.snapshots.size, 2);
});
