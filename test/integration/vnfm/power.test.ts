import test, { type ExecutionContext } from 'ava';
import {
  OperationState,
  StepState,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { PowerOff } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import { watchAsVnf } from '../../support/vnfm/fake-vnf.ts';
import { demoVnfd, finished, instantiated, type Rig, startRig } from '../../support/vnfm/rig.ts';

const { RUNNING, STOPPED } = ComputeState;
type Power = { powerOff?: PowerOff; powerOnAfter?: boolean };

/** A snapshot of a VNF whose database is powered off or on. */
async function taken(t: ExecutionContext, power: Power, arrange: (rig: Rig) => void = () => {}) {
  const rig = await startRig(t);
  const vnf = await instantiated(rig, demoVnfd({ vnfc: [{ vduId: 'database', ...power }] }));
  await watchAsVnf(t, rig, vnf);
  arrange(rig);
  const started = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf });
  const end = await finished(rig, started.lifecycleOperationOccurrenceId);
  const states = ['gateway-0', 'database-0'].map((id) => rig.world.guest(`${vnf}.${id}`).state);
  const { vnfInstances } = await rig.lcm.queryVnf({ allFields: true });
  const { vnfState } = vnfInstances[0]!.instantiatedVnfInfo!;
  const ofDatabase = end.steps
    .filter(
      ({ vnfcInstanceId, state }) => vnfcInstanceId === 'database-0' && state === StepState.DONE,
    )
    .map(({ clauseStep, name }) => clauseStep || name);
  return { rig, end, states, vnfState, ofDatabase };
}

test('power: off before, captured cold, on after [6.4.1/5 6.4.1/34 Vnfsd.009 Vnfsd.010]', async (t) => {
  const power = { powerOff: PowerOff.BEFORE, powerOnAfter: true };
  const { end, states, vnfState, ofDatabase } = await taken(t, power);
  t.is(end.operationState, OperationState.COMPLETED);
  t.deepEqual(ofDatabase, ['5', '17, 21', '34', '25']);
  t.deepEqual(states, [RUNNING, RUNNING]);
  t.is(vnfState, VnfState.STARTED);
});

test('power: off before, and it stays off; the others run, so the VNF is started', async (t) => {
  const { end, states, vnfState } = await taken(t, { powerOff: PowerOff.BEFORE });
  t.is(end.operationState, OperationState.COMPLETED);
  t.deepEqual(states, [RUNNING, STOPPED]);
  t.is(vnfState, VnfState.STARTED);
});

test('power: off after it was captured with its memory [Vnfsd.009]', async (t) => {
  const { end, states, ofDatabase, rig } = await taken(t, { powerOff: PowerOff.AFTER });
  t.is(end.operationState, OperationState.COMPLETED);
  const held = ['13', 'hold database-0', '17, 21', 'release database-0', '26'];
  t.deepEqual(ofDatabase, [...held, 'stop database-0', '25']);
  t.deepEqual(states, [RUNNING, STOPPED]);
  const { vnfSnapshotInfos } = await rig.lcm.queryVnfSnapshotInfo({ allFields: true });
  t.true(vnfSnapshotInfos[0]!.vnfSnapshot!.vnfcSnapshots.every(({ warm }) => warm));
});

test('power: a failure after it was powered off powers it on again', async (t) => {
  const { end, states } = await taken(t, { powerOff: PowerOff.BEFORE }, ({ world }) =>
    world.before('capture', 'gateway-0', () => {
      throw failedPrecondition('COMPUTE_STATE', 'the test breaks it');
    }),
  );
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.deepEqual(states, [RUNNING, RUNNING]);
});
