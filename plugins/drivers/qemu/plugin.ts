import { definePlugin } from '../../../sdk/plugin.ts';
import { openDriver } from './driver.ts';
import { driverVersion } from './service/information.ts';
import { tidyLater } from './service/snapshots.ts';
import { closeExpired } from './snapshots/openings.ts';
import type { DriverContext } from './state/context.ts';

const expiryCheckMs = 10_000;

/** The driver for QEMU: the functional block nfvi. Its machines live on when it ends. */
export const qemuPlugin = definePlugin({
  name: 'qemu',
  role: 'nfvi',
  version: driverVersion,
  start: async (plugin) => {
    const { context, service, close } = await openDriver(plugin);
    const timer = setInterval(() => {
      look(context).catch((error) =>
        context.logger.warn('the look after leases and openings failed', { error }),
      );
    }, expiryCheckMs);
    timer.unref();
    return {
      services: [service],
      stop: async () => {
        clearInterval(timer);
        await close();
      },
    };
  },
});

/** What has to be seen to now and then: openings that expired, leases whose watchdog was killed. */
async function look(context: DriverContext): Promise<void> {
  await context.leases.checkKept();
  if (await closeExpired(context)) tidyLater(context);
}
