import { isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { invalidArgument } from '../../../sdk/errors.ts';
import type { PluginContext } from '../../../sdk/plugin.ts';
import { type Handlers, implement, type ServiceImplementation } from '../../../sdk/server.ts';
import { toRpcError } from './errors.ts';
import { probeHypervisor } from './machine/hypervisor.ts';
import { recover } from './recovery.ts';
import { barrierHandlers } from './service/barrier.ts';
import { computeHandlers } from './service/compute.ts';
import { dataHandlers } from './service/data.ts';
import { informationHandlers } from './service/information.ts';
import { snapshotHandlers, tidyLater } from './service/snapshots.ts';
import { storageHandlers } from './service/storage.ts';
import { type DriverConfig, DriverContext } from './state/context.ts';

/** What opening the driver needs of the plugin's context. */
export type DriverOptions = Pick<PluginContext, 'instanceId' | 'dataFolder' | 'config' | 'logger'>;

/**
 * Probes QEMU, takes over what is there, and offers the service. Closing it leaves the machines
 * running.
 */
export async function openDriver(
  plugin: DriverOptions,
): Promise<{ context: DriverContext; service: ServiceImplementation; close(): Promise<void> }> {
  const config = parseConfig(plugin.config);
  const probe = await probeHypervisor(config.program, config);
  const context = new DriverContext({ ...plugin, config, probe });
  await recover(context);
  tidyLater(context);
  const handlers = guarded({
    ...informationHandlers(context),
    ...computeHandlers(context),
    ...storageHandlers(context),
    ...barrierHandlers(context),
    ...snapshotHandlers(context),
    ...dataHandlers(context),
  });
  const service = implement(DriverService, handlers, { logger: plugin.logger });
  return { context, service, close: () => context.close() };
}

/** Where the guest image is built, unless the operator names other folders. */
function defaultImageFolder(): string {
  const cache = process.env.MICROMANO_CACHE;
  if (cache) return join(cache, 'guest-image');
  return fileURLToPath(new URL('../../../build/guest-image', import.meta.url));
}

/** Checks the operator's settings. INVALID_ARGUMENT reason CONFIG_INVALID names the key. */
function parseConfig(config: unknown): DriverConfig {
  const wrong = (text: string) => invalidArgument('CONFIG_INVALID', `qemu driver: ${text}`);
  const given = (config ?? {}) as Record<string, unknown>;
  if (typeof given !== 'object') throw wrong('config: want an object');
  const { imageFolders = [defaultImageFolder()], accelerator = 'auto', ...rest } = given;
  const { program = 'qemu-system-x86_64', snapshotFolders = [], ...more } = rest;
  const { cpuModel = 'Nehalem', machineType = '', ...unknown } = more;
  const [stranger] = Object.keys(unknown);
  if (stranger !== undefined) throw wrong(`config.${stranger}: unknown key`);
  if (!Array.isArray(imageFolders) || !imageFolders.every((path) => typeof path === 'string')) {
    throw wrong('config.imageFolders: want a list of paths');
  }
  const isPath = (path: unknown) => typeof path === 'string' && isAbsolute(path);
  if (!Array.isArray(snapshotFolders) || !snapshotFolders.every(isPath)) {
    throw wrong('config.snapshotFolders: want a list of absolute paths');
  }
  if (accelerator !== 'auto' && accelerator !== 'tcg' && accelerator !== 'kvm') {
    throw wrong('config.accelerator: want "auto", "tcg" or "kvm"');
  }
  if (typeof program !== 'string') throw wrong('config.program: want the name of a program');
  if (typeof cpuModel !== 'string') throw wrong('config.cpuModel: want a name of "-cpu help"');
  if (typeof machineType !== 'string') throw wrong('config.machineType: want a q35 machine');
  return { imageFolders, accelerator, program, snapshotFolders, cpuModel, machineType };
}

type AnyHandler = (request: never, context: never) => unknown;

/** Turns what the lower layers throw into what the contract names, in one place. */
function guarded<H extends Handlers<typeof DriverService>>(handlers: H): H {
  const entries = Object.entries(handlers as Record<string, AnyHandler>).map(([name, handler]) => [
    name,
    (request: never, context: never) => {
      const result = guard(() => handler(request, context));
      if (result instanceof Promise) {
        return result.catch((error: unknown) => {
          throw toRpcError(error);
        });
      }
      return guardedStream(result as AsyncIterable<unknown>);
    },
  ]);
  return Object.fromEntries(entries);
}

function guard<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw toRpcError(error);
  }
}

async function* guardedStream<T>(stream: AsyncIterable<T>): AsyncIterable<T> {
  try {
    yield* stream;
  } catch (error) {
    throw toRpcError(error);
  }
}
