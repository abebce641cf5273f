import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { SnapshotType } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { watchAsVnf } from '../../support/vnfm/fake-vnf.ts';
import { completed, demoVnfd, instantiated, startRig } from '../../support/vnfm/rig.ts';

test('restrictions: what must not leave is not exported, and what must not be captured is not', async (t) => {
  const rig = await startRig(t);
  const restrictions = [
    { reason: 'subscriber keys', vduIds: ['gateway'], noMemory: true },
    { reason: 'data stay in the country', vduIds: ['database'], noExport: true },
  ];
  const externalData = [{ name: 'billing database' }];
  const vnf = await instantiated(rig, demoVnfd({ restrictions, externalData }));
  await watchAsVnf(t, rig, vnf);
  const pack = async (vnfcInstanceIds: string[]) => {
    const taken = await rig.lcm.createVnfSnapshot({ vnfInstanceId: vnf, vnfcInstanceIds });
    await completed(rig, taken.lifecycleOperationOccurrenceId);
    const { vnfSnapshotInfoId } = taken;
    const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
    await completed(rig, packed.lifecycleOperationOccurrenceId);
    return { vnfSnapshotInfoId, vnfSnapshotPkgId: packed.vnfSnapshotPkgId };
  };
  const whole = await pack([]);
  const filter = `(eq,id,${whole.vnfSnapshotInfoId})`;
  const { vnfSnapshotInfos } = await rig.lcm.queryVnfSnapshotInfo({ filter, allFields: true });
  const { excluded, vnfcSnapshots, vnfd } = vnfSnapshotInfos[0]!.vnfSnapshot!;
  t.deepEqual(excluded, [
    'gateway-0/memory: subscriber keys',
    'billing database: kept outside the VNF',
  ]);
  t.deepEqual(
    vnfcSnapshots.map(({ vduId, warm }) => [vduId, warm]),
    [
      ['gateway', false],
      ['database', true],
    ],
  );
  t.is(vnfd!.snapshotDescriptor!.restrictions.length, 2, 'they stand in the snapshot');
  const location = join(rig.folder, 'a.zip');
  const { vnfSnapshotPkgId } = whole;
  const refused = rig.packages.exportVnfSnapshotPackage({ vnfSnapshotPkgId, location });
  const error = await throwsRpc(t, refused, {
    ...{ code: Code.FAILED_PRECONDITION, reason: 'EXPORT_RESTRICTED' },
  });
  t.regex(error.message, /data stay in the country/);
  t.false((await readdir(rig.folder)).includes('a.zip'));
  const part = await pack(['gateway-0']);
  const exported = await rig.packages.exportVnfSnapshotPackage({
    ...{ vnfSnapshotPkgId: part.vnfSnapshotPkgId, location },
  });
  await completed(rig, exported.lifecycleOperationOccurrenceId);
});

test('restrictions: those that make no sense are refused with their path', async (t) => {
  const rig = await startRig(t);
  const vnfd = demoVnfd({
    restrictions: [
      { reason: 'nothing' },
      { reason: 'nobody', vduIds: ['nobody'], noExport: true },
      { reason: 'keys', vduIds: ['gateway'], noMemory: true },
    ],
    vnfc: [{ vduId: 'gateway', type: SnapshotType.WARM }],
  });
  const error = await throwsRpc(t, rig.lcm.createVnfIdentifier({ vnfd }), {
    ...{ code: Code.INVALID_ARGUMENT, reason: 'VNFD_INVALID' },
  });
  t.deepEqual(error.violations.map(({ field }) => field).sort(), [
    'snapshotDescriptor.restrictions[0]',
    'snapshotDescriptor.restrictions[1].vduIds[0]',
    'snapshotDescriptor.vnfc[0].type',
  ]);
});
