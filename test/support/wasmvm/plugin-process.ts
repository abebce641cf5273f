// The wasmvm driver as a process that a kernel launches.
import { wasmvmPlugin } from '../../../plugins/drivers/wasmvm/plugin.ts';
import { runLaunchedPlugin } from '../../../sdk/serve-plugin.ts';

await runLaunchedPlugin(wasmvmPlugin);
