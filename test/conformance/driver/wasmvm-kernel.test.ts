import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { createKernel } from '../../../kernel/kernel.ts';
import { wasmvmPlugin } from '../../../plugins/drivers/wasmvm/plugin.ts';
import { silentLogger } from '../../../sdk/ports/logger.ts';
import { openChannel } from '../../../sdk/transport/grpc-channel.ts';
import { wasmvmGuests, wasmvmSilenceMs } from '../../support/wasmvm/conformance-options.ts';
import { declareDriverConformance, killingChecks } from './declare.ts';

declareDriverConformance(
  test,
  'wasmvm through the kernel',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'micromano-'));
    const kernel = createKernel({
      dataFolder: join(folder, 'data'),
      runFolder: join(folder, 'run'),
      roles: ['vim'],
      logger: silentLogger,
    });
    await kernel.add(wasmvmPlugin);
    await kernel.start();
    const transport = openChannel({ address: `unix:${kernel.socketOf('vim')}` });
    return {
      transport,
      target: 'wasmvm',
      guests: wasmvmGuests,
      silenceMs: wasmvmSilenceMs,
      async close() {
        transport.close();
        await kernel.drain(0);
        await rm(folder, { recursive: true, force: true });
      },
    };
  },
  { skipped: killingChecks },
);
