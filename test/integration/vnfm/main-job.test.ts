import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { ConsistencyLevel } from '../../../gen/nfv/common/v1/common_pb.js';
import { StepState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { PackageKind } from '../../../gen/nfv/repository/v1/repository_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { SnapshotAvailability } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { PackageState } from '../../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { Code, failedPrecondition } from '../../../sdk/errors.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { watchAsVnf } from '../../support/vnfm/fake-vnf.ts';
import { completed, instantiated, startRig } from '../../support/vnfm/rig.ts';

test('VNFM: a VNF goes back in time through a package on another manager', async (t) => {
  const rig = await startRig(t);
  const vnf = await instantiated(rig);
  const told = await watchAsVnf(t, rig, vnf);
  const gateway = rig.world.guest(`${vnf}.gateway-0`);
  const database = rig.world.guest(`${vnf}.database-0`);
  gateway.memory = 41;
  database.memory = 42;
  rig.world.volumes.set(`${vnf}.gateway-0.data`, 'calls');

  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf, name: 'before' });
  const creation = await completed(rig, taken.lifecycleOperationOccurrenceId);
  t.deepEqual(told.names(), ['SNAPSHOT_CREATION_START', 'SNAPSHOT_CREATION_END ok']);
  t.true(creation.steps.every((step) => step.state === StepState.DONE));
  t.true(rig.world.allFree);

  const packed = await rig.packages.createVnfSnapshotPackage({
    vnfSnapshotInfoId: taken.vnfSnapshotInfoId,
  });
  await completed(rig, packed.lifecycleOperationOccurrenceId);
  t.deepEqual(rig.repository.idsOf(PackageKind.VNFC), [], 'nothing is left but the VNF package');
  const location = join(rig.folder, 'p.zip');
  const exported = await rig.packages.exportVnfSnapshotPackage({
    vnfSnapshotPkgId: packed.vnfSnapshotPkgId,
    location,
  });
  const { result } = await completed(rig, exported.lifecycleOperationOccurrenceId);
  t.is(result.location, location);

  const other = await startRig(t);
  const twin = await instantiated(other);
  const arrived = join(other.folder, 'p.zip');
  await copyFile(location, arrived);
  const imported = await other.packages.importVnfSnapshotPackage({ location: arrived });
  const { result: listed } = await completed(other, imported.lifecycleOperationOccurrenceId);
  t.is(listed.package, packed.vnfSnapshotPkgId);
  const extracted = await other.packages.extractVnfSnapshotPackage({
    vnfSnapshotPkgId: packed.vnfSnapshotPkgId,
  });
  await completed(other, extracted.lifecycleOperationOccurrenceId);
  const { vnfSnapshotInfoId } = extracted;
  const reverted = await other.lcm.revertToVnfSnapshot({ vnfInstanceId: twin, vnfSnapshotInfoId });
  const reversion = await completed(other, reverted.lifecycleOperationOccurrenceId);

  t.is(other.world.guest(`${twin}.gateway-0`).memory, 41);
  t.is(other.world.guest(`${twin}.database-0`).memory, 42);
  t.is(other.world.volumes.get(`${twin}.gateway-0.data`), 'calls');
  t.is(other.world.guest(`${twin}.gateway-0`).state, ComputeState.RUNNING);
  t.true(other.world.allFree, 'what was captured frozen is thawed');
  t.deepEqual([...other.world.snapshots.keys()].sort(), [
    `${vnfSnapshotInfoId}.database-0`,
    `${vnfSnapshotInfoId}.gateway-0`,
  ]);
  const skipped = reversion.steps.filter((step) => step.state !== StepState.DONE);
  t.deepEqual(
    skipped.map((step) => step.name),
    ['notify start', 'notify end'],
    'the twin has no stream, which does not keep it from being reverted',
  );
});

test('VNFM: a snapshot says how well its parts fit together [5.1.3.6/show]', async (t) => {
  const rig = await startRig(t);
  const vnf = await instantiated(rig);
  await watchAsVnf(t, rig, vnf);
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf });
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  const { vnfSnapshotInfos } = await rig.lcm.queryVnfSnapshotInfo({ allFields: true });
  const [info] = vnfSnapshotInfos;
  t.is(info?.availability, SnapshotAvailability.AVAILABLE);
  const record = info?.vnfSnapshot?.consistency;
  t.is(record?.level, ConsistencyLevel.VNF_CONFIRMED);
  t.true(record?.commonHold);
  t.true(record?.vnfc.every((vnfc) => vnfc.quiesceTime && vnfc.holdTime && vnfc.releaseTime));
  t.is(info?.vnfSnapshot?.vnfd?.vnfdId, 'demo');
  t.is(info?.vnfSnapshot?.vnfInstance?.instantiatedVnfInfo?.vnfVirtualLinkResourceInfo.length, 1);
  t.true(info?.vnfSnapshot?.vnfcSnapshots.every((part) => part.warm));
});

test('VNFM: a snapshot whose data is gone at the VIM is LOST, a package the repository lost too [Vnfm.008 Vnfm.009 6.3/vnfm-repository 6.3/vnfm-package-repository]', async (t) => {
  const rig = await startRig(t);
  const vnf = await instantiated(rig);
  await watchAsVnf(t, rig, vnf);
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf });
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  const { vnfSnapshotInfoId } = taken;
  const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
  await completed(rig, packed.lifecycleOperationOccurrenceId);
  rig.world.snapshots.delete(`${vnfSnapshotInfoId}.gateway-0`);
  rig.repository.packages.clear();
  const { vnfSnapshotInfos } = await rig.lcm.queryVnfSnapshotInfo({});
  t.is(vnfSnapshotInfos[0]?.availability, SnapshotAvailability.LOST);
  const { vnfSnapshotPkgInfos } = await rig.packages.queryVnfSnapshotPackageInfo({});
  t.is(vnfSnapshotPkgInfos[0]?.state, PackageState.LOST);
});

test('VNFM: a second package of the same VNF takes the first as its parent', async (t) => {
  const rig = await startRig(t);
  const vnf = await instantiated(rig);
  await watchAsVnf(t, rig, vnf);
  const ids: string[] = [];
  for (let count = 0; count < 2; count++) {
    const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf });
    await completed(rig, taken.lifecycleOperationOccurrenceId);
    const { vnfSnapshotInfoId } = taken;
    const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
    await completed(rig, packed.lifecycleOperationOccurrenceId);
    ids.push(packed.vnfSnapshotPkgId);
  }
  const filter = `(eq,id,${ids[1]})`;
  const { vnfSnapshotPkgInfos } = await rig.packages.queryVnfSnapshotPackageInfo({ filter });
  t.is(vnfSnapshotPkgInfos[0]?.parentPkgId, ids[0]);
});

test('VNFM: terminating frees all resources and keeps snapshots', async (t) => {
  const rig = await startRig(t);
  const vnf = await instantiated(rig);
  await watchAsVnf(t, rig, vnf);
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf });
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  const ended = await rig.lcm.terminateVnf({ vnfInstanceId: vnf });
  await completed(rig, ended.lifecycleOperationOccurrenceId);
  t.is(rig.world.guests.size + rig.world.volumes.size + rig.world.networks.size, 0);
  t.is(rig.world.snapshots.size, 2);
  await rig.lcm.deleteVnfIdentifier({ vnfInstanceId: vnf });
  const { vnfInstances } = await rig.lcm.queryVnf({});
  t.deepEqual(vnfInstances, []);
  const { vnfSnapshotInfoId } = taken;
  const deleted = await rig.lcm.deleteVnfSnapshotInfo({ vnfSnapshotInfoId });
  await completed(rig, deleted.lifecycleOperationOccurrenceId);
  t.is(rig.world.snapshots.size, 0);
  t.deepEqual((await rig.lcm.queryVnfSnapshotInfo({})).vnfSnapshotInfos, []);
});

test('VNFM: a snapshot takes the place of the one before, once it is whole [5.1.3.4/update]', async (t) => {
  const rig = await startRig(t);
  const vnfInstanceId = await instantiated(rig);
  await watchAsVnf(t, rig, vnfInstanceId);
  const take = async (replacesVnfSnapshotInfoId = '') => {
    const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId, replacesVnfSnapshotInfoId });
    return { id: taken.vnfSnapshotInfoId, end: taken.lifecycleOperationOccurrenceId };
  };
  const first = await take();
  await completed(rig, first.end);
  const second = await take(first.id);
  await completed(rig, second.end);
  const listed = async () =>
    (await rig.lcm.queryVnfSnapshotInfo({})).vnfSnapshotInfos.map(({ id }) => id);
  t.deepEqual(await listed(), [second.id]);
  t.true([...rig.world.snapshots.keys()].every((id) => id.startsWith(second.id)));

  rig.world.before('deleteSnapshot', `${second.id}.gateway-0`, () => {
    throw failedPrecondition('SNAPSHOT_OPEN', 'the test keeps it open');
  });
  const third = await take(second.id);
  const { warnings } = await completed(rig, third.end);
  t.regex(warnings.join(), /is not deleted: SNAPSHOT_OPEN/);
  t.deepEqual((await listed()).sort(), [second.id, third.id].sort(), 'both are listed');
});

test('VNFM: a snapshot of another VNF cannot be replaced', async (t) => {
  const rig = await startRig(t);
  const [one, other] = [await instantiated(rig), await instantiated(rig)];
  await watchAsVnf(t, rig, one);
  const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: one });
  await completed(rig, taken.lifecycleOperationOccurrenceId);
  const request = { vnfInstanceId: other, replacesVnfSnapshotInfoId: taken.vnfSnapshotInfoId };
  await throwsRpc(t, rig.lcm.createVnfSnapshot(request), {
    code: Code.FAILED_PRECONDITION,
    reason: 'SNAPSHOT_MISMATCH',
  });
});
