import { mkdir } from 'node:fs/promises';
import { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { Driver } from '../../../plugins/drivers/wasmvm/driver.ts';
import { driverService } from '../../../plugins/drivers/wasmvm/service.ts';
import { type Client, createClient } from '../../../sdk/client.ts';
import { systemClock } from '../../../sdk/ports/clock.ts';
import { createLogger, type Logger } from '../../../sdk/ports/logger.ts';
import { systemRandom } from '../../../sdk/ports/random.ts';
import { inProcessTransport } from '../../../sdk/transport/in-process.ts';
import type { Transport } from '../../../sdk/transport/transport.ts';

export type DriverClient = Client<typeof DriverService>;

export type OpenDriver = {
  driver: Driver;
  transport: Transport;
  client: DriverClient;
  close(): Promise<void>;
};

/** Opens a wasmvm driver on a data folder, in this process and without a socket. */
export async function openDriver(
  dataFolder: string,
  config: unknown = {},
  logger: Logger = createLogger({ level: 'error' }),
): Promise<OpenDriver> {
  await mkdir(dataFolder, { recursive: true });
  const driver = await Driver.open({
    instanceId: 'wasmvm',
    dataFolder,
    config,
    clock: systemClock,
    random: systemRandom,
    logger,
  });
  const transport = inProcessTransport(driverService(driver).handle);
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= driver.close();
    return closing;
  };
  return { driver, transport, client: createClient(DriverService, transport), close };
}
