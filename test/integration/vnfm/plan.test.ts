import test from 'ava';
import { CapabilityName } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { StepState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { ConsistencyPolicy, SnapshotType } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { watchAsVnf } from '../../support/vnfm/fake-vnf.ts';
import { completed, demoVnfd, instantiated, startRig } from '../../support/vnfm/rig.ts';

test('validate_only: a creation says what it would do, and does nothing', async (t) => {
  const rig = await startRig(t);
  const vnfInstanceId = await instantiated(rig);
  await watchAsVnf(t, rig, vnfInstanceId);
  const before = rig.world.calls.filter(({ step }) => step !== '').length;
  const answer = await rig.lcm.createVnfSnapshot({ vnfInstanceId, validateOnly: true });
  t.is(answer.vnfSnapshotInfoId, '');
  t.is(answer.lifecycleOperationOccurrenceId, '');
  t.is(rig.world.calls.filter(({ step }) => step !== '').length, before, 'nothing was changed');
  t.false(
    rig.world.calls.some(({ method, id }) => method === 'grant' && id === 'CREATE_SNAPSHOT'),
    'no grant was asked for',
  );
  t.deepEqual((await rig.lcm.queryVnfSnapshotInfo({})).vnfSnapshotInfos, []);
  const { plan } = answer;
  t.is(plan?.consistency, ConsistencyPolicy.REQUIRED);
  t.deepEqual(plan?.fallbacks, []);
  t.like(plan?.vnfcs[0], { vnfcInstanceId: 'gateway-0', memory: true, freeze: true });
  t.true(plan!.vnfcs[0]!.techniques.includes(CapabilityName.MEMORY_EXTERNAL));
  t.true(plan!.steps.every(({ state }) => state === StepState.PENDING));

  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId });
  const { steps } = await completed(rig, taken.lifecycleOperationOccurrenceId);
  const told = (list: typeof steps) => list.map(({ name, clauseStep }) => [name, clauseStep]);
  t.deepEqual(told(plan!.steps), told(steps), 'it does what was said');
});

test('validate_only: a VNF that cannot be asked is told, and whether the policy allows it', async (t) => {
  const rig = await startRig(t);
  const vnfInstanceId = await instantiated(rig);
  const allowed = async (consistency: ConsistencyPolicy) => {
    const request = { vnfInstanceId, consistency, validateOnly: true };
    const { plan } = await rig.lcm.createVnfSnapshot(request);
    return plan!.fallbacks.map((fallback) => [fallback.what, fallback.allowed]);
  };
  t.deepEqual(await allowed(ConsistencyPolicy.REQUIRED), [['ask the VNF to prepare', false]]);
  t.deepEqual(await allowed(ConsistencyPolicy.PREFERRED), [['ask the VNF to prepare', true]]);
  t.deepEqual(await allowed(ConsistencyPolicy.NONE), []);
});

test('validate_only: it fails as the call itself would', async (t) => {
  const rig = await startRig(t);
  const vnfc = [{ vduId: 'gateway', type: SnapshotType.COLD }];
  const vnfInstanceId = await instantiated(rig, demoVnfd({ vnfc }));
  const request = { type: SnapshotType.WARM, vnfcInstanceIds: ['gateway-0'] };
  await throwsRpc(t, rig.lcm.createVnfSnapshot({ vnfInstanceId, ...request, validateOnly: true }), {
    code: Code.INVALID_ARGUMENT,
    reason: 'DESCRIPTOR_CONTRADICTION',
  });
  const vnfSnapshotInfoId = 'snap-unknown0';
  const revert = { vnfInstanceId, vnfSnapshotInfoId, validateOnly: true };
  await throwsRpc(t, rig.lcm.revertToVnfSnapshot(revert), {
    code: Code.NOT_FOUND,
    reason: 'SNAPSHOT_UNKNOWN',
  });
});

test('validate_only: a reversion says what comes back and what is kept of the present', async (t) => {
  const rig = await startRig(t);
  const vnfInstanceId = await instantiated(rig);
  const consistency = ConsistencyPolicy.PREFERRED;
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId, consistency });
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  const { vnfSnapshotInfoId } = taken;
  const request = { vnfInstanceId, vnfSnapshotInfoId, skipSafetySnapshot: true };
  const { plan } = await rig.lcm.revertToVnfSnapshot({ ...request, validateOnly: true });
  t.like(plan?.vnfcs[0], { memory: true, disks: ['data'], safety: 'none' });
  t.deepEqual(
    plan!.fallbacks.map(({ vnfcInstanceId, what, allowed }) => [vnfcInstanceId, what, allowed]),
    [
      ['', 'tell the VNF of the reversion', true],
      ['gateway-0', 'keep the present state whole', true],
      ['database-0', 'keep the present state whole', true],
    ],
  );
  const reverted = await rig.lcm.revertToVnfSnapshot(request);
  const { steps } = await completed(rig, reverted.lifecycleOperationOccurrenceId);
  t.deepEqual(
    plan!.steps.map(({ name }) => name),
    steps.map(({ name }) => name),
  );
});
