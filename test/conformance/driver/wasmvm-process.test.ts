import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { wasmvmGuests, wasmvmSilenceMs } from '../../support/wasmvm/conformance-options.ts';
import { startDriverProcess } from '../../support/wasmvm/driver-process.ts';
import { declareDriverConformance } from './declare.ts';

declareDriverConformance(
  test,
  'wasmvm over a socket',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'micromano-'));
    let driver = await startDriverProcess(folder);
    return {
      transport: driver.channel,
      guests: wasmvmGuests,
      silenceMs: wasmvmSilenceMs,
      async killAndReopen() {
        await driver.kill();
        driver = await startDriverProcess(folder);
        return driver.channel;
      },
      async close() {
        await driver.stop();
        await rm(folder, { recursive: true, force: true });
      },
    };
  },
  { skipped: [] },
);
