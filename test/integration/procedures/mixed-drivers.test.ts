import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromJsonString } from '@bufbuild/protobuf';
import { durationMs, type Timestamp, timestampMs } from '@bufbuild/protobuf/wkt';
import test from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { ConsistencyLevel } from '../../../gen/nfv/common/v1/common_pb.js';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { type Vnfd, VnfdSchema } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { buildGuestImage, tools } from '../drivers/qemu/lab.ts';

const demo = join(import.meta.dirname, '../../../app/demo');

/** The gateway of the one driver and the database of the other. */
async function mixedVnfd(): Promise<Vnfd> {
  const read = async (driver: string) =>
    fromJsonString(VnfdSchema, await readFile(join(demo, `vnfd-${driver}.json`), 'utf8'));
  const [wasmvm, qemu] = [await read('wasmvm'), await read('qemu')];
  const take = (vnfd: Vnfd, vduId: string, environment: string) => {
    const vdu = vnfd.vdu.find((candidate) => candidate.vduId === vduId)!;
    const compute = vnfd.virtualComputeDesc.find(
      ({ virtualComputeDescId: id }) => id === vdu.virtualComputeDesc,
    )!;
    vdu.virtualComputeDesc = environment;
    // Networks of two drivers cannot be connected; the barrier needs none.
    vdu.intCpd = [];
    compute.virtualComputeDescId = environment;
    compute.virtualisationEnvironment = environment;
    const storage = vnfd.virtualStorageDesc.filter(({ id }) => vdu.virtualStorageDesc.includes(id));
    return { vdu, compute, storage };
  };
  const parts = [take(wasmvm, 'gateway', 'wasmvm'), take(qemu, 'database', 'qemu')];
  const mixed = wasmvm;
  mixed.vnfdId = 'session-gateway-mixed';
  mixed.vdu = parts.map(({ vdu }) => vdu);
  mixed.virtualComputeDesc = parts.map(({ compute }) => compute);
  mixed.virtualStorageDesc = parts.flatMap(({ storage }) => storage);
  mixed.intVirtualLinkDesc = [];
  mixed.snapshotDescriptor!.createOrder = [];
  mixed.snapshotDescriptor!.revertOrder = [];
  return mixed;
}

const ms = (time: Timestamp | undefined) => (time ? timestampMs(time) : Number.NaN);

test.serial(
  'mixed drivers: a VNFC on QEMU and one on wasmvm share one barrier, and go back together',
  async (t) => {
    t.timeout(300_000);
    if (!skipUnless(t, ...tools)) return;
    await buildGuestImage();
    const folder = join(await tempFolder(t), 's');
    const site = await Site.start('test', folder, { version: 1, drivers: ['wasmvm', 'qemu'] });
    t.teardown(() => site.stop());
    const lab = new Lab(site, () => {});
    t.teardown(() => lab.clean());
    const { vnfInstance } = await lab.lcm.createVnfIdentifier({ vnfd: await mixedVnfd() });
    const vnfInstanceId = vnfInstance!.id;
    const instantiated = await lab.lcm.instantiateVnf({ vnfInstanceId });
    await lab.follow(instantiated.lifecycleOperationOccurrenceId);
    const vnf = await lab.vnf(vnfInstanceId);
    const environments = vnf.instantiatedVnfInfo!.vnfcResourceInfo.map(
      ({ vduId, computeResource }) => [vduId, computeResource!.vimLevelResourceType],
    );
    t.deepEqual(Object.fromEntries(environments), { gateway: 'wasmvm', database: 'qemu' });
    const agent = await lab.agent(vnf);
    const answer = () =>
      agent.states().then(
        () => true,
        () => false,
      );
    await eventually('the components answer', answer, 180_000);

    const taken = await lab.lcm.createVnfSnapshot({ vnfInstanceId });
    await lab.follow(taken.lifecycleOperationOccurrenceId);
    const before = agent.handled.at(-1)!.states;
    const { vnfSnapshotInfos } = await lab.lcm.queryVnfSnapshotInfo({ allFields: true });
    const { consistency, vnfcSnapshots } = vnfSnapshotInfos[0]!.vnfSnapshot!;
    t.true(vnfcSnapshots.every(({ warm }) => warm));
    t.is(consistency!.level, ConsistencyLevel.VNF_CONFIRMED);
    t.true(consistency!.commonHold);
    const times = consistency!.vnfc.map(({ holdTime, captureTime, releaseTime }) => ({
      ...{ held: ms(holdTime), captured: ms(captureTime), released: ms(releaseTime) },
    }));
    t.is(times.length, 2);
    const lastHold = Math.max(...times.map(({ held }) => held));
    t.true(
      times.every(({ captured }) => captured >= lastHold),
      'all are held before one is captured',
    );
    t.true(
      times.every(({ released }) => times.every(({ captured }) => released > captured)),
      'none is let go before all are captured',
    );
    const skew = durationMs(consistency!.skew!);
    t.is(Math.round(skew), lastHold - Math.min(...times.map(({ held }) => held)));
    t.log(`skew ${skew} ms`);

    await agent.askAll('wreck');
    const reverted = await lab.lcm.revertToVnfSnapshot({
      ...{ vnfInstanceId, vnfSnapshotInfoId: taken.vnfSnapshotInfoId },
    });
    const { operationState } = await lab.follow(reverted.lifecycleOperationOccurrenceId);
    t.is(operationState, OperationState.COMPLETED);
    const after = await agent.states();
    for (const [vnfc, { counter, generation }] of Object.entries(before)) {
      t.like(after[vnfc], { counter, generation }, vnfc);
    }
  },
);
