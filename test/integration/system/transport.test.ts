import test from 'ava';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { skipUnless } from '../../support/require-tool.ts';
import { problems } from '../../support/system/checker.ts';
import { SystemRig } from '../../support/system/system-rig.ts';
import { tools } from '../drivers/qemu/lab.ts';

test('system: a driver that cannot serve NBD fails the package, and nothing falls back', async (t) => {
  const rig = await SystemRig.open(t, 'wasmvm', { vnfm: { transport: 'nbd' } });
  await rig.instantiate();
  const taken = await rig.createSnapshot();
  await rig.completed(taken.lifecycleOperationOccurrenceId);
  const packed = await rig.createPackage(taken.vnfSnapshotInfoId);
  const { operationState, error } = await rig.ended(packed.lifecycleOperationOccurrenceId);
  t.is(operationState, OperationState.ROLLED_BACK);
  t.regex(error?.detail ?? '', /NBD/);
  const snapshots = [taken.vnfSnapshotInfoId];
  t.deepEqual(await problems(rig, { snapshots, packages: [], archives: [] }), []);
});

test('system: over NBD running guests are packed, and a reversion out of the package brings them back', async (t) => {
  if (!skipUnless(t, ...tools)) return;
  t.timeout(300_000);
  const rig = await SystemRig.open(t, 'qemu', { vnfm: { transport: 'nbd' } });
  // Guests outlive a site that is killed.
  t.teardown(() => rig.lab.clean());
  await rig.instantiate();
  const taken = await rig.createSnapshot();
  await rig.completed(taken.lifecycleOperationOccurrenceId);
  const packed = await rig.createPackage(taken.vnfSnapshotInfoId);
  await rig.completed(packed.lifecycleOperationOccurrenceId);
  await rig.deleteSnapshot(taken.vnfSnapshotInfoId);
  const extracted = await rig.extractPackage(packed.vnfSnapshotPkgId);
  await rig.completed(extracted.lifecycleOperationOccurrenceId);
  const reverted = await rig.revert(extracted.vnfSnapshotInfoId);
  await rig.completed(reverted.lifecycleOperationOccurrenceId);
  const snapshots = [extracted.vnfSnapshotInfoId];
  const packages = [packed.vnfSnapshotPkgId];
  t.deepEqual(await problems(rig, { snapshots, packages, archives: [] }), []);
});
