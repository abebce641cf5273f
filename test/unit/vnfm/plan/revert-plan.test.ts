import { create } from '@bufbuild/protobuf';
import test from 'ava';
import { Code } from '../../../../gen/google/rpc/code_pb.js';
import { ImageRole } from '../../../../gen/nfv/common/v1/common_pb.js';
import { CapabilityName } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import {
  CompatibilityStampSchema,
  ComputeState,
} from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { VnfSnapshotSchema } from '../../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { ConsistencyPolicy, Permission } from '../../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { planRevert } from '../../../../plugins/vnfm/plan/revert-plan.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import {
  component,
  driverStamped,
  driverWithout,
  situation,
  vnfdOf,
} from '../../../support/vnfm/descriptors.ts';

const careful = { skipSafetySnapshot: false, force: false };

/** A snapshot of the demo: warm, frozen, each part with one disk. */
function snapshotOf(vduIds: string[], changes: { memory?: boolean; disk?: string } = {}) {
  const { memory = true, disk = 'data' } = changes;
  return create(VnfSnapshotSchema, {
    id: 'snap-x',
    vnfcSnapshots: vduIds.map((vduId) => ({
      vnfcInstanceId: `${vduId}-0`,
      vduId,
      instanceSnapshot: {
        ...{ snapshotId: `snap-x.${vduId}-0`, memory, quiesced: true },
        images: [{ name: disk, role: ImageRole.DISK }],
        stateWhenTaken: ComputeState.PAUSED,
      },
    })),
  });
}

const demo = snapshotOf(['gateway', 'database']);

test('planRevert: a warm frozen snapshot is loaded, thawed, and secured by a warm safety snapshot [5.2.3/3 5.2.3/4]', (t) => {
  const plan = planRevert(situation(), demo, careful);
  t.deepEqual(
    plan.vnfcs.map(({ warm, thaw, startAfter, running, safety }) => {
      return { warm, thaw, startAfter, running, safety };
    }),
    Array(2).fill({ warm: true, thaw: true, startAfter: false, running: true, safety: 'warm' }),
  );
  t.deepEqual([plan.notify, plan.ordered, plan.untouched], [true, false, []]);
});

test('planRevert: a cold snapshot of a component that ran is booted', (t) => {
  const plan = planRevert(situation(), snapshotOf(['gateway'], { memory: false }), careful);
  const [gateway] = plan.vnfcs;
  t.deepEqual([gateway?.warm, gateway?.thaw, gateway?.startAfter], [false, false, true]);
  t.deepEqual(plan.untouched, ['database-0: the snapshot does not have it']);
});

test('planRevert: of a component that has failed only disks are kept', (t) => {
  const components = [component('gateway', { state: ComputeState.FAILED }), component('database')];
  const [gateway] = planRevert(situation(vnfdOf(), components), demo, careful).vnfcs;
  t.deepEqual([gateway?.running, gateway?.safety], [false, 'cold']);
  t.regex(gateway?.safetyNote ?? '', /had failed/);
});

test('planRevert: the request may do without safety snapshots', (t) => {
  const plan = planRevert(situation(), demo, { ...careful, skipSafetySnapshot: true });
  t.true(plan.vnfcs.every(({ safety }) => safety === 'none'));
});

test('planRevert: a descriptor that forbids reversions is obeyed [Vnfsd.002]', async (t) => {
  const vnfd = vnfdOf(undefined, { revert: Permission.FORBIDDEN });
  await throwsRpc(t, async () => planRevert(situation(vnfd), demo, careful), {
    code: Code.FAILED_PRECONDITION,
    reason: 'REVERT_FORBIDDEN',
  });
});

test('planRevert: a snapshot with a component that the VNF does not have does not fit', async (t) => {
  const error = await throwsRpc(
    t,
    async () => planRevert(situation(), snapshotOf(['billing']), careful),
    { code: Code.FAILED_PRECONDITION, reason: 'SNAPSHOT_MISMATCH' },
  );
  t.is(error.metadata.vnfc_instance_id, 'billing-0');
});

test('planRevert: a snapshot with a disk that the component does not have does not fit', async (t) => {
  const other = snapshotOf(['gateway'], { disk: 'logs' });
  const error = await throwsRpc(t, async () => planRevert(situation(), other, careful), {
    code: Code.FAILED_PRECONDITION,
    reason: 'SNAPSHOT_MISMATCH',
  });
  t.regex(error.message, /no disk "logs"/);
});

test('planRevert: memory that cannot be loaded here is refused before anything is touched', async (t) => {
  const driver = driverWithout(CapabilityName.MEMORY_EXTERNAL);
  const components = [component('gateway', { driver }), component('database')];
  await throwsRpc(t, async () => planRevert(situation(vnfdOf(), components), demo, careful), {
    code: Code.UNIMPLEMENTED,
    reason: 'CAPABILITY_MISSING',
  });
});

test('planRevert: an order and a VNF that wants no notification are obeyed [Vnfsd.018]', (t) => {
  const vnfd = vnfdOf(undefined, {
    revertOrder: ['database'],
    consistency: ConsistencyPolicy.NONE,
  });
  const plan = planRevert(situation(vnfd), demo, careful);
  t.deepEqual([plan.ordered, plan.notify], [true, false]);
  t.deepEqual(
    plan.vnfcs.map(({ vduId }) => vduId),
    ['database', 'gateway'],
  );
});

test('planRevert: memory of another kind of machine is refused before anything is touched, unless forced [5.1.3.3/force]', async (t) => {
  const stamp = { hypervisor: 'fake', machineType: 'fake-1', cpuModel: 'old' };
  const driver = driverWithout();
  driver.requireStamp(
    create(CompatibilityStampSchema, stamp),
    'a driver without a stamp decides itself',
  );
  const here = driverStamped({ ...stamp, cpuModel: 'new' });
  const components = [component('gateway', { driver: here }), component('database')];
  const snapshot = snapshotOf(['gateway']);
  snapshot.vnfcSnapshots[0]!.instanceSnapshot!.compatibility = create(
    CompatibilityStampSchema,
    stamp,
  );
  const plan = (more: object) =>
    planRevert(situation(vnfdOf(), components), snapshot, { ...careful, ...more });
  const error = await throwsRpc(t, async () => plan({}), {
    ...{ code: Code.FAILED_PRECONDITION, reason: 'INCOMPATIBLE' },
  });
  t.like(error.metadata, { attribute: 'cpuModel', there: 'old', here: 'new' });
  t.true(plan({ force: true }).vnfcs[0]!.force);
  snapshot.vnfcSnapshots[0]!.instanceSnapshot!.memory = false;
  t.false(plan({}).vnfcs[0]!.warm, 'disks fit anywhere');
});
