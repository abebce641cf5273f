import { setTimeout as sleep } from 'node:timers/promises';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import test, { type ExecutionContext } from 'ava';
import { ConsistencyLevel } from '../../../gen/nfv/common/v1/common_pb.js';
import {
  type LifecycleOperationOccurrence,
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { CancelMode } from '../../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { ConsistencyPolicy } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { aborted, failedPrecondition, unavailable } from '../../../sdk/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { type FakeVnf, watchAsVnf } from '../../support/vnfm/fake-vnf.ts';
import {
  completed,
  demoVnfd,
  finished,
  instantiated,
  type Rig,
  startRig,
} from '../../support/vnfm/rig.ts';

const broken = () => {
  throw failedPrecondition('COMPUTE_STATE', 'the test breaks it');
};

/** Takes a snapshot of a fresh VNF that answers, and waits for the end, whatever it is. */
async function attempt(
  t: ExecutionContext,
  arrange: (rig: Rig, vnf: string) => void,
  options: { consistency?: ConsistencyPolicy; holdDeadlineMs?: number } = {},
): Promise<{ rig: Rig; vnf: string; told: FakeVnf; end: LifecycleOperationOccurrence }> {
  const rig = await startRig(t);
  const { consistency = ConsistencyPolicy.UNSPECIFIED, holdDeadlineMs } = options;
  const descriptor = holdDeadlineMs ? { holdDeadline: durationFromMs(holdDeadlineMs) } : {};
  const vnf = await instantiated(rig, demoVnfd(descriptor));
  const told = await watchAsVnf(t, rig, vnf);
  arrange(rig, vnf);
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf, consistency });
  return { rig, vnf, told, end: await finished(rig, taken.lifecycleOperationOccurrenceId) };
}

/** Nothing is kept of a snapshot that failed, and the VNF goes on. */
async function nothingIsLeft(t: ExecutionContext, rig: Rig, vnf: string): Promise<void> {
  t.is(rig.world.snapshots.size, 0, 'nothing is left at the VIM');
  t.deepEqual((await rig.lcm.queryVnfSnapshotInfo({})).vnfSnapshotInfos, [], 'nothing is listed');
  t.true(rig.world.allFree, 'nothing is held or frozen');
  for (const guest of rig.world.guests.values()) t.is(guest.state, ComputeState.RUNNING);
  rig.world.clearHooks();
  rig.refused.clear();
  const again = await rig.lcm.createVnfSnapshot({
    vnfInstanceId: vnf,
    consistency: ConsistencyPolicy.PREFERRED,
  });
  await completed(rig, again.lifecycleOperationOccurrenceId);
}

const phaseFails = test.macro({
  title: (_given, method: string, vnfc: string) =>
    `create VNF snapshot: a failure of ${method} at ${vnfc || 'the NFVO'} leaves nothing`,
  exec: async (t, method: string, vnfc: string, reason: string) => {
    const { rig, vnf, told, end } = await attempt(t, ({ world, refused }) => {
      if (method === 'grant') refused.add(OperationType.CREATE_SNAPSHOT);
      else world.before(method, vnfc, broken);
    });
    t.is(end.operationState, OperationState.ROLLED_BACK);
    t.is(end.error?.reason, reason);
    const expected = ['SNAPSHOT_CREATION_START', 'SNAPSHOT_CREATION_END'];
    t.deepEqual(told.names(), method === 'grant' ? [] : expected);
    await nothingIsLeft(t, rig, vnf);
  },
});

test(phaseFails, 'grant', '', 'GRANT_REFUSED');
for (const method of ['quiesce', 'hold', 'capture']) {
  test(phaseFails, method, 'database-0', 'COMPUTE_STATE');
}

const cancelled = test.macro({
  title: (_given, method: string) =>
    `create VNF snapshot: a cancel during ${method} leaves nothing`,
  exec: async (t, method: string) => {
    const rig = await startRig(t);
    const vnf = await instantiated(rig);
    const reached = { it: false };
    await watchAsVnf(t, rig, vnf, () => {
      if (method !== 'notify') return 'continue';
      reached.it = true;
      return 'silent';
    });
    rig.world.before(method, 'gateway-0', async () => {
      reached.it = true;
      await sleep(100);
    });
    const { lifecycleOperationOccurrenceId } = await rig.lcm.createVnfSnapshot({
      vnfInstanceId: vnf,
    });
    await eventually('the step is reached', () => reached.it);
    await rig.operations.cancelLifecycleOperation({
      lifecycleOperationOccurrenceId,
      cancelMode: CancelMode.FORCEFUL,
    });
    const end = await finished(rig, lifecycleOperationOccurrenceId);
    t.is(end.operationState, OperationState.ROLLED_BACK);
    t.is(end.error?.reason, 'OPERATION_CANCELLED');
    // A call that was interrupted may still take effect at the VIM before its compensation does.
    await eventually('all is free', () => rig.world.allFree);
    rig.world.clearHooks();
    t.is(rig.world.snapshots.size, 0);
    t.deepEqual((await rig.lcm.queryVnfSnapshotInfo({})).vnfSnapshotInfos, []);
  },
});

for (const method of ['notify', 'quiesce', 'hold', 'release']) test(cancelled, method);

test('create VNF snapshot: a hold that ends before the capture fails the whole, and nothing is kept [5.1.3.2/atomic]', async (t) => {
  const arrange = ({ world }: Rig) => world.before('capture', 'database-0', () => sleep(300));
  const { rig, vnf, end } = await attempt(t, arrange, { holdDeadlineMs: 100 });
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.is(end.error?.reason, 'LEASE_EXPIRED');
  rig.world.clearHooks();
  t.is(rig.world.guest(`${vnf}.database-0`).watchdogs, 1, 'the watchdog let it run');
  t.is(rig.world.snapshots.size, 0);
  t.true(rig.world.allFree);
});

test('create VNF snapshot: a hold that ends before its release fails the whole', async (t) => {
  const arrange = ({ world }: Rig) =>
    world.before('release', 'gateway-0', ({ step }) => {
      if (!step.endsWith('undo')) throw aborted('LEASE_EXPIRED', 'the watchdog was first');
    });
  const { rig, vnf, end } = await attempt(t, arrange);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.is(end.error?.reason, 'LEASE_EXPIRED');
  await nothingIsLeft(t, rig, vnf);
});

test('create VNF snapshot: a VIM that is away for a moment keeps nobody frozen', async (t) => {
  const left = { times: 2 };
  const arrange = ({ world }: Rig) =>
    world.before('unquiesce', 'gateway-0', () => {
      if (left.times-- > 0) throw unavailable('AWAY', 'the VIM is away');
    });
  const { rig, end } = await attempt(t, arrange);
  t.is(end.operationState, OperationState.COMPLETED);
  t.true(rig.world.allFree);
});

test('create VNF snapshot: the veto of the VNF ends it, with its words', async (t) => {
  const rig = await startRig(t);
  const vnf = await instantiated(rig);
  const told = await watchAsVnf(t, rig, vnf, ({ notificationId }) =>
    notificationId.endsWith('.start') ? 'abort' : 'continue',
  );
  const taken = await rig.lcm.createVnfSnapshot({
    vnfInstanceId: vnf,
    consistency: ConsistencyPolicy.PREFERRED,
  });
  const end = await finished(rig, taken.lifecycleOperationOccurrenceId);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.is(end.error?.reason, 'VNF_VETO');
  t.is(end.error?.metadata.detail, 'a call is being set up');
  t.false(rig.world.calls.some(({ method }) => method === 'quiesce' || method === 'hold'));
  await eventually('the VNF hears of the end', () => told.heard.length === 2);
});

test('create VNF snapshot: consistency is required and the VNF cannot be reached, so nothing is frozen', async (t) => {
  const rig = await startRig(t);
  const vnf = await instantiated(rig);
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf });
  const end = await finished(rig, taken.lifecycleOperationOccurrenceId);
  t.is(end.error?.reason, 'VNF_NOT_REACHABLE');
  t.false(rig.world.calls.some(({ method }) => method === 'quiesce' || method === 'hold'));
  await nothingIsLeft(t, rig, vnf);
});

test('create VNF snapshot: consistency is preferred and the VNF cannot be reached, so the level is lower', async (t) => {
  const rig = await startRig(t);
  const vnf = await instantiated(rig);
  const { PREFERRED } = ConsistencyPolicy;
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf, consistency: PREFERRED });
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  const { vnfSnapshotInfos } = await rig.lcm.queryVnfSnapshotInfo({});
  const record = vnfSnapshotInfos[0]?.vnfSnapshot?.consistency;
  t.is(record?.level, ConsistencyLevel.FILE_SYSTEM);
  t.regex(record?.vnfc[0]?.reason ?? '', /VNF_NOT_REACHABLE/);
});

test('create VNF snapshot: a VNF that never answers ends a required one and lowers a preferred one', async (t) => {
  const rig = await startRig(t);
  const vnf = await instantiated(rig, demoVnfd({ prepareTimeout: durationFromMs(150) }));
  await watchAsVnf(t, rig, vnf, () => 'silent');
  const required = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf });
  const end = await finished(rig, required.lifecycleOperationOccurrenceId);
  t.is(end.error?.reason, 'VNF_NOT_RESPONDING');
  t.is(end.operationState, OperationState.ROLLED_BACK);
  const { PREFERRED } = ConsistencyPolicy;
  const preferred = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf, consistency: PREFERRED });
  const done = await completed(rig, preferred.lifecycleOperationOccurrenceId);
  t.regex(done.warnings.join(), /did not answer the notification of the end/);
  const { vnfSnapshotInfos } = await rig.lcm.queryVnfSnapshotInfo({});
  t.is(vnfSnapshotInfos[0]?.vnfSnapshot?.consistency?.level, ConsistencyLevel.FILE_SYSTEM);
});

test('create VNF snapshot: an agent that is silent lowers a preferred one and ends a required one', async (t) => {
  const silent = ({ world }: Rig) =>
    world.before('quiesce', 'gateway-0', () => {
      throw unavailable('GUEST_AGENT_SILENT', 'the agent does not answer');
    });
  const required = await attempt(t, silent);
  t.is(required.end.error?.reason, 'GUEST_AGENT_SILENT');
  const { PREFERRED } = ConsistencyPolicy;
  const preferred = await attempt(t, silent, { consistency: PREFERRED });
  t.is(preferred.end.operationState, OperationState.COMPLETED);
  const { vnfSnapshotInfos } = await preferred.rig.lcm.queryVnfSnapshotInfo({});
  const record = vnfSnapshotInfos[0]?.vnfSnapshot?.consistency;
  t.is(record?.level, ConsistencyLevel.CRASH);
  t.deepEqual(
    record?.vnfc.map(({ level }) => level),
    [ConsistencyLevel.CRASH, ConsistencyLevel.VNF_CONFIRMED],
  );
});

test('create VNF snapshot: without consistency nobody is told, frozen or held [Vnfsd.008]', async (t) => {
  const { NONE } = ConsistencyPolicy;
  const { rig, told, end } = await attempt(t, () => {}, { consistency: NONE });
  t.is(end.operationState, OperationState.COMPLETED);
  t.deepEqual(told.names(), []);
  const used = new Set(rig.world.calls.map(({ method }) => method));
  t.false(used.has('quiesce') || used.has('hold') || used.has('release'));
  const { vnfSnapshotInfos } = await rig.lcm.queryVnfSnapshotInfo({});
  const record = vnfSnapshotInfos[0]?.vnfSnapshot?.consistency;
  t.deepEqual([record?.level, record?.commonHold], [ConsistencyLevel.CRASH, false]);
});

test('create VNF snapshot: every component is held before any is captured, and captured before any is released', async (t) => {
  const { rig } = await attempt(t, () => {});
  const order = rig.world.calls.map(({ method }) => method);
  const last = (method: string) => order.lastIndexOf(method);
  t.true(last('quiesce') < order.indexOf('hold'));
  t.true(last('hold') < order.indexOf('capture'));
  t.true(last('capture') < order.indexOf('release'));
  t.true(last('release') < order.indexOf('unquiesce'));
});

test('create VNF snapshot: an order of the descriptor holds within each phase [Vnfsd.017]', async (t) => {
  const rig = await startRig(t);
  const vnf = await instantiated(rig, demoVnfd({ createOrder: ['database', 'gateway'] }));
  await watchAsVnf(t, rig, vnf);
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf });
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  for (const phase of ['quiesce', 'hold', 'capture', 'release', 'unquiesce']) {
    const ids = rig.world.calls.filter(({ method }) => method === phase).map(({ id }) => id);
    t.deepEqual(ids, [`${vnf}.database-0`, `${vnf}.gateway-0`], phase);
  }
});
