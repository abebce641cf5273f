// The conformance kit as a command, for drivers in any language:
//
//     npm run conformance -- GUESTS.json PROGRAM [ARGUMENT…]
//
// Starts PROGRAM as `mano serve` would (proto/nfv/plugin/v1), runs all checks against it through a kernel and kills it
// where a check asks for that. GUESTS.json says what the demo VNF's components are made of on this driver; see
// profile.ts. Exit code 0: nothing failed; 1: a check failed; 2: wrong usage.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { createKernel, type Kernel } from '../../../kernel/kernel.ts';
import { PluginState } from '../../../kernel/registry.ts';
import { createLogger } from '../../../sdk/ports/logger.ts';
import type { ConformanceOptions } from './profile.ts';
import { runDriverConformance } from './run.ts';

type Guests = Pick<ConformanceOptions, 'guests' | 'bootMs' | 'silenceMs'>;

const target = 'driver';
/** How long the driver may take to be ready, first and after it was killed. */
const readyMsMax = 60_000;
/** It is killed often. */
const restartsInARowMax = 1000;

/** Reads the file; sizes are plain numbers there. */
async function readGuests(path: string): Promise<Guests> {
  const text = await readFile(path, 'utf8');
  return JSON.parse(text, (key, value) => (key === 'sizeBytes' ? BigInt(value) : value));
}

async function readDescriptors() {
  const bytes = await readFile(join(import.meta.dirname, '../../../gen/descriptors.binpb'));
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
}

async function untilReady(kernel: Kernel, hasRestarted: () => Promise<boolean>): Promise<void> {
  const untilMs = performance.now() + readyMsMax;
  for (;;) {
    const { state, reason } = kernel.plugins().find(({ instanceId }) => instanceId === target)!;
    if (state === PluginState.READY && (await hasRestarted())) return;
    if (state === PluginState.FAILED || performance.now() > untilMs) {
      throw new Error(`the driver is ${PluginState[state]}: ${reason}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function main(guestsFile: string, command: string[]): Promise<number> {
  const options = await readGuests(guestsFile);
  const folder = await mkdtemp(join(tmpdir(), 'micromano-kit-'));
  const pidFile = join(folder, 'pid');
  const kernel = createKernel({
    dataFolder: join(folder, 'data'),
    runFolder: join(folder, 'run'),
    limits: { restartsInARowMax },
    descriptors: await readDescriptors(),
    logger: createLogger({ level: 'error' }),
  });
  // The shell says under which number it runs, then becomes the driver.
  const shell = ['sh', '-c', 'echo $$ >"$0"; exec "$@"', pidFile];
  await kernel.launch({ instanceId: target, role: 'nfvi', command: [...shell, ...command] });
  const transport = kernel.transportFor({ role: 'vim', identity: 'kit' });
  const killAndReopen = async () => {
    const pid = Number(await readFile(pidFile, 'utf8'));
    await writeFile(pidFile, '');
    process.kill(pid, 'SIGKILL');
    await untilReady(kernel, async () => (await readFile(pidFile, 'utf8')) !== '');
    return transport;
  };
  try {
    await kernel.start();
    await untilReady(kernel, async () => true);
    const count = { passed: 0, failed: 0, skipped: 0 };
    await runDriverConformance(
      { ...options, transport, target, killAndReopen },
      {
        onResult: ({ title, outcome, reason }) => {
          count[outcome]++;
          console.log(`${outcome}: ${title}${reason && ` (${reason})`}`);
        },
      },
    );
    console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
    return count.failed === 0 ? 0 : 1;
  } finally {
    await kernel.drain(0);
    await rm(folder, { recursive: true, force: true });
  }
}

const [guestsFile, ...command] = process.argv.slice(2);
if (!guestsFile || command.length === 0) {
  console.error('usage: npm run conformance -- GUESTS.json PROGRAM [ARGUMENT…]');
  process.exit(2);
}
const code = await main(guestsFile, command).catch((error: Error) => {
  console.error(error.message);
  return 1;
});
process.exit(code);
