// A QEMU driver in a process of its own, to be killed: node serve.ts SOCKET DATA_FOLDER
import { qemuPlugin } from '../../../plugins/drivers/qemu/plugin.ts';
import { createLogger } from '../../../sdk/ports/logger.ts';
import { servePlugin } from '../../../sdk/serve-plugin.ts';

const [socket, dataFolder] = process.argv.slice(2);
if (!socket || !dataFolder) throw new Error('usage: serve.ts SOCKET DATA_FOLDER');
const served = await servePlugin(qemuPlugin, {
  address: `unix:${socket}`,
  dataFolder,
  config: undefined,
  logger: createLogger({ level: 'error' }),
});
process.stdout.write('ready\n');
process.once('SIGTERM', () => served.stop().then(() => process.exit(0)));
