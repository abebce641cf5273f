import test, { type ExecutionContext } from 'ava';
import {
  type LifecycleOperationOccurrence,
  OperationState,
  OperationType,
  StepState,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { SnapshotPurpose } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { HealAction } from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { Permission } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { Code, failedPrecondition } from '../../../sdk/errors.ts';
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

const { COMPLETED, FAILED_TEMP, ROLLED_BACK } = OperationState;
const { RUNNING, FAILED } = ComputeState;
const recoveryTimeout = { seconds: 1n };

type Automation = Parameters<typeof demoVnfd>[0] extends infer D | undefined
  ? D extends { automation?: infer A }
    ? A
    : never
  : never;

/** A VNF that runs, and answers notifications. */
async function rigWith(t: ExecutionContext, automation: Automation = { recoveryTimeout }) {
  const rig = await startRig(t);
  const vnf = await instantiated(rig, demoVnfd({ automation }));
  await watchAsVnf(t, rig, vnf);
  return { rig, vnf, gateway: rig.world.guest(`${vnf}.gateway-0`) };
}

async function heal(rig: Rig, vnfInstanceId: string, more: object = {}) {
  const started = await rig.lcm.healVnf({ vnfInstanceId, ...more });
  return finished(rig, started.lifecycleOperationOccurrenceId);
}

async function snapshot(rig: Rig, vnfInstanceId: string): Promise<string> {
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId });
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  return taken.vnfSnapshotInfoId;
}

/** The operations after the first ones, oldest first. */
async function operationsSince(rig: Rig, count: number): Promise<string[]> {
  const { occurrences } = await rig.operations.listLifecycleOperationOccurrences({});
  return occurrences
    .map(({ operation }) => OperationType[operation]!)
    .reverse()
    .slice(count);
}

const doneSteps = ({ steps }: LifecycleOperationOccurrence) =>
  steps.filter(({ state }) => state === StepState.DONE).map(({ name }) => name);

const report = (rig: Rig, vnfInstanceId: string, value: string) =>
  rig.indicators.notifyVnfIndicatorValueChange({
    vnfInstanceId,
    vnfIndicator: { id: 'health', value, detail: 'the test says so' },
  });

/** Says every 50 ms how the VNF is, as `tell` has it. */
function reportAlways(t: ExecutionContext, rig: Rig, vnf: string, tell: () => string): void {
  const timer = setInterval(() => void report(rig, vnf, tell()).catch(() => {}), 50);
  t.teardown(() => clearInterval(timer));
}

test('heal: a VNF that is well needs neither a snapshot nor a reversion [6.5.1/13 6.5.2/12]', async (t) => {
  const { rig, vnf } = await rigWith(t);
  const end = await heal(rig, vnf);
  t.is(end.operationState, COMPLETED);
  t.is(end.result.action, 'nothing');
  t.deepEqual(doneSteps(end), ['grant', 'diagnose']);
  t.regex(end.steps.at(-1)!.note, /no fault was found/);
  t.deepEqual(await operationsSince(rig, 1), ['HEAL']);
  t.is(rig.world.snapshots.size, 0);
});

test('heal: a component that has failed is restarted, without a snapshot [6.5.1/13]', async (t) => {
  const { rig, vnf, gateway } = await rigWith(t);
  gateway.state = FAILED;
  const end = await heal(rig, vnf, { cause: 'it was seen failing' });
  t.is(end.operationState, COMPLETED, end.error?.detail);
  t.is(gateway.state as ComputeState, RUNNING);
  t.deepEqual(await operationsSince(rig, 1), ['HEAL', 'OPERATE', 'OPERATE']);
  t.deepEqual(doneSteps(end), ['grant', 'diagnose', 'restart', 'well after the restart']);
  t.is(rig.world.snapshots.size, 0);
});

test('heal: a snapshot comes before the restart when the descriptor wants it [6.5.1/13 4.3.1/1]', async (t) => {
  const { rig, vnf } = await rigWith(t, { beforeHeal: true, recoveryTimeout });
  const end = await heal(rig, vnf, { action: HealAction.RESTART });
  t.is(end.operationState, COMPLETED, end.error?.detail);
  t.deepEqual(await operationsSince(rig, 1), ['HEAL', 'CREATE_SNAPSHOT', 'OPERATE', 'OPERATE']);
  const { vnfSnapshotInfos } = await rig.lcm.queryVnfSnapshotInfo({ allFields: true });
  const taken = vnfSnapshotInfos[0]!.vnfSnapshot!;
  t.is(taken.purpose, SnapshotPurpose.RECOVERY);
  t.deepEqual(
    taken.operationalInformation!.operations.map(({ operation }) => OperationType[operation]),
    ['CREATE_SNAPSHOT', 'HEAL', 'INSTANTIATE'],
  );
  t.is(taken.operationalInformation!.computes.length, 2);
  const { occurrences } = await rig.operations.listLifecycleOperationOccurrences({});
  const own = occurrences.filter(({ isAutomaticInvocation }) => isAutomaticInvocation);
  t.is(own.length, 3, 'what the VNFM started is marked');
});

test('heal: when the VNF is not well after a restart, it goes back to the snapshot before [4.3.1/5]', async (t) => {
  const { rig, vnf, gateway } = await rigWith(t);
  gateway.memory = 41;
  // Whoever restarts it loses what is in memory, and the VNF notices.
  rig.world.before('operate', 'gateway', () => {
    gateway.memory = 0;
  });
  reportAlways(t, rig, vnf, () => (gateway.memory === 41 ? 'ok' : 'degraded'));
  await eventually('it has told', async () => {
    return (
      (await rig.indicators.queryVnfIndicators({ vnfInstanceId: vnf })).vnfIndicators.length > 0
    );
  });
  const end = await heal(rig, vnf, { action: HealAction.RESTART, snapshotBefore: true });
  t.is(end.operationState, ROLLED_BACK);
  t.is(end.error?.reason, 'VNF_NOT_RECOVERED');
  t.is(gateway.memory, 41);
  t.is(gateway.state as ComputeState, RUNNING);
  t.is((await operationsSince(rig, 1)).at(-1), 'REVERT_TO_SNAPSHOT');
});

test('heal: a restart that does not help is followed by a reversion, if the descriptor allows it [6.5.2/12]', async (t) => {
  const { rig, vnf, gateway } = await rigWith(t, { revertToHeal: true, recoveryTimeout });
  gateway.memory = 41;
  await snapshot(rig, vnf);
  gateway.memory = 666;
  reportAlways(t, rig, vnf, () => (gateway.memory === 41 ? 'ok' : 'failed'));
  await eventually('it has told', async () => {
    return (
      (await rig.indicators.queryVnfIndicators({ vnfInstanceId: vnf })).vnfIndicators.length > 0
    );
  });
  const end = await heal(rig, vnf);
  t.is(end.operationState, COMPLETED, end.error?.detail);
  t.is(gateway.memory, 41);
  t.deepEqual(doneSteps(end).slice(2), ['restart', 'look', 'revert', 'well after the reversion']);
});

test('heal: a reversion that was asked for takes the newest snapshot that is not for analysis', async (t) => {
  const { rig, vnf, gateway } = await rigWith(t);
  gateway.memory = 1;
  await snapshot(rig, vnf);
  gateway.memory = 2;
  await snapshot(rig, vnf);
  gateway.memory = 3;
  const analysis = await heal(rig, vnf, { action: HealAction.SNAPSHOT });
  t.is(analysis.operationState, COMPLETED, analysis.error?.detail);
  gateway.memory = 4;
  const end = await heal(rig, vnf, { action: HealAction.REVERT });
  t.is(end.operationState, COMPLETED, end.error?.detail);
  t.is(gateway.memory, 2);
});

test('heal: a reversion without a snapshot is refused with its reason, and nothing is done', async (t) => {
  const { rig, vnf } = await rigWith(t);
  const end = await heal(rig, vnf, { action: HealAction.REVERT });
  t.is(end.operationState, ROLLED_BACK);
  t.is(end.error?.reason, 'NO_SNAPSHOT');
  t.deepEqual(await operationsSince(rig, 1), ['HEAL']);
});

test('heal: nothing is done when the NFVO refuses', async (t) => {
  const { rig, vnf, gateway } = await rigWith(t);
  gateway.state = FAILED;
  rig.refused.add(OperationType.HEAL);
  const end = await heal(rig, vnf);
  t.is(end.error?.reason, 'GRANT_REFUSED');
  t.is(gateway.state, FAILED);
});

test('heal: a restart that the VIM cannot do waits for a person, says what stays, and frees the VNF', async (t) => {
  const { rig, vnf, gateway } = await rigWith(t);
  rig.world.before('operate', 'gateway', () => {
    throw failedPrecondition('COMPUTE_STATE', 'the test breaks it');
  });
  const end = await heal(rig, vnf, { action: HealAction.RESTART, vnfcInstanceIds: ['gateway-0'] });
  t.is(end.operationState, FAILED_TEMP);
  t.is(end.error?.reason, 'COMPUTE_STATE');
  t.regex(end.error!.detail, /no snapshot to undo the healing with: gateway-0 may be stopped/);
  const id = { lifecycleOperationOccurrenceId: end.id };
  const back = rig.operations.rollbackLifecycleOperation(id);
  await throwsRpc(t, back, { code: Code.FAILED_PRECONDITION, reason: 'ROLLBACK_IMPOSSIBLE' });
  rig.world.clearHooks();
  await snapshot(rig, vnf);
  const again = rig.lcm.healVnf({ vnfInstanceId: vnf });
  await throwsRpc(t, again, { code: Code.FAILED_PRECONDITION, reason: 'OPERATION_IN_PROGRESS' });
  await rig.operations.retryLifecycleOperation(id);
  t.is((await completed(rig, end.id)).operationState, COMPLETED);
  t.is(gateway.state as ComputeState, RUNNING);
});

test('heal: a VNF that is not well after a restart without a snapshot is not called rolled back', async (t) => {
  const { rig, vnf, gateway } = await rigWith(t);
  gateway.memory = 41;
  rig.world.before('operate', 'gateway', () => {
    gateway.memory = 0;
  });
  reportAlways(t, rig, vnf, () => (gateway.memory === 41 ? 'ok' : 'degraded'));
  await eventually('it has told', async () => {
    return (
      (await rig.indicators.queryVnfIndicators({ vnfInstanceId: vnf })).vnfIndicators.length > 0
    );
  });
  const end = await heal(rig, vnf, { action: HealAction.RESTART });
  t.is(end.operationState, FAILED_TEMP);
  t.is(end.error?.reason, 'VNF_NOT_RECOVERED');
  t.regex(end.error!.detail, /gateway-0, database-0 may be stopped or restarted/);
  t.is(gateway.memory, 0);
  await rig.operations.failLifecycleOperation({ lifecycleOperationOccurrenceId: end.id });
  const next = await heal(rig, vnf, { action: HealAction.SNAPSHOT });
  t.is(next.operationState, COMPLETED, next.error?.detail);
});

test('heal: unknown components, two at once and a VNF without resources are refused', async (t) => {
  const { rig, vnf } = await rigWith(t, { recoveryTimeout: { seconds: 30n } });
  const unknown = rig.lcm.healVnf({ vnfInstanceId: vnf, vnfcInstanceIds: ['nobody-0'] });
  await throwsRpc(t, unknown, { code: Code.INVALID_ARGUMENT, reason: 'VNFC_UNKNOWN' });
  reportAlways(t, rig, vnf, () => 'degraded');
  await eventually('it has told', async () => {
    return (
      (await rig.indicators.queryVnfIndicators({ vnfInstanceId: vnf })).vnfIndicators.length > 0
    );
  });
  const first = await rig.lcm.healVnf({ vnfInstanceId: vnf, requestId: 'one' });
  const second = rig.lcm.healVnf({ vnfInstanceId: vnf });
  await throwsRpc(t, second, { code: Code.FAILED_PRECONDITION, reason: 'OPERATION_IN_PROGRESS' });
  const repeated = await rig.lcm.healVnf({ vnfInstanceId: vnf, requestId: 'one' });
  t.is(repeated.lifecycleOperationOccurrenceId, first.lifecycleOperationOccurrenceId);
  const { vnfInstance } = await rig.lcm.createVnfIdentifier({ vnfd: demoVnfd() });
  const bare = rig.lcm.healVnf({ vnfInstanceId: vnfInstance!.id });
  await throwsRpc(t, bare, { code: Code.FAILED_PRECONDITION, reason: 'VNF_NOT_INSTANTIATED' });
});

test('heal: a VNFM that is stopped in the middle goes on with the operation that it had started', async (t) => {
  const { rig, vnf } = await rigWith(t);
  let restarted: Promise<void> | undefined;
  rig.world.before('operate', 'gateway', async () => {
    restarted ??= rig.restart();
  });
  const started = await rig.lcm.healVnf({ vnfInstanceId: vnf, action: HealAction.RESTART });
  const id = started.lifecycleOperationOccurrenceId;
  await eventually('the VNFM is stopped', () => restarted !== undefined);
  await restarted;
  await eventually('the healing ends', async () => {
    const { occurrence } = await rig.operations.getLifecycleOperationOccurrence({
      lifecycleOperationOccurrenceId: id,
    });
    return occurrence!.operationState === COMPLETED;
  });
  t.deepEqual(
    await operationsSince(rig, 1),
    ['HEAL', 'OPERATE', 'OPERATE'],
    'none was started twice',
  );
});

test('a fault is captured once, and only when the VIM and the VNF both say so [4.2.1/1 4.2.1/5]', async (t) => {
  const { rig, vnf, gateway } = await rigWith(t, { onFault: true });
  const told: string[] = [];
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  const watch = async () => {
    const all = rig.operations.watchLifecycleOperationOccurrences({}, { signal: stop.signal });
    for await (const { occurrence: seen } of all) {
      if (seen === undefined) told.push('standing');
      else told.push(`${OperationType[seen.operation]} ${OperationState[seen.operationState]}`);
    }
  };
  void watch().catch(() => {});
  await eventually('the watch stands', () => told.length > 0);
  await report(rig, vnf, 'ok');
  gateway.state = FAILED;
  await new Promise((resolve) => setTimeout(resolve, 2500));
  t.deepEqual(told, ['standing'], 'the VNF says that it is well');
  await report(rig, vnf, 'degraded');
  const end = 'CREATE_SNAPSHOT COMPLETED';
  await eventually('it is captured', () => told.includes(end), 15_000);
  await new Promise((resolve) => setTimeout(resolve, 2500));
  t.deepEqual(told, [
    'standing',
    ...['STARTING', 'PROCESSING', 'COMPLETED'].map((s) => `CREATE_SNAPSHOT ${s}`),
  ]);
  const { vnfSnapshotInfos } = await rig.lcm.queryVnfSnapshotInfo({ allFields: true });
  const { purpose, operationalInformation, excluded } = vnfSnapshotInfos[0]!.vnfSnapshot!;
  t.is(purpose, SnapshotPurpose.POST_MORTEM);
  t.is(operationalInformation!.vnfIndicators[0]?.value, 'degraded');
  t.true(excluded.some((text) => text.startsWith('gateway-0/memory')));
});

test('a fault that the NFVO lets nobody capture is told to those who follow operations [4.2.1/5]', async (t) => {
  const { rig, vnf, gateway } = await rigWith(t, { onFault: true });
  rig.refused.add(OperationType.CREATE_SNAPSHOT);
  gateway.state = FAILED;
  await report(rig, vnf, 'failed');
  await eventually(
    'the refusal',
    async () => {
      const { occurrences } = await rig.operations.listLifecycleOperationOccurrences({});
      return (
        occurrences[0]?.error?.reason === 'GRANT_REFUSED' && occurrences[0].isAutomaticInvocation
      );
    },
    15_000,
  );
  t.is(rig.world.snapshots.size, 0);
});

test('indicators: values that mean nothing, too many of them and an unknown VNF are refused', async (t) => {
  const { rig, vnf } = await rigWith(t);
  const invalid = { code: Code.INVALID_ARGUMENT, reason: 'INDICATOR_INVALID' };
  await throwsRpc(t, report(rig, vnf, 'splendid'), invalid);
  const unknown = { code: Code.NOT_FOUND, reason: 'VNF_UNKNOWN' };
  await throwsRpc(t, report(rig, 'nobody', 'ok'), unknown);
  const put = (id: string) =>
    rig.indicators.notifyVnfIndicatorValueChange({
      vnfInstanceId: vnf,
      vnfIndicator: { id, value: '1' },
    });
  for (let index = 0; index < 32; index++) await put(`i${index}`);
  const many = { code: Code.RESOURCE_EXHAUSTED, reason: 'TOO_MANY_INDICATORS' };
  await throwsRpc(t, put('one-more'), many);
  await put('i0');
  const { vnfIndicators } = await rig.indicators.queryVnfIndicators({ vnfInstanceId: vnf });
  t.is(vnfIndicators.length, 32);
});

test('automation that contradicts the rest of the descriptor is refused with its path', async (t) => {
  const rig = await startRig(t);
  const vnfd = demoVnfd({
    create: Permission.FORBIDDEN,
    automation: { onFault: true, recoveryTimeout: { seconds: 36_000n } },
  });
  const error = await throwsRpc(t, rig.lcm.createVnfIdentifier({ vnfd }), {
    ...{ code: Code.INVALID_ARGUMENT, reason: 'VNFD_INVALID' },
  });
  t.deepEqual(error.violations.map(({ field }) => field).sort(), [
    'snapshotDescriptor.automation.onFault',
    'snapshotDescriptor.automation.recoveryTimeout',
  ]);
});
