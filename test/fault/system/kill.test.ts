import { create } from '@bufbuild/protobuf';
import test from 'ava';
import {
  type LifecycleOperationOccurrence,
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import {
  PowerOff,
  SnapshotType,
  VnfcSnapshotDescriptorSchema,
} from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { findPoints, killAtEach, type Point } from '../../support/system/kill-chain.ts';
import {
  backToStopped,
  deletions,
  lifeCycle,
  makeBase,
  nsLevel,
  onAnotherHost,
  procedures,
  replacing,
} from '../../support/system/procedures.ts';
import { SystemRig } from '../../support/system/system-rig.ts';

/** Sites that are killed and started in turns, side by side. */
const chains = 2;
/** `NFV_KILL_POINTS=all` leaves nothing out. */
const isThorough = process.env.NFV_KILL_POINTS === 'all';
/** About three minutes on two processors, and what a busy machine may add. */
const runMsMax = 25 * 60_000;

/**
 * A step has begun and nothing has happened yet; the points between its effect and its record are
 * more telling.
 */
const isBegin = ({ failpoint }: Point) =>
  failpoint.startsWith('vnfm.') && !failpoint.endsWith('.done');

for (let chain = 0; chain < chains; chain++) {
  test(`system: kill -9 at every step leaves all or nothing, part ${chain + 1} of ${chains}`, async (t) => {
    t.timeout(runMsMax);
    const rig = await SystemRig.open(t, 'wasmvm');
    const base = await makeBase(rig);
    const points = await findPoints(rig, base);
    await rig.stop();
    const mine = points
      .filter((_, index) => index % chains === chain)
      .filter((point, index) => isThorough || !isBegin(point) || index % 4 === 0);
    t.log(`${mine.length} of ${points.length} points`);
    t.deepEqual(await killAtEach(rig, base, mine), []);
  });
}

/** What is begun is done; only a VNF that is not there yet may not come into being. */
async function isDone(_point: Point, occurrence: LifecycleOperationOccurrence): Promise<string[]> {
  const { operation, operationState: state } = occurrence;
  const mayBeUndone = operation === OperationType.INSTANTIATE;
  if (state === OperationState.COMPLETED) return [];
  if (mayBeUndone && state === OperationState.ROLLED_BACK) return [];
  return [`ended as ${OperationState[state]}`];
}

test('system: kill -9 while a VNF is powered off and on, healed, made or ended leaves it done or undone', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, 'wasmvm');
  const base = await makeBase(rig);
  const points = await findPoints(rig, base, lifeCycle);
  await rig.stop();
  const names = ['instantiate-vnf', ...lifeCycle.map(({ name }) => name)];
  // What a healing starts has points of its own, which are those of powering off and on.
  // A step that is named after a resource of one VNF does not come for another.
  const own = points.filter(
    ({ procedure, failpoint }) =>
      names.some((name) => failpoint.startsWith(`vnfm.${name}.`)) &&
      !failpoint.includes(' vnf-') &&
      (procedure.name !== 'heal-vnf' || failpoint.startsWith('vnfm.heal-vnf.')),
  );
  const mine = own.filter((point, index) => isThorough || (!isBegin(point) && index % 2 === 1));
  t.log(`${mine.length} of ${own.length} points`);
  t.deepEqual(await killAtEach(rig, base, mine, { ended: isDone }), []);
});

test('system: kill -9 while a VNF goes back to its snapshot on another host leaves it wholly on one host', async (t) => {
  t.timeout(runMsMax);
  const hosts = [{ name: 'host-two', kind: 'wasmvm' }];
  const rig = await SystemRig.open(t, 'wasmvm', { hosts });
  const base = await makeBase(rig);
  const points = await findPoints(rig, base, [onAnotherHost]);
  await rig.stop();
  const mine = points.filter((point, index) => isThorough || (!isBegin(point) && index % 3 === 1));
  t.log(`${mine.length} of ${points.length} points`);
  t.deepEqual(await killAtEach(rig, base, mine), []);
});

test('system: kill -9 while a network service is captured, or brought back, leaves all or nothing', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, 'wasmvm');
  const base = await makeBase(rig);
  const points = await findPoints(rig, base, nsLevel);
  await rig.stop();
  const mine = points.filter((point, index) => isThorough || (!isBegin(point) && index % 6 === 1));
  t.log(`${mine.length} of ${points.length} points`);
  t.deepEqual(await killAtEach(rig, base, mine), []);
});

test('system: kill -9 while a snapshot takes the place of another leaves one of the two', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, 'wasmvm');
  const base = await makeBase(rig);
  const all = await findPoints(rig, base, [replacing]);
  await rig.stop();
  // Each step comes once in an operation; the first time it is that of the snapshot that is to be replaced.
  const isTwice = ({ failpoint }: Point) =>
    all.some((point) => point.failpoint === failpoint && point.hit === 2);
  const points = all.filter(
    (point) => point.failpoint.startsWith('vnfm.') && (point.hit === 2 || !isTwice(point)),
  );
  const mine = isThorough
    ? points
    : points.filter((p) => !isBegin(p)).filter((_, i) => i % 3 === 2);
  t.log(`${mine.length} of ${points.length} points`);
  t.deepEqual(await killAtEach(rig, base, mine), []);
});

test('system: kill -9 while a snapshot or a package is deleted leaves nothing of it', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, 'wasmvm');
  const base = await makeBase(rig);
  const all = await findPoints(rig, base, deletions);
  await rig.stop();
  const points = all.filter(({ failpoint }) => failpoint.startsWith('vnfm.delete-'));
  t.deepEqual(await killAtEach(rig, base, points, { ended: isDone }), []);
  t.log(`${points.length} points`);
});

test('system: kill -9 while components are powered off and disks detached around a snapshot leaves all in its place', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, 'wasmvm');
  rig.snapshotType = SnapshotType.UNSPECIFIED;
  await rig.instantiate((vnfd) => {
    vnfd.snapshotDescriptor!.vnfc = vnfd.vdu.map(({ vduId }) =>
      create(VnfcSnapshotDescriptorSchema, {
        ...{ vduId, powerOff: PowerOff.BEFORE, powerOnAfter: true },
        ...{ detachBefore: true, attachAfter: true },
      }),
    );
  });
  const base = await makeBase(rig);
  const creation = procedures.filter(({ name }) => name === 'create-vnf-snapshot');
  const around = creation.map(({ use: _, ...procedure }) => procedure);
  const all = await findPoints(rig, base, [...around, backToStopped]);
  await rig.stop();
  const points = all.filter(({ failpoint }) => failpoint.startsWith('vnfm.'));
  const mine = isThorough
    ? points
    : points.filter((p) => !isBegin(p)).filter((_, i) => i % 4 === 1);
  t.log(`${mine.length} of ${points.length} points`);
  t.deepEqual(await killAtEach(rig, base, mine), []);
});

/** Steps late in a procedure: when one fails, everything before it is undone. */
const lastWords = {
  'create-vnf-snapshot': 'save',
  'create-vnf-snapshot-package': 'compose.done',
  'revert-to-vnf-snapshot': 'revert database-0.done',
};

test('system: kill -9 inside an undo ends with everything undone', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, 'wasmvm');
  const base = await makeBase(rig);
  const points = Object.entries(lastWords).flatMap(([name, step]) => {
    const procedure = procedures.find((known) => known.name === name)!;
    const failing = `vnfm.${name}.${step}`;
    return [2, 3].flatMap((hit) =>
      ['operations.undo-begun', 'operations.undo-done'].map(
        (failpoint): Point => ({ procedure, failpoint, hit, failing }),
      ),
    );
  });
  const undone = async (_point: Point, { operationState }: LifecycleOperationOccurrence) =>
    operationState === OperationState.ROLLED_BACK ? [] : [`ended as ${operationState}`];
  t.deepEqual(await killAtEach(rig, base, points, { ended: undone }), []);
});
