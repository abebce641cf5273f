import { join } from 'node:path';
import test from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { NsLcmService } from '../../../gen/nfv/ns_lcm/v1/ns_lcm_service_pb.js';
import { OperationOccurrenceService } from '../../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { ConsistencyPolicy } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { completed } from '../../support/vnfm/rig.ts';

test('nfvo: the OSS/BSS takes a snapshot of a VNF of its network service and reverts it [OsMaNfvo-Nslm.001 OsMaNfvo-Nslm.002 4.3.2/1 4.3.2/2 4.3.2/3 4.3.2/4 4.3.2/5 4.3.2/6]', async (t) => {
  const configuration = { version: 1 as const, drivers: ['wasmvm'] };
  const site = await Site.start('test', join(await tempFolder(t), 's'), configuration);
  t.teardown(() => site.stop());
  const lab = new Lab(site, () => {});
  t.teardown(() => lab.clean());
  const { id: vnfInstanceId } = await lab.instantiate('wasmvm', false);
  const { id: other } = await lab.instantiate('wasmvm', true);
  const nsLcm = site.client(NsLcmService, 'oss');
  const operations = site.client(OperationOccurrenceService, 'oss');

  const request = { nsInstanceName: 'edge', vnfInstanceIds: [vnfInstanceId], requestId: 'r-1' };
  const { nsInstance } = await nsLcm.createNsIdentifier(request);
  const again = await nsLcm.createNsIdentifier(request);
  t.is(again.nsInstance?.id, nsInstance!.id, 'a repeat is harmless');
  const nsInstanceId = nsInstance!.id;
  const { nsInstances } = await nsLcm.queryNs({ filter: '(eq,nsInstanceName,edge)' });
  t.deepEqual(nsInstances, [nsInstance!]);

  const creation = { vnfInstanceId, consistency: ConsistencyPolicy.PREFERRED };
  const taken = await nsLcm.updateNs({
    nsInstanceId,
    update: { case: 'createVnfSnapshot', value: creation },
  });
  await completed({ operations }, taken.lifecycleOperationOccurrenceId);
  const { vnfSnapshotInfoId } = taken;
  const reverted = await nsLcm.updateNs({
    nsInstanceId,
    update: { case: 'revertToVnfSnapshot', value: { vnfInstanceId, vnfSnapshotInfoId } },
  });
  await completed({ operations }, reverted.lifecycleOperationOccurrenceId);

  const foreign = nsLcm.updateNs({
    nsInstanceId,
    update: { case: 'createVnfSnapshot', value: { vnfInstanceId: other } },
  });
  await throwsRpc(t, foreign, { code: Code.FAILED_PRECONDITION, reason: 'VNF_NOT_IN_NS' });
  await throwsRpc(t, nsLcm.updateNs({ nsInstanceId }), {
    code: Code.INVALID_ARGUMENT,
    reason: 'UPDATE_MISSING',
  });
  const deleted = await nsLcm.updateNs({
    nsInstanceId,
    update: { case: 'deleteVnfSnapshotInfo', value: { vnfSnapshotInfoId } },
  });
  await completed({ operations }, deleted.lifecycleOperationOccurrenceId);
  await nsLcm.deleteNsIdentifier({ nsInstanceId });
  await throwsRpc(t, nsLcm.deleteNsIdentifier({ nsInstanceId }), {
    code: Code.NOT_FOUND,
    reason: 'NS_UNKNOWN',
  });
  const nobody = nsLcm.createNsIdentifier({ vnfInstanceIds: ['vnf-unknown0'] });
  await throwsRpc(t, nobody, { code: Code.NOT_FOUND, reason: 'VNF_UNKNOWN' });
});
