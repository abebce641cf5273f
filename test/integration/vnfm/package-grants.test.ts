import test, { type ExecutionContext } from 'ava';
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { ConsistencyPolicy } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { permissionDenied } from '../../../sdk/errors.ts';
import { completed, finished, instantiated, type Rig, startRig } from '../../support/vnfm/rig.ts';

const modes = {
  direct: { pack: '6.6.1', extract: '6.6.3', calls: ['2', '4'] },
  indirect: { pack: '6.6.2', extract: '6.6.4', calls: ['2', '4-5'] },
};

async function snapshot(rig: Rig): Promise<string> {
  const vnfInstanceId = await instantiated(rig);
  const consistency = ConsistencyPolicy.PREFERRED;
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId, consistency });
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  return taken.vnfSnapshotInfoId;
}

function grantsOf(rig: Rig, operation: string): number {
  return rig.world.calls.filter(({ method, id }) => method === 'grant' && id === operation).length;
}

/** The numbers of a VNFC's steps within a clause. */
function numbers(
  steps: { clause: string; clauseStep: string; vnfcInstanceId: string }[],
  clause: string,
) {
  return steps
    .filter((step) => step.clause === clause && step.vnfcInstanceId === 'gateway-0')
    .map(({ clauseStep }) => clauseStep);
}

const each = test.macro({
  title: (_given, mode: 'direct' | 'indirect') =>
    `VNFC packages, ${mode}: each is granted before it is made or extracted ${tags[mode]}`,
  exec: async (t: ExecutionContext, mode: 'direct' | 'indirect') => {
    const rig = await startRig(t, { grantEachVnfcPackage: true, resourceManagement: mode });
    const vnfSnapshotInfoId = await snapshot(rig);
    const { pack, extract, calls } = modes[mode];
    const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
    const packing = await completed(rig, packed.lifecycleOperationOccurrenceId);
    t.deepEqual(numbers(packing.steps, pack), calls);
    t.is(grantsOf(rig, 'CREATE_PACKAGE'), 3, 'one for the VNF package, one for each VNFC');
    const { vnfSnapshotPkgId } = packed;
    const extracted = await rig.packages.extractVnfSnapshotPackage({ vnfSnapshotPkgId });
    const extraction = await completed(rig, extracted.lifecycleOperationOccurrenceId);
    t.deepEqual(numbers(extraction.steps, extract), calls);
    t.is(grantsOf(rig, 'EXTRACT_PACKAGE'), 3);
  },
});

const tags = {
  direct: '[6.6.1/2 6.6.1/3 6.6.3/2 6.6.3/3]',
  indirect: '[6.6.2/2 6.6.2/3 6.6.4/2 6.6.4/3]',
};

test(each, 'direct');
test(each, 'indirect');

test('VNFC packages: when one is refused, nothing is left of the others', async (t) => {
  const rig = await startRig(t, { grantEachVnfcPackage: true });
  const vnfSnapshotInfoId = await snapshot(rig);
  rig.judge.grant = ({ operation, addResources }) => {
    if (operation !== OperationType.CREATE_PACKAGE || addResources[0]?.id !== 'database-0') return;
    throw permissionDenied('GRANT_REFUSED', 'not the database', { rule: 'test' });
  };
  const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
  const end = await finished(rig, packed.lifecycleOperationOccurrenceId);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.is(end.error?.reason, 'GRANT_REFUSED');
  t.deepEqual((await rig.packages.queryVnfSnapshotPackageInfo({})).vnfSnapshotPkgInfos, []);
  t.is(rig.repository.packages.size, 0);
});

test('VNFC packages: without the setting one grant covers all', async (t) => {
  const rig = await startRig(t);
  const vnfSnapshotInfoId = await snapshot(rig);
  const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
  await completed(rig, packed.lifecycleOperationOccurrenceId);
  t.is(grantsOf(rig, 'CREATE_PACKAGE'), 1);
});
