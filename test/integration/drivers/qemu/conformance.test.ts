import test from 'ava';
import { openDriver } from '../../../../plugins/drivers/qemu/driver.ts';
import { silentLogger } from '../../../../sdk/ports/logger.ts';
import { inProcessTransport } from '../../../../sdk/transport/in-process.ts';
import { runDriverConformance } from '../../../conformance/driver/run.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { bootDeadlineMs, buildGuestImage, dataFolder, tools } from './lab.ts';

/**
 * With the other files beside this one these cover the contract; each further check boots guests of
 * its own.
 */
const concerns = ['identity §', 'errors §', 'volumes §', 'idempotency §', 'recovery §'];
const guest = {
  image: 'demo-guest',
  disks: [
    { name: 'root', image: 'demo-guest-root', boot: true },
    { name: 'data', image: 'demo-guest-data' },
  ],
};

for (const only of concerns) {
  test.serial(`qemu keeps the contract of drivers: ${only}`, async (t) => {
    if (!skipUnless(t, ...tools)) return;
    buildGuestImage();
    const folder = await dataFolder(t);
    const open = () =>
      openDriver({
        instanceId: 'qemu',
        dataFolder: folder,
        config: undefined,
        logger: silentLogger,
      });
    let driver = await open();
    t.teardown(() => driver.close());
    const results = await runDriverConformance(
      {
        transport: inProcessTransport(driver.service.handle),
        guests: { gateway: guest, database: guest },
        bootMs: bootDeadlineMs,
        killAndReopen: async () => {
          await driver.close();
          driver = await open();
          return inProcessTransport(driver.service.handle);
        },
      },
      { only },
    );
    t.true(results.length > 0);
    for (const { title, outcome, reason } of results) {
      if (outcome === 'skipped') t.log(`skipped: ${title}: ${reason}`);
      t.not(outcome, 'failed', `${title}: ${reason}`);
    }
  });
}
