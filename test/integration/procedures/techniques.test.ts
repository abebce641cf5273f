import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import test, { type ExecutionContext } from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import {
  DiskTechnique,
  MemoryTechnique,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  ConsistencyPolicy,
  VnfcSnapshotDescriptorSchema,
} from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { buildGuestImage, tools } from '../drivers/qemu/lab.ts';

/** A lab whose VNF's gateway is to be captured by these techniques. */
async function labWith(
  t: ExecutionContext,
  driver: string,
  memoryTechnique: MemoryTechnique,
  diskTechnique: DiskTechnique,
) {
  const folder = join(await tempFolder(t), 's');
  const site = await Site.start('test', folder, { version: 1, drivers: [driver] });
  t.teardown(() => site.stop());
  const lab = new Lab(site, () => {});
  t.teardown(() => lab.clean());
  const vnf = await lab.instantiate(driver, false, (vnfd) => {
    const vnfc = { vduId: 'gateway', memoryTechnique, diskTechnique };
    vnfd.snapshotDescriptor!.vnfc = [create(VnfcSnapshotDescriptorSchema, vnfc)];
  });
  return { lab, vnfInstanceId: vnf.id };
}

const possible = {
  wasmvm: DiskTechnique.EXTERNAL_SEQUENTIAL,
  qemu: DiskTechnique.EXTERNAL_INCREMENTAL,
};
const impossible = {
  wasmvm: DiskTechnique.EXTERNAL_INCREMENTAL,
  qemu: DiskTechnique.INTERNAL_SEQUENTIAL,
};

for (const driver of ['wasmvm', 'qemu'] as const) {
  test.serial(
    `techniques on ${driver}: what the descriptor fixes is done, or refused [Vnfsd.006 Vnfsd.007]`,
    async (t) => {
      t.timeout(300_000);
      if (driver === 'qemu') {
        if (!skipUnless(t, ...tools)) return;
        await buildGuestImage();
      }
      const { EXTERNAL } = MemoryTechnique;
      const consistency = ConsistencyPolicy.PREFERRED;
      const good = await labWith(t, driver, EXTERNAL, possible[driver]);
      const taken = await good.lab.lcm.createVnfSnapshot({
        ...{ vnfInstanceId: good.vnfInstanceId, consistency },
      });
      await good.lab.follow(taken.lifecycleOperationOccurrenceId);
      const { vnfSnapshotInfos } = await good.lab.lcm.queryVnfSnapshotInfo({ allFields: true });
      const parts = vnfSnapshotInfos[0]!.vnfSnapshot!.vnfcSnapshots;
      const gateway = parts.find(({ vduId }) => vduId === 'gateway')!.instanceSnapshot!;
      t.is(gateway.memoryTechnique, EXTERNAL);
      t.is(gateway.diskTechnique, possible[driver]);

      const bad = await labWith(t, driver, EXTERNAL, impossible[driver]);
      const refused = bad.lab.lcm.createVnfSnapshot({
        ...{ vnfInstanceId: bad.vnfInstanceId, consistency },
      });
      await throwsRpc(t, refused, { code: Code.UNIMPLEMENTED, reason: 'CAPABILITY_MISSING' });
      t.deepEqual((await bad.lab.lcm.queryVnfSnapshotInfo({})).vnfSnapshotInfos, []);
    },
  );
}
