import { create } from '@bufbuild/protobuf';
import test from 'ava';
import { Code } from '../../../../gen/google/rpc/code_pb.js';
import { ImageRole } from '../../../../gen/nfv/common/v1/common_pb.js';
import { VnfSnapshotSchema } from '../../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { loadedOf, planHosts } from '../../../../plugins/vnfm/plan/host-plan.ts';
import { planRevert } from '../../../../plugins/vnfm/plan/revert-plan.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { driverNamed, situation } from '../../../support/vnfm/descriptors.ts';
import { fakeDriver } from '../../../support/vnfm/fake-world.ts';

/** A warm snapshot of the demo that a driver has. */
function snapshotOn(driver: string, disks = ['data']) {
  return create(VnfSnapshotSchema, {
    id: 'snap-x',
    vnfcSnapshots: ['gateway', 'database'].map((vduId) => ({
      vnfcInstanceId: `${vduId}-0`,
      vduId,
      instanceSnapshot: {
        ...{ snapshotId: `snap-x.${vduId}-0`, memory: true, driver },
        images: disks.map((name) => ({ name, role: ImageRole.DISK, sizeBytes: 4096n })),
      },
    })),
  });
}

function planned(driver: string, host?: { name: string; kind: string }, skip = false) {
  const now = situation();
  const snapshot = snapshotOn(driver);
  const target = host && driverNamed(host.name, host.kind);
  const options = { skipSafetySnapshot: skip, force: false, target };
  const plan = planRevert(now, snapshot, options);
  const hosts = planHosts(now, snapshot, plan, {
    ...{ target, moveId: 'move-x', skipSafetySnapshot: skip },
    networkIds: new Map([['session', 'vnf-x.session']]),
  });
  return { ...plan, hosts };
}

const second = { name: 'second', kind: fakeDriver };

test('planHosts: a snapshot where the VNF is needs nothing brought over', (t) => {
  const plan = planned(fakeDriver);
  t.deepEqual(plan.hosts, { carried: [] });
  t.deepEqual(loadedOf(plan), plan.vnfcs);
});

test('planHosts: a snapshot on another host is brought to where the components are', (t) => {
  const plan = planned('second');
  t.deepEqual(
    plan.hosts.carried.map(({ snapshotId, copyId, host }) => [snapshotId, copyId, host]),
    [
      ['snap-x.gateway-0', 'move-x.gateway-0', fakeDriver],
      ['snap-x.database-0', 'move-x.database-0', fakeDriver],
    ],
  );
  t.is(plan.hosts.move, undefined);
  t.is(loadedOf(plan)[0]?.snapshotId, 'move-x.gateway-0');
  t.is(loadedOf(plan)[0]?.computeId, 'vnf-x.gateway-0');
});

test('planHosts: components that move get resources of their own there, of the size that was captured', (t) => {
  const plan = planned('second', second);
  t.deepEqual(plan.hosts.carried, [], 'it is there already');
  const { move } = plan.hosts;
  t.is(move?.host, 'second');
  t.deepEqual(
    move?.vnfcs.map(({ computeId, volumes }) => [
      computeId,
      ...volumes.map(({ storageId, image, sizeBytes }) => [storageId, image, sizeBytes]),
    ]),
    [
      ['move-x.gateway-0', ['move-x.gateway-0.data', '', '4096']],
      ['move-x.database-0', ['move-x.database-0.data', '', '4096']],
    ],
  );
  t.deepEqual(
    move?.left.computes.map(({ computeId }) => computeId),
    ['vnf-x.gateway-0', 'vnf-x.database-0'],
  );
  const [gateway] = loadedOf(plan);
  t.like(gateway, { computeId: 'move-x.gateway-0', snapshotId: 'snap-x.gateway-0', moved: true });
});

test('planHosts: what would be lost, is not secured, or has no place there is refused', async (t) => {
  await throwsRpc(t, async () => planned('second', second, true), {
    ...{ code: Code.INVALID_ARGUMENT, reason: 'SAFETY_NEEDED' },
  });
  await throwsRpc(t, async () => planned('second', { name: 'second', kind: 'else' }), {
    ...{ code: Code.FAILED_PRECONDITION, reason: 'HOST_KIND' },
  });
  const now = situation();
  const target = driverNamed('second', fakeDriver);
  const options = { skipSafetySnapshot: false, force: false, target };
  const wish = { target, moveId: 'move-x', networkIds: new Map(), skipSafetySnapshot: false };
  const whole = snapshotOn(fakeDriver);
  const parts: [string, typeof whole][] = [
    ['database-0', { ...whole, vnfcSnapshots: whole.vnfcSnapshots.slice(0, 1) }],
    ['gateway-0/data', snapshotOn(fakeDriver, [])],
  ];
  for (const [what, part] of parts) {
    const plan = planRevert(now, part, options);
    const error = await throwsRpc(t, async () => planHosts(now, part, plan, wish), {
      ...{ code: Code.FAILED_PRECONDITION, reason: 'LEFT_BEHIND' },
    });
    t.true(error.message.includes(`does not have ${what}, `), error.message);
  }
});
