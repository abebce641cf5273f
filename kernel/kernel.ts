import { resolve } from 'node:path';
import type { FileRegistry } from '@bufbuild/protobuf';
import { Health } from '../gen/grpc/health/v1/health_pb.js';
import { ServerReflection } from '../gen/grpc/reflection/v1/reflection_pb.js';
import { invalidArgument } from '../sdk/errors.ts';
import type { Plugin } from '../sdk/plugin.ts';
import { type Clock, systemClock } from '../sdk/ports/clock.ts';
import { createLogger, type Logger } from '../sdk/ports/logger.ts';
import { type Random, systemRandom } from '../sdk/ports/random.ts';
import type { ServiceImplementation } from '../sdk/server.ts';
import { methodPath } from '../sdk/services.ts';
import type { TlsMaterial } from '../sdk/transport/grpc-channel.ts';
import { inProcessTransport } from '../sdk/transport/in-process.ts';
import type { Caller } from '../sdk/transport/peer-identity.ts';
import type { Transport } from '../sdk/transport/transport.ts';
import { Descriptors } from './descriptors.ts';
import { type KernelLimits, kernelLimits } from './limits.ts';
import { Listeners } from './listeners/listeners.ts';
import { RunFolder } from './listeners/run-folder.ts';
import { attachedAddress } from './plugins/attached-address.ts';
import { childProcess } from './plugins/child-process.ts';
import { kernelName, PluginHost } from './plugins/plugin-host.ts';
import { PluginPlacement, type Plugin as PluginRecord, Registry } from './registry.ts';
import { Dispatcher } from './routing/dispatcher.ts';
import { type Policy, RouteTable } from './routing/route-table.ts';
import { RunningCalls } from './routing/running-calls.ts';
import { healthService } from './services/health.ts';
import { kernelService } from './services/kernel-service.ts';
import { reflectionService } from './services/reflection.ts';

/** The role that may administer the kernel. */
export const operatorRole = 'operator';
/** The environment of a process has little room; larger settings belong into a file. */
const configBytesMax = 64 * 1024;

export type KernelOptions = {
  /** Every plugin gets a folder of its own under "<dataFolder>/plugins". */
  dataFolder: string;
  /** Where the sockets are, one "<role>.sock" per role. One kernel per folder. */
  runFolder: string;
  /** Roles that get a socket besides "operator" and the roles of the plugins. */
  roles?: readonly string[];
  /**
   * Descriptors known from the start. They go before what plugins outside say of the same services.
   */
  descriptors?: FileRegistry;
  /** The operator's own rules; see Policy. */
  policy?: Policy;
  /** Other bounds, for tests. */
  limits?: Partial<KernelLimits>;
  clock?: Clock;
  random?: Random;
  logger?: Logger;
};

export type AttachOptions = {
  instanceId: string;
  role: string;
  /** "unix:/path", or "host:port" with `tls`. */
  address: string;
  tls?: TlsMaterial;
  dependsOn?: readonly string[];
};

export type LaunchOptions = {
  instanceId: string;
  role: string;
  /** The program and its arguments. */
  command: readonly string[];
  /** Handed over as JSON in NFV_PLUGIN_CONFIG. At most 64 KiB. */
  config?: unknown;
  /** Further environment variables. */
  environment?: Readonly<Record<string, string>>;
  dependsOn?: readonly string[];
};

/**
 * Routes calls among plugins. Life cycle: made → add, attach, launch → start → drain. What is added
 * after `start` starts at once.
 */
export interface Kernel {
  /** Takes in a plugin in this process. Its instance id is its name unless another is given. */
  add(plugin: Plugin, options?: { instanceId?: string; config?: unknown }): Promise<void>;
  /**
   * Takes in a plugin at an address. That it cannot be reached is no error: it is DOWN and tried
   * again.
   */
  attach(options: AttachOptions): Promise<void>;
  /**
   * Starts a plugin as a child process, and again when it ends. That it ends is no error either.
   */
  launch(options: LaunchOptions): Promise<void>;
  /**
   * Opens the sockets and starts the plugins. When one in this process fails, all are stopped and
   * it throws.
   */
  start(): Promise<void>;
  /**
   * Listens on "host:port" (port 0: any free one) with mutual TLS; returns the port. After `start`.
   */
  listen(address: string, tls: TlsMaterial): Promise<number>;
  /** Calls services as somebody in this process. */
  transportFor(caller: Caller): Transport;
  /** The socket of a role. */
  socketOf(role: string): string;
  plugins(): PluginRecord[];
  /**
   * Stops accepting, lets calls finish for that long (10 s), stops the plugins in reverse. A repeat
   * waits for the first.
   */
  drain(deadlineMs?: number): Promise<void>;
  /** Resolves when the kernel has drained, whoever asked for it. */
  readonly stopped: Promise<void>;
}

/** Makes a kernel; it does nothing before `start`. */
export function createKernel(options: KernelOptions): Kernel {
  return new MicroKernel(options);
}

class MicroKernel implements Kernel {
  readonly stopped: Promise<void>;
  readonly #options: KernelOptions;
  readonly #limits: KernelLimits;
  readonly #logger: Logger;
  readonly #registry: Registry;
  readonly #routes: RouteTable;
  readonly #descriptors: Descriptors;
  readonly #dispatcher: Dispatcher;
  readonly #listeners: Listeners;
  readonly #host: PluginHost;
  readonly #running = new RunningCalls();
  #runFolder: RunFolder | undefined;
  #pluginStarts = 0;
  #draining: Promise<void> | undefined;
  #resolveStopped!: () => void;

  constructor(options: KernelOptions) {
    this.#options = options;
    this.#limits = { ...kernelLimits, ...options.limits };
    this.#logger = options.logger ?? createLogger();
    const clock = options.clock ?? systemClock;
    this.#registry = new Registry(clock, this.#limits.pluginsMax);
    this.#routes = new RouteTable(options.policy);
    this.#descriptors = new Descriptors(options.descriptors);
    this.#dispatcher = new Dispatcher({
      routes: this.#routes,
      running: this.#running,
      hopsMax: this.#limits.hopsMax,
      isPluginRole: (role) => this.#registry.hasRole(role),
    });
    this.#listeners = new Listeners(this.#dispatcher);
    this.#host = new PluginHost({
      dataFolder: resolve(options.dataFolder),
      registry: this.#registry,
      routes: this.#routes,
      descriptors: this.#descriptors,
      dispatcher: this.#dispatcher,
      listeners: this.#listeners,
      limits: this.#limits,
      clock,
      random: options.random ?? systemRandom,
      logger: this.#logger,
    });
    this.stopped = new Promise((resolve) => {
      this.#resolveStopped = resolve;
    });
  }

  async add(plugin: Plugin, options?: { instanceId?: string; config?: unknown }): Promise<void> {
    this.#host.add(plugin, options);
    await this.#startLate(plugin.role);
  }

  async attach(options: AttachOptions): Promise<void> {
    const { instanceId, role, address, tls, dependsOn = [] } = options;
    const placement = PluginPlacement.ATTACHED;
    const connector = attachedAddress(address, tls);
    this.#host.addRemote({ instanceId, role, dependsOn, placement, connector });
    await this.#startLate(role);
  }

  async launch(options: LaunchOptions): Promise<void> {
    const { instanceId, role, command, dependsOn = [] } = options;
    const placement = PluginPlacement.CHILD_PROCESS;
    const config = JSON.stringify(options.config ?? {});
    if (Buffer.byteLength(config) > configBytesMax) {
      const above = `is above ${configBytesMax} bytes: put it into a file`;
      const text = `the configuration of ${instanceId} ${above}`;
      throw invalidArgument('OPTION_INVALID', text, { option: 'config' });
    }
    const runFolder = resolve(this.#options.runFolder);
    const connector = childProcess({
      instanceId,
      command,
      environment: {
        ...options.environment,
        NFV_PLUGIN_INSTANCE: instanceId,
        NFV_PLUGIN_CONFIG: config,
        NFV_PLUGIN_DATA: resolve(this.#options.dataFolder, 'plugins', instanceId),
        NFV_KERNEL_ADDRESS: `unix:${RunFolder.socketIn(runFolder, role)}`,
      },
      nextSocketPath: () => this.#folder().pluginSocket(instanceId, ++this.#pluginStarts),
      startMs: this.#limits.startMs,
      logger: this.#logger.child({ plugin: instanceId }),
    });
    this.#host.addRemote({ instanceId, role, dependsOn, placement, connector });
    await this.#startLate(role);
  }

  async start(): Promise<void> {
    this.#runFolder = await RunFolder.open(this.#options.runFolder);
    this.#serveOwn();
    for (const service of this.#descriptors.services.values()) {
      for (const method of service.methods) this.#listeners.register(methodPath(method));
    }
    const roles = this.#registry.list().map(({ role }) => role);
    try {
      for (const role of new Set([operatorRole, ...(this.#options.roles ?? []), ...roles])) {
        await this.#listeners.openRole(this.#runFolder, role);
      }
      await this.#host.startAll();
    } catch (thrown) {
      await this.drain(0);
      throw thrown;
    }
    // A drain may have been asked for while the plugins started.
    if (this.#dispatcher.phase === 'starting') this.#dispatcher.phase = 'serving';
    this.#registry.touch();
  }

  async listen(address: string, tls: TlsMaterial): Promise<number> {
    return this.#listeners.openTls(address, tls);
  }

  transportFor(caller: Caller): Transport {
    return inProcessTransport(this.#dispatcher.handlerFor(caller, true));
  }

  socketOf(role: string): string {
    return RunFolder.socketIn(resolve(this.#options.runFolder), role);
  }

  plugins(): PluginRecord[] {
    return this.#registry.list();
  }

  drain(deadlineMs = this.#limits.drainMs): Promise<void> {
    this.#draining ??= this.#drain(deadlineMs).finally(this.#resolveStopped);
    return this.#draining;
  }

  async #drain(deadlineMs: number): Promise<void> {
    this.#dispatcher.phase = 'draining';
    this.#registry.close();
    const calls = this.#running;
    const streamsMs = Math.min(this.#limits.drainStreamsMs, deadlineMs);
    const streams = setTimeout(() => calls.cut((c) => c.outside && c.endless), streamsMs);
    const rest = setTimeout(() => calls.cut((c) => c.outside), deadlineMs);
    await calls.idle();
    clearTimeout(streams);
    clearTimeout(rest);
    await this.#host.stopAll(this.#limits.stopMs);
    calls.cut(() => true);
    await this.#listeners.close(this.#limits.drainStreamsMs);
    this.#runFolder?.close();
  }

  /** Starts what was added after `start`. */
  async #startLate(role: string): Promise<void> {
    if (this.#dispatcher.phase !== 'serving') return;
    await this.#listeners.openRole(this.#folder(), role);
    await this.#host.startAll();
  }

  #folder(): RunFolder {
    if (this.#runFolder) return this.#runFolder;
    throw new Error('the kernel has not started');
  }

  /**
   * Health and reflection are for everybody who is authenticated; the administration has its own
   * exposure.
   */
  #serveOwn(): void {
    const [registry, routes] = [this.#registry, this.#routes];
    const serving = () => this.#dispatcher.phase === 'serving';
    const own: ServiceImplementation[] = [
      healthService({ registry, routes, serving }),
      reflectionService(routes, this.#descriptors),
      kernelService({ registry, routes, startDrain: (ms) => this.#startDrain(ms) }),
    ];
    const services = new Map(own.map(({ service }) => [service.typeName, service]));
    for (const service of services.values()) this.#descriptors.add(service);
    routes.set({
      instanceId: kernelName,
      role: kernelName,
      services,
      openServices: new Set([Health.typeName, ServerReflection.typeName]),
      handle: (call) => {
        const implementation = own.find(({ service }) =>
          call.path.startsWith(`/${service.typeName}/`),
        );
        return (implementation as ServiceImplementation).handle(call);
      },
    });
  }

  #startDrain(deadlineMs: number | undefined): number {
    // The call that asks for it is not one to wait for.
    const running = this.#running.outsideCount - 1;
    void this.drain(deadlineMs).catch((error) => this.#logger.error('the drain failed', { error }));
    return running;
  }
}
