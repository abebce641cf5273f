import { definePlugin } from '../../../sdk/plugin.ts';
import { openDriver } from './driver.ts';
import { driverVersion } from './service/information.ts';
import { tidyLater } from './service/snapshots.ts';
import { closeExpired } from './snapshots/openings.ts';

const expiryCheckMs = 30_000;

/** The driver for QEMU: the functional block nfvi. Its machines live on when it ends. */
export const qemuPlugin = definePlugin({
  name: 'qemu',
  role: 'nfvi',
  version: driverVersion,
  start: async (plugin) => {
    const { context, service, close } = await openDriver(plugin);
    const timer = setInterval(() => {
      closeExpired(context).then(
        (closed) => closed && tidyLater(context),
        (error) => context.logger.warn('expired data could not be closed', { error }),
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
