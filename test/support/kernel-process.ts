/**
 * A kernel with one plugin process, to be killed by a test. Prints the pid of the plugin process.
 */
import { fileURLToPath } from 'node:url';
import { createKernel } from '../../kernel/kernel.ts';
import { createClient } from '../../sdk/client.ts';
import { silentLogger } from '../../sdk/ports/logger.ts';
import { echoDesc } from './echo-service.ts';

const [dataFolder = '', runFolder = ''] = process.argv.slice(2);
const program = fileURLToPath(new URL('./echo-plugin-process.ts', import.meta.url));
const kernel = createKernel({ dataFolder, runFolder, logger: silentLogger });
await kernel.launch({ instanceId: 'echo', role: 'echo', command: [process.execPath, program] });
await kernel.start();
const transport = kernel.transportFor({ role: 'tester', identity: 'test' });
const { text } = await createClient(echoDesc().service, transport).whoAmI({});
console.log(text.split(' ')[1]);
