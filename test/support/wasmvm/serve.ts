// A wasmvm driver in a process of its own, to be killed: node serve.ts SOCKET DATA_FOLDER
// [CONFIG_JSON]
import { wasmvmPlugin } from '../../../plugins/drivers/wasmvm/plugin.ts';
import { createLogger } from '../../../sdk/ports/logger.ts';
import { servePlugin } from '../../../sdk/serve-plugin.ts';

const [socket, dataFolder, config = '{}'] = process.argv.slice(2);
if (!socket || !dataFolder) throw new Error('usage: serve.ts SOCKET DATA_FOLDER [CONFIG_JSON]');
const served = await servePlugin(wasmvmPlugin, {
  address: `unix:${socket}`,
  dataFolder,
  config: JSON.parse(config),
  logger: createLogger({ level: 'error' }),
});
process.stdout.write('ready\n');
process.once('SIGTERM', () => served.stop().then(() => process.exit(0)));
