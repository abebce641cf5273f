import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { createKernel, type Kernel, type KernelOptions } from '../../kernel/kernel.ts';
import { definePlugin, type Plugin } from '../../sdk/plugin.ts';
import { silentLogger } from '../../sdk/ports/logger.ts';
import { type GrpcChannel, openChannel } from '../../sdk/transport/grpc-channel.ts';
import {
  type EchoExposure,
  type EchoLog,
  echoDesc,
  echoImplementation,
  newEchoLog,
} from './echo-service.ts';
import { tempFolder } from './temp-folder.ts';

/** A kernel in a folder of its own, drained when the test ends. It is not started. */
export async function testKernel(
  t: ExecutionContext,
  options: Partial<KernelOptions> = {},
): Promise<Kernel> {
  const folder = await tempFolder(t);
  const kernel = createKernel({
    dataFolder: join(folder, 'data'),
    runFolder: join(folder, 'run'),
    logger: silentLogger,
    ...options,
  });
  t.teardown(() => kernel.drain(0));
  return kernel;
}

/** A channel to the socket of a role, closed when the test ends. */
export function roleChannel(t: ExecutionContext, kernel: Kernel, role: string): GrpcChannel {
  const channel = openChannel({ address: `unix:${kernel.socketOf(role)}` });
  t.teardown(() => channel.close());
  return channel;
}

/**
 * A plugin that serves the echo service; every authenticated role may call it unless told
 * otherwise.
 */
export function echoPlugin(
  options: { name?: string; role?: string; exposures?: EchoExposure[]; log?: EchoLog } = {},
): Plugin {
  const { name = 'echo', role = 'echo', log = newEchoLog() } = options;
  const { service } = echoDesc(options.exposures ?? [{ producer: role, consumers: ['*'] }]);
  return definePlugin({
    ...{ name, role, version: '1.0.0' },
    start: async ({ instanceId }) => ({ services: [echoImplementation(service, log, instanceId)] }),
  });
}
