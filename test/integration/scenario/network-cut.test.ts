import { join } from 'node:path';
import test from 'ava';
import { components } from '../../../app/demo/invariant.ts';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { untilTraffic } from '../../../app/scenario/work.ts';
import { ComputeOperation, DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { buildGuestImage, tools } from '../drivers/qemu/lab.ts';

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

for (const driver of ['wasmvm', 'qemu']) {
  test.serial(
    `network cut on ${driver}: nothing gets through until the cables are plugged in again`,
    async (t) => {
      t.timeout(300_000);
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
      const vnf = await lab.instantiate(driver, false);
      const agent = await lab.agent(vnf);
      await untilTraffic(agent, 10);
      const [gateway] = vnf.instantiatedVnfInfo!.vnfcResourceInfo;
      const computeId = gateway!.computeResource!.resourceId;
      const operate = (operation: ComputeOperation) =>
        site
          .client(DriverService, 'vim')
          .operateCompute({ computeId, operation }, { target: driver });
      await operate(ComputeOperation.DISCONNECT);
      // What was on its way when the cable was pulled may still arrive.
      await sleep(300);
      const first = components(await agent.states());
      await sleep(2000);
      const second = components(await agent.states());
      t.is(second.database.counter, first.database.counter);
      t.true(second.gateway.counter - second.database.counter <= 1);
      await operate(ComputeOperation.DISCONNECT);
      await operate(ComputeOperation.CONNECT);
      await untilTraffic(agent, 10);
      await operate(ComputeOperation.STOP_FORCEFUL);
      const off = operate(ComputeOperation.DISCONNECT);
      await throwsRpc(t, off, { code: Code.FAILED_PRECONDITION, reason: 'COMPUTE_STATE' });
    },
  );
}
