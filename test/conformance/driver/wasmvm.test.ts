import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { wasmvmGuests, wasmvmSilenceMs } from '../../support/wasmvm/conformance-options.ts';
import { openDriver } from '../../support/wasmvm/open-driver.ts';
import { declareDriverConformance, killingChecks } from './declare.ts';

declareDriverConformance(
  test,
  'wasmvm in process',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'micromano-'));
    const driver = await openDriver(folder);
    return {
      transport: driver.transport,
      guests: wasmvmGuests,
      silenceMs: wasmvmSilenceMs,
      async close() {
        await driver.close();
        await rm(folder, { recursive: true, force: true });
      },
    };
  },
  { skipped: killingChecks },
);
