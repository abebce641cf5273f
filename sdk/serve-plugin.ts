import { chmod, mkdir } from 'node:fs/promises';
import { create, type DescService, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import * as grpc from '@grpc/grpc-js';
import { PluginService } from '../gen/nfv/plugin/v1/plugin_service_pb.js';
import { currentHops, runInCallContext } from './call-context.ts';
import { createClient } from './client.ts';
import { statusOf } from './error-status.ts';
import { Code, invalidArgument, permissionDenied, RpcError, unimplemented } from './errors.ts';
import type { Plugin, RunningPlugin } from './plugin.ts';
import { systemClock } from './ports/clock.ts';
import { createLogger, type Logger } from './ports/logger.ts';
import { systemRandom } from './ports/random.ts';
import { implement, type ServiceImplementation } from './server.ts';
import { filesOf, methodPath, parseMethodPath } from './services.ts';
import { openChannel, type TlsMaterial } from './transport/grpc-channel.ts';
import { ByteServer, type PeerHandler } from './transport/grpc-server.ts';
import { CallMetadata } from './transport/metadata.ts';
import { callerOfCertificate } from './transport/peer-identity.ts';
import { hopsKey, type Transport } from './transport/transport.ts';

/** Versions of nfv.plugin that this library speaks. */
const apiVersions = { min: 1, max: 1 };
/** How long running calls and the plugin itself may take to end. */
const stopMsDefault = 10_000;
/** On TCP only the kernel may call: it alone knows whether others may. */
const kernelRole = 'kernel';

export type ServePluginOptions = {
  instanceId?: string;
  /** Where to listen: "unix:/path", or "host:port" with `tls`. */
  address: string;
  tls?: TlsMaterial;
  /** Where the plugin's own calls go. Absent: it cannot call others. */
  kernelAddress?: string;
  dataFolder: string;
  config?: unknown;
  logger?: Logger;
  stopMs?: number;
};

/** A plugin that is being served. */
export type ServedPlugin = {
  /** The address with the port that was bound. */
  address: string;
  /** Lets running calls finish for a while, then stops the plugin. A repeat waits for the first. */
  stop(): Promise<void>;
};

/**
 * Serves a plugin at an address, for a kernel to attach.
 *
 * @throws RpcError INVALID_ARGUMENT TLS_REQUIRED, UNAVAILABLE LISTEN_FAILED, or what the plugin's
 * `start` throws.
 */
export async function servePlugin(
  plugin: Plugin,
  options: ServePluginOptions,
): Promise<ServedPlugin> {
  const instanceId = options.instanceId ?? plugin.name;
  const logger = options.logger ?? createLogger();
  const stopping = new AbortController();
  const kernel = options.kernelAddress ? openChannel(kernelChannel(options)) : undefined;
  const transport = kernel ? carryingHops(kernel) : noKernel;
  await mkdir(options.dataFolder, { recursive: true, mode: 0o700 });
  const running = await plugin.start({
    ...{ instanceId, transport, logger, clock: systemClock, random: systemRandom },
    dataFolder: options.dataFolder,
    config: options.config,
    client: (service, { target } = {}) =>
      createClient(service, transport, target ? { target } : {}),
    signal: stopping.signal,
  });
  const services = [...running.services, pluginService(plugin, instanceId, running)];
  const server = new ByteServer(handlerOf(services, options.tls !== undefined));
  for (const { service } of services) {
    for (const method of service.methods) server.register(methodPath(method));
  }
  const address = await listen(server, options);
  let stopped: Promise<void> | undefined;
  const stop = async () => {
    await server.shutdown(options.stopMs ?? stopMsDefault);
    stopping.abort();
    await running.stop?.();
    kernel?.close();
  };
  return {
    address,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

/**
 * Runs a plugin as the process that a kernel launched: settings from the environment, one line of
 * handshake on standard output, end when the kernel asks for it or is gone. See nfv.plugin.v1 for
 * the rules. Returns when the plugin has stopped.
 */
export async function runLaunchedPlugin(
  plugin: Plugin,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<void> {
  const socket = required(environment, 'NFV_PLUGIN_SOCKET');
  const served = await servePlugin(plugin, {
    address: `unix:${socket}`,
    instanceId: required(environment, 'NFV_PLUGIN_INSTANCE'),
    dataFolder: required(environment, 'NFV_PLUGIN_DATA'),
    kernelAddress: required(environment, 'NFV_KERNEL_ADDRESS'),
    config: parseConfig(environment.NFV_PLUGIN_CONFIG ?? '{}'),
  });
  const ended = new Promise<void>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
    // The kernel holds the other end open as long as it lives.
    process.stdin.on('end', resolve).on('error', resolve).resume();
  });
  process.stdout.write(`1|${apiVersions.max}|unix|${socket}|grpc\n`);
  await ended;
  await served.stop();
  process.stdin.destroy();
}

function required(environment: NodeJS.ProcessEnv, name: string): string {
  const value = environment[name];
  if (value) return value;
  const text = `${name} is not set: this program is a plugin, and a kernel has to start it`;
  throw invalidArgument('OPTION_INVALID', text, { option: name });
}

function parseConfig(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    const problem = `NFV_PLUGIN_CONFIG is not JSON: ${(thrown as Error).message}`;
    throw invalidArgument('OPTION_INVALID', problem, { option: 'NFV_PLUGIN_CONFIG' });
  }
}

function kernelChannel({ kernelAddress = '', tls }: ServePluginOptions) {
  return { address: kernelAddress, ...(tls && !kernelAddress.startsWith('unix:') ? { tls } : {}) };
}

/** Tells the kernel how far the call has come that is being served here, so that circles end. */
function carryingHops(transport: Transport): Transport {
  return {
    start: (request) => {
      const metadata = request.metadata.clone().set(hopsKey, String(currentHops()));
      return transport.start({ ...request, metadata });
    },
  };
}

const noKernel: Transport = {
  start: ({ path }) => {
    const text = `${path} cannot be called: this plugin was served without the address of a kernel`;
    const error = unimplemented('SERVICE_UNKNOWN', text, { service: path });
    return {
      send: async () => {},
      halfClose: () => {},
      cancel: () => {},
      headers: Promise.resolve(new CallMetadata()),
      responses: (async function* () {})(),
      status: Promise.resolve(statusOf(error)),
    };
  },
};

async function listen(server: ByteServer, options: ServePluginOptions): Promise<string> {
  const { address, tls } = options;
  if (address.startsWith('unix:')) {
    await server.bind(address, grpc.ServerCredentials.createInsecure());
    // The folder of the socket has to be private already; this is the second bolt.
    await chmod(address.slice('unix:'.length), 0o600);
    return address;
  }
  if (!tls) {
    const text = `the address ${address} is not a Unix socket, so it needs TLS certificates`;
    throw invalidArgument('TLS_REQUIRED', text, { address });
  }
  const pair = { private_key: Buffer.from(tls.key), cert_chain: Buffer.from(tls.certificate) };
  const credentials = grpc.ServerCredentials.createSsl(Buffer.from(tls.ca), [pair], true);
  const port = await server.bind(address, credentials);
  return address.replace(/:\d+$/, `:${port}`);
}

function handlerOf(services: readonly ServiceImplementation[], tls: boolean): PeerHandler {
  const byName = new Map(services.map((service) => [service.service.typeName, service]));
  return async (call, peer) => {
    if (tls && callerOfCertificate(peer.subjectAltName)?.role !== kernelRole) {
      const text = 'only the kernel may call a plugin: call the kernel instead';
      throw permissionDenied('NOT_EXPOSED', text, { method: call.path });
    }
    const service = byName.get(parseMethodPath(call.path)?.service ?? '');
    const hops = Number(call.metadata.get(hopsKey) ?? 0);
    if (service) return runInCallContext({ hops }, () => service.handle(call));
    throw new RpcError(Code.UNIMPLEMENTED, 'SERVICE_UNKNOWN', `${call.path} is not served here`);
  };
}

function pluginService(
  plugin: Plugin,
  instanceId: string,
  running: RunningPlugin,
): ServiceImplementation {
  const services: DescService[] = running.services.map(({ service }) => service);
  const file = filesOf(services).map(({ proto }) => proto);
  const { name, role, version, capabilities = [] } = plugin;
  return implement(PluginService, {
    async getPluginInfo() {
      return {
        ...{ name, role, instanceId, version },
        capabilities: [...capabilities],
        apiVersionMin: apiVersions.min,
        apiVersionMax: apiVersions.max,
        services: services.map(({ typeName }) => typeName),
        descriptorSet: toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file })),
      };
    },
    async probe() {
      return running.readiness?.() ?? { ready: true };
    },
  });
}
