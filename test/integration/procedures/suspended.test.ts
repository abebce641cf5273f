import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { askComponent } from '../../../app/demo/vnf-channel.ts';
import { ComputeOperation, DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { ConsistencyPolicy } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { buildGuestImage, tools } from '../drivers/qemu/lab.ts';

const { RUNNING, PAUSED } = ComputeState;

const suspended = test.macro({
  title: (_given, driver: 'wasmvm' | 'qemu') =>
    `procedures on ${driver}: a suspended component is captured with its memory, stays suspended, and comes back suspended`,
  exec: async (t: ExecutionContext, driver: 'wasmvm' | 'qemu') => {
    if (driver === 'qemu') {
      if (!skipUnless(t, ...tools)) return;
      await buildGuestImage();
    }
    const site = await Site.start('test', join(await tempFolder(t), 's'), {
      version: 1,
      drivers: [driver],
    });
    t.teardown(() => site.stop());
    const lab = new Lab(site, () => {});
    t.teardown(() => lab.clean());
    const { id: vnfInstanceId } = await lab.instantiate(driver, false, (vnfd) => {
      vnfd.snapshotDescriptor!.consistency = ConsistencyPolicy.UNSPECIFIED;
    });
    const vnf = await lab.vnf(vnfInstanceId);
    const client = site.client(DriverService, 'vim');
    const computeOf = (vdu: string) =>
      vnf.instantiatedVnfInfo!.vnfcResourceInfo.find(({ vduId }) => vduId === vdu)!.computeResource!
        .resourceId;
    const computeId = computeOf('gateway');
    // The database alone: a suspended component does not answer.
    const counter = async () => {
      const asked = { computeId: computeOf('database') };
      const { compute } = await client.getCompute(asked, { target: driver });
      return (await askComponent(compute!.vnfChannel, 'status')).counter;
    };
    const reaches = (least: number) => () =>
      counter().then(
        (now) => now >= least,
        () => false,
      );
    await eventually('the components work', reaches(3), 180_000);
    const state = async () =>
      (await client.getCompute({ computeId }, { target: driver })).compute!.state;
    const operate = (operation: ComputeOperation) =>
      client.operateCompute({ computeId, operation }, { target: driver });

    await operate(ComputeOperation.PAUSE);
    const consistency = ConsistencyPolicy.PREFERRED;
    const { plan } = await lab.lcm.createVnfSnapshot({
      ...{ vnfInstanceId, consistency, validateOnly: true },
    });
    t.regex(plan!.fallbacks.map(({ reason }) => reason).join(), /is suspended/);
    const taken = await lab.lcm.createVnfSnapshot({ vnfInstanceId, consistency });
    const creation = await lab.follow(taken.lifecycleOperationOccurrenceId);
    t.is(creation.operationState, OperationState.COMPLETED);
    t.is(await state(), PAUSED);
    const { vnfSnapshotInfoId } = taken;
    const { vnfSnapshotInfos } = await lab.lcm.queryVnfSnapshotInfo({
      ...{ filter: `(eq,id,${vnfSnapshotInfoId})`, allFields: true },
    });
    const parts = vnfSnapshotInfos[0]!.vnfSnapshot!.vnfcSnapshots;
    const states = parts.map(({ vduId, warm, instanceSnapshot }) => [
      vduId,
      [warm, instanceSnapshot!.stateWhenTaken],
    ]);
    t.deepEqual(Object.fromEntries(states), { gateway: [true, PAUSED], database: [true, RUNNING] });

    const before = await client
      .operateCompute({ computeId, operation: ComputeOperation.UNPAUSE }, { target: driver })
      .then(counter);
    await eventually('the components work on', reaches(before + 20), 180_000);
    const reverted = await lab.lcm.revertToVnfSnapshot({ vnfInstanceId, vnfSnapshotInfoId });
    const reversion = await lab.follow(reverted.lifecycleOperationOccurrenceId);
    t.is(reversion.operationState, OperationState.COMPLETED);
    t.is(await state(), PAUSED, 'it is suspended again');
    t.true((await counter()) < before + 20, 'the database is where it was');

    const changeStateTo = VnfState.STARTED;
    const started = await lab.lcm.operateVnf({ vnfInstanceId, changeStateTo });
    await lab.follow(started.lifecycleOperationOccurrenceId);
    t.is(await state(), RUNNING);
    await eventually('the components work again', reaches(before + 20), 180_000);
  },
});

test.serial(suspended, 'wasmvm');
test.serial(suspended, 'qemu');
