import { definePlugin } from '../../../sdk/plugin.ts';
import { Driver } from './driver.ts';
import { driverVersion } from './messages.ts';
import { driverService } from './service.ts';

/**
 * The embedded driver: micro-VMs whose guests are WebAssembly programs, all in one thread of this
 * process. It needs nothing but Node. Configuration: see `WasmvmConfig` in config.ts.
 */
export const wasmvmPlugin = definePlugin({
  name: 'wasmvm',
  role: 'nfvi',
  version: driverVersion,
  async start(context) {
    const driver = await Driver.open(context);
    return { services: [driverService(driver)], stop: () => driver.close() };
  },
});
