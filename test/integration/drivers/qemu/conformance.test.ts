import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { declareDriverConformance } from '../../../conformance/driver/declare.ts';
import { eventually } from '../../../support/eventually.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { startDriverProcess } from '../../../support/wasmvm/driver-process.ts';
import { bootDeadlineMs, buildGuestImage, processesOf, tools } from './lab.ts';

const program = fileURLToPath(new URL('../../../support/qemu/serve.ts', import.meta.url));
const guest = {
  image: 'demo-guest',
  disks: [
    { name: 'root', image: 'demo-guest-root', boot: true },
    { name: 'data', image: 'demo-guest-data' },
  ],
};

declareDriverConformance(
  test,
  'qemu',
  async () => {
    buildGuestImage();
    const folder = await mkdtemp(join(tmpdir(), 'micromano-qemu-'));
    let driver = await startDriverProcess(folder, { program });
    return {
      transport: driver.channel,
      guests: { gateway: guest, database: guest },
      bootMs: bootDeadlineMs,
      sharesGuest: true,
      async killAndReopen() {
        await driver.kill();
        driver = await startDriverProcess(folder, { program });
        return driver.channel;
      },
      async close() {
        await driver.stop();
        for (const pid of await processesOf(folder)) process.kill(pid, 'SIGKILL');
        await eventually('all ends', async () => (await processesOf(folder)).length === 0);
        await rm(folder, { recursive: true, force: true });
      },
    };
  },
  { isReady: (t) => skipUnless(t, ...tools), skipped: [] },
);
