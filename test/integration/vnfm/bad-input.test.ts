import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { Code } from '../../../gen/google/rpc/code_pb.js';
import { CapabilityName } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { NotificationResult } from '../../../gen/nfv/vnf_snapshot_notification/v1/vnf_snapshot_notification_pb.js';
import { ConsistencyPolicy, Permission } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { cannot } from '../../support/fake-vim.ts';
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

const { NOT_FOUND, FAILED_PRECONDITION, INVALID_ARGUMENT, ALREADY_EXISTS } = Code;
const { PREFERRED } = ConsistencyPolicy;

type Call = (rig: Rig) => Promise<unknown>;

const refused = test.macro({
  title: (_given, what: string) => `VNFM: ${what}`,
  exec: async (t, _what: string, call: Call, code: Code, reason: string) => {
    await throwsRpc(t, call(await startRig(t)), { code, reason });
  },
});

const unknownVnf = { vnfInstanceId: 'vnf-nobody' };
const unknownSnapshot = { vnfSnapshotInfoId: 'snap-nobody' };
const unknownPackage = { vnfSnapshotPkgId: 'pkg-nobody' };

const unknownIds: [string, Call, string][] = [
  ['InstantiateVnf', ({ lcm }) => lcm.instantiateVnf(unknownVnf), 'VNF_UNKNOWN'],
  ['TerminateVnf', ({ lcm }) => lcm.terminateVnf(unknownVnf), 'VNF_UNKNOWN'],
  ['CreateVnfSnapshot', ({ lcm }) => lcm.createVnfSnapshot(unknownVnf), 'VNF_UNKNOWN'],
  [
    'UpdateVnfSnapshotInfo',
    ({ lcm }) => lcm.updateVnfSnapshotInfo(unknownSnapshot),
    'SNAPSHOT_UNKNOWN',
  ],
  [
    'DeleteVnfSnapshotInfo',
    ({ lcm }) => lcm.deleteVnfSnapshotInfo(unknownSnapshot),
    'SNAPSHOT_UNKNOWN',
  ],
  [
    'CreateVnfSnapshotPackage',
    ({ packages }) => packages.createVnfSnapshotPackage(unknownSnapshot),
    'SNAPSHOT_UNKNOWN',
  ],
  [
    'ExtractVnfSnapshotPackage',
    ({ packages }) => packages.extractVnfSnapshotPackage(unknownPackage),
    'PACKAGE_UNKNOWN',
  ],
  [
    'DeleteVnfSnapshotPackage',
    ({ packages }) => packages.deleteVnfSnapshotPackage(unknownPackage),
    'PACKAGE_UNKNOWN',
  ],
  [
    'RespondToVnfSnapshotNotification',
    ({ notifications }) =>
      notifications.respondToVnfSnapshotNotification({
        notificationId: 'nobody',
        result: NotificationResult.CONTINUE,
      }),
    'NOTIFICATION_UNKNOWN',
  ],
];
for (const [method, call, reason] of unknownIds) {
  test(refused, `${method} says which id it does not know`, call, NOT_FOUND, reason);
}

test(
  refused,
  'a snapshot of a VNF that is not instantiated is refused',
  async ({ lcm }) => {
    const { vnfInstance } = await lcm.createVnfIdentifier({ vnfd: demoVnfd() });
    await lcm.createVnfSnapshot({ vnfInstanceId: vnfInstance!.id });
  },
  FAILED_PRECONDITION,
  'VNF_NOT_INSTANTIATED',
);

test('VNFM: a VNFD with a wrong field is refused with its path', async (t) => {
  const { lcm } = await startRig(t);
  const vnfd = demoVnfd();
  const [gateway, database] = vnfd.vdu!;
  const vdu = [gateway!, { ...database!, virtualStorageDesc: ['dta'] }];
  const error = await throwsRpc(t, lcm.createVnfIdentifier({ vnfd: { ...vnfd, vdu } }), {
    code: INVALID_ARGUMENT,
    reason: 'VNFD_INVALID',
  });
  t.is(error.violations[0]?.field, 'vdu[1].virtualStorageDesc[0]');
  t.deepEqual((await lcm.queryVnf({})).vnfInstances, []);
});

test('VNFM: a VNF with resources cannot be instantiated again or deleted', async (t) => {
  const rig = await startRig(t);
  const vnfInstanceId = await instantiated(rig);
  const expected = { code: FAILED_PRECONDITION, reason: 'VNF_INSTANTIATED' };
  await throwsRpc(t, rig.lcm.instantiateVnf({ vnfInstanceId }), expected);
  await throwsRpc(t, rig.lcm.deleteVnfIdentifier({ vnfInstanceId }), expected);
});

test('VNFM: two lifecycle operations at once are refused with the id of the first', async (t) => {
  const rig = await startRig(t);
  const vnfInstanceId = await instantiated(rig);
  rig.world.before('hold', '', () => sleep(300));
  const first = await rig.lcm.createVnfSnapshot({ vnfInstanceId, consistency: PREFERRED });
  const second = rig.lcm.terminateVnf({ vnfInstanceId });
  const error = await throwsRpc(t, second, {
    code: FAILED_PRECONDITION,
    reason: 'OPERATION_IN_PROGRESS',
  });
  t.is(error.metadata.operation_id, first.lifecycleOperationOccurrenceId);
  await completed(rig, first.lifecycleOperationOccurrenceId);
  const third = await rig.lcm.terminateVnf({ vnfInstanceId });
  await completed(rig, third.lifecycleOperationOccurrenceId);
});

test('VNFM: a snapshot that is being packed cannot be deleted', async (t) => {
  const rig = await startRig(t);
  const vnfSnapshotInfoId = await snapshotOf(t, rig);
  rig.world.before('pack', 'gateway-0', () => sleep(300));
  const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
  await throwsRpc(t, rig.lcm.deleteVnfSnapshotInfo({ vnfSnapshotInfoId }), {
    code: FAILED_PRECONDITION,
    reason: 'SNAPSHOT_IN_USE',
  });
  await completed(rig, packed.lifecycleOperationOccurrenceId);
});

test('VNFM: a descriptor that forbids snapshots and reversions is obeyed [Vnfsd.001 Vnfsd.002]', async (t) => {
  const rig = await startRig(t);
  const { FORBIDDEN } = Permission;
  const vnfd = demoVnfd({ create: FORBIDDEN, revert: FORBIDDEN });
  const vnfInstanceId = await instantiated(rig, vnfd);
  await throwsRpc(t, rig.lcm.createVnfSnapshot({ vnfInstanceId }), {
    code: FAILED_PRECONDITION,
    reason: 'SNAPSHOT_FORBIDDEN',
  });
  const vnfSnapshotInfoId = await snapshotOf(t, rig);
  await throwsRpc(t, rig.lcm.revertToVnfSnapshot({ vnfInstanceId, vnfSnapshotInfoId }), {
    code: FAILED_PRECONDITION,
    reason: 'REVERT_FORBIDDEN',
  });
});

test('VNFM: what a driver cannot do now is refused with its reason', async (t) => {
  const rig = await startRig(t);
  const vnfInstanceId = await instantiated(rig);
  cannot(rig.world, CapabilityName.MEMORY_EXTERNAL, 'a volume is being exported');
  const error = await throwsRpc(t, rig.lcm.createVnfSnapshot({ vnfInstanceId }), {
    code: Code.UNIMPLEMENTED,
    reason: 'CAPABILITY_MISSING',
  });
  t.regex(error.message, /a volume is being exported/);
});

test('VNFM: a repeated request gets the first answer, another body with its id is refused', async (t) => {
  const rig = await startRig(t);
  const vnfInstanceId = await instantiated(rig);
  const request = { vnfInstanceId, consistency: PREFERRED, requestId: 'r-1' };
  const first = await rig.lcm.createVnfSnapshot(request);
  await completed(rig, first.lifecycleOperationOccurrenceId);
  const second = await rig.lcm.createVnfSnapshot(request);
  t.deepEqual(
    [second.vnfSnapshotInfoId, second.lifecycleOperationOccurrenceId],
    [first.vnfSnapshotInfoId, first.lifecycleOperationOccurrenceId],
  );
  t.is(rig.world.snapshots.size, 2);
  await throwsRpc(t, rig.lcm.createVnfSnapshot({ ...request, name: 'other' }), {
    code: ALREADY_EXISTS,
    reason: 'REQUEST_ID_REUSED',
  });
});

test('VNFM: a snapshot resource made before is filled once', async (t) => {
  const rig = await startRig(t);
  const vnfInstanceId = await instantiated(rig);
  const { vnfSnapshotInfo } = await rig.lcm.createVnfSnapshotInfo({});
  const vnfSnapshotInfoId = vnfSnapshotInfo!.id;
  const request = { vnfInstanceId, vnfSnapshotInfoId, consistency: PREFERRED };
  const taken = await rig.lcm.createVnfSnapshot(request);
  t.is(taken.vnfSnapshotInfoId, vnfSnapshotInfoId);
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  await throwsRpc(t, rig.lcm.createVnfSnapshot(request), {
    code: FAILED_PRECONDITION,
    reason: 'SNAPSHOT_NOT_EMPTY',
  });
});

test('VNFM: a change with an old etag is refused, one with the present etag is made [5.1.3.4/metadata 5.1.3.4/rename]', async (t) => {
  const rig = await startRig(t);
  const vnfSnapshotInfoId = await snapshotOf(t, rig);
  const { vnfSnapshotInfos } = await rig.lcm.queryVnfSnapshotInfo({});
  const { etag } = vnfSnapshotInfos[0]!;
  const named = await rig.lcm.updateVnfSnapshotInfo({ vnfSnapshotInfoId, name: 'golden', etag });
  t.is(named.vnfSnapshotInfo?.vnfSnapshot?.name, 'golden');
  await throwsRpc(t, rig.lcm.updateVnfSnapshotInfo({ vnfSnapshotInfoId, name: 'other', etag }), {
    code: Code.ABORTED,
    reason: 'ETAG_MISMATCH',
  });
});

const location = test.macro({
  title: (_given, what: string) => `VNFM: an archive cannot be written to ${what}`,
  exec: async (t, _what: string, path: string) => {
    const rig = await startRig(t);
    const vnfSnapshotInfoId = await snapshotOf(t, rig);
    const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
    await completed(rig, packed.lifecycleOperationOccurrenceId);
    const { vnfSnapshotPkgId } = packed;
    const target = path.replace('FOLDER', rig.folder);
    await throwsRpc(
      t,
      rig.packages.exportVnfSnapshotPackage({ vnfSnapshotPkgId, location: target }),
      { code: INVALID_ARGUMENT, reason: 'LOCATION_INVALID' },
    );
  },
});
test(location, 'a relative path', 'p.zip');
test(location, 'a folder that is not allowed', '/etc/p.zip');
test(location, 'a path that climbs', 'FOLDER/../p.zip');
test(location, 'a folder that is not there', 'FOLDER/nowhere/p.zip');

test('VNFM: the policy may refuse queries of packages, and operations before they touch anything [6.7.5/2 6.7.5/3 5.2.8/2 Nfvo.001 6.3/nfvo]', async (t) => {
  const rig = await startRig(t);
  const vnfSnapshotInfoId = await snapshotOf(t, rig);
  rig.refused.add(OperationType.QUERY_PACKAGE).add(OperationType.CREATE_PACKAGE);
  await throwsRpc(t, rig.packages.queryVnfSnapshotPackageInfo({}), {
    code: Code.PERMISSION_DENIED,
    reason: 'GRANT_REFUSED',
  });
  const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
  const end = await finished(rig, packed.lifecycleOperationOccurrenceId);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.is(end.error?.reason, 'GRANT_REFUSED');
  t.is(rig.repository.packages.size, 0);
});

test('VNFM: a package of which a part fails leaves no part', async (t) => {
  const rig = await startRig(t);
  const vnfSnapshotInfoId = await snapshotOf(t, rig);
  rig.world.before('pack', 'database-0', () => {
    throw new Error('the disk is full');
  });
  const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
  const end = await finished(rig, packed.lifecycleOperationOccurrenceId);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.is(rig.repository.packages.size, 0);
  t.deepEqual((await rig.packages.queryVnfSnapshotPackageInfo({})).vnfSnapshotPkgInfos, []);
});

test('VNFM: an extraction of which a part fails leaves no snapshot', async (t) => {
  const rig = await startRig(t);
  const vnfSnapshotInfoId = await snapshotOf(t, rig);
  const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
  await completed(rig, packed.lifecycleOperationOccurrenceId);
  rig.world.before('extract', 'database-0', () => {
    throw new Error('the disk is full');
  });
  const { vnfSnapshotPkgId } = packed;
  const extracted = await rig.packages.extractVnfSnapshotPackage({ vnfSnapshotPkgId });
  const end = await finished(rig, extracted.lifecycleOperationOccurrenceId);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.is(rig.world.snapshots.size, 2);
  t.is((await rig.lcm.queryVnfSnapshotInfo({})).vnfSnapshotInfos.length, 1);
});

test('VNFM: memory of another kind of machine is not extracted, and nothing is moved, unless forced [5.1.3.3/force]', async (t) => {
  const rig = await startRig(t);
  const vnfSnapshotInfoId = await snapshotOf(t, rig);
  const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
  await completed(rig, packed.lifecycleOperationOccurrenceId);
  const { vnfSnapshotPkgId } = packed;
  rig.world.cpuModel = 'another';
  const moved: string[] = [];
  for (const vnfc of ['gateway-0', 'database-0']) {
    rig.world.before('extract', vnfc, () => {
      moved.push(vnfc);
    });
  }
  const refused = await rig.packages.extractVnfSnapshotPackage({ vnfSnapshotPkgId });
  const end = await finished(rig, refused.lifecycleOperationOccurrenceId);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.is(end.error!.reason, 'INCOMPATIBLE');
  t.regex(end.error!.detail, /cpuModel "one".*has "another"/);
  t.deepEqual(moved, []);
  t.is((await rig.lcm.queryVnfSnapshotInfo({})).vnfSnapshotInfos.length, 1);

  const forced = await rig.packages.extractVnfSnapshotPackage({ vnfSnapshotPkgId, force: true });
  await completed(rig, forced.lifecycleOperationOccurrenceId);
  t.is(moved.length, 2);
});

test('VNFM: a failed instantiation frees what was allocated, and can be repeated', async (t) => {
  const rig = await startRig(t);
  const { vnfInstance } = await rig.lcm.createVnfIdentifier({ vnfd: demoVnfd() });
  const vnfInstanceId = vnfInstance!.id;
  rig.world.before('operate', 'database-0', () => {
    throw new Error('it does not boot');
  });
  const failed = await rig.lcm.instantiateVnf({ vnfInstanceId });
  const end = await finished(rig, failed.lifecycleOperationOccurrenceId);
  t.is(end.operationState, OperationState.ROLLED_BACK);
  t.is(rig.world.guests.size + rig.world.volumes.size + rig.world.networks.size, 0);
  rig.world.clearHooks();
  const again = await rig.lcm.instantiateVnf({ vnfInstanceId });
  await completed(rig, again.lifecycleOperationOccurrenceId);
});

test('VNFM: an answer after the deadline is told that the notification is closed', async (t) => {
  const rig = await startRig(t);
  const vnfInstanceId = await instantiated(
    rig,
    demoVnfd({ prepareTimeout: { nanos: 50_000_000 } }),
  );
  const told = await watchAsVnf(t, rig, vnfInstanceId, () => 'silent');
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId });
  await finished(rig, taken.lifecycleOperationOccurrenceId);
  const { notificationId } = told.heard[0]!;
  const result = NotificationResult.CONTINUE;
  await throwsRpc(
    t,
    rig.notifications.respondToVnfSnapshotNotification({ notificationId, result }),
    {
      code: FAILED_PRECONDITION,
      reason: 'NOTIFICATION_CLOSED',
    },
  );
});

/** A snapshot of a VNF of its own. */
async function snapshotOf(_t: ExecutionContext, rig: Rig): Promise<string> {
  const vnfInstanceId = await instantiated(rig);
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId, consistency: PREFERRED });
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  return taken.vnfSnapshotInfoId;
}
