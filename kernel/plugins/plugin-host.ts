import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DescService } from '@bufbuild/protobuf';
import { createClient } from '../../sdk/client.ts';
import { invalidArgument, unavailable } from '../../sdk/errors.ts';
import { isPluginName, type Plugin, type PluginContext } from '../../sdk/plugin.ts';
import type { Clock } from '../../sdk/ports/clock.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import type { Random } from '../../sdk/ports/random.ts';
import { methodPath } from '../../sdk/services.ts';
import { inProcessTransport } from '../../sdk/transport/in-process.ts';
import type { ByteHandler } from '../../sdk/transport/transport.ts';
import { dependencyOrder } from '../dependency-order.ts';
import type { Descriptors } from '../descriptors.ts';
import type { KernelLimits } from '../limits.ts';
import type { Listeners } from '../listeners/listeners.ts';
import { PluginPlacement, PluginState, type Registry } from '../registry.ts';
import type { Dispatcher } from '../routing/dispatcher.ts';
import type { RouteTable } from '../routing/route-table.ts';
import { draining } from '../routing/running-calls.ts';
import type { Connector } from './connector.ts';
import { InProcessPlugin } from './in-process-plugin.ts';
import { RemotePlugin } from './remote-plugin.ts';

/** The role, and the instance id, of the kernel's own services. */
export const kernelName = 'kernel';

/** What the host works with. */
export type HostParts = {
  dataFolder: string;
  registry: Registry;
  routes: RouteTable;
  descriptors: Descriptors;
  dispatcher: Dispatcher;
  listeners: Listeners;
  limits: KernelLimits;
  clock: Clock;
  random: Random;
  logger: Logger;
};

/** A plugin outside, as it was configured. */
export type RemoteEntry = {
  instanceId: string;
  role: string;
  placement: PluginPlacement;
  dependsOn: readonly string[];
  connector: Connector;
};

type Managed = {
  instanceId: string;
  name: string;
  role: string;
  dependsOn: readonly string[];
  start(): Promise<void>;
  stop(graceMs: number): Promise<void>;
};

/** Starts the plugins in the order of their dependencies, and stops them in reverse. */
export class PluginHost {
  readonly #parts: HostParts;
  readonly #managed: Managed[] = [];
  readonly #started: Managed[] = [];
  #stopping = false;

  constructor(parts: HostParts) {
    this.#parts = parts;
  }

  /** Takes in a plugin that runs in this process. */
  add(plugin: Plugin, options: { instanceId?: string; config?: unknown } = {}): string {
    const instanceId = options.instanceId ?? plugin.name;
    assertName(instanceId, 'instanceId');
    const { name, role, version, dependsOn = [], capabilities = [] } = plugin;
    const placement = PluginPlacement.IN_PROCESS;
    const entry = { instanceId, name, role, version, dependsOn, capabilities, placement };
    this.#parts.registry.add(entry);
    const running = new InProcessPlugin(plugin, this.#context(instanceId, role, options.config));
    this.#managed.push({
      ...entry,
      start: () => this.#startInProcess(instanceId, role, running),
      stop: (graceMs) => running.stop(graceMs, this.#parts.logger),
    });
    return instanceId;
  }

  /** Takes in a plugin outside this process. */
  addRemote(entry: RemoteEntry): void {
    const { instanceId, role, dependsOn, placement } = entry;
    assertName(instanceId, 'instanceId');
    assertName(role, 'role');
    const { registry, limits, clock, logger } = this.#parts;
    registry.add({ instanceId, name: instanceId, role, dependsOn, placement });
    const plugin = new RemotePlugin({
      ...{ instanceId, role, registry, limits, clock, connector: entry.connector },
      logger: logger.child({ plugin: instanceId }),
      onInfo: (info) => {
        const { services, descriptorSet } = info;
        const adopted = this.#parts.descriptors.adopt(instanceId, services, descriptorSet);
        this.#serve(instanceId, role, adopted, (call) => plugin.handle(call));
        return adopted;
      },
    });
    this.#managed.push({
      ...{ instanceId, role, dependsOn, name: instanceId },
      start: () => plugin.start(),
      stop: (graceMs) => plugin.stop(graceMs),
    });
  }

  /** Starts all that is not started. Throws what the first failing plugin threw. */
  async startAll(): Promise<void> {
    for (const managed of dependencyOrder(this.#managed)) {
      if (this.#started.includes(managed)) continue;
      // The kernel may be told to stop while it starts.
      if (this.#stopping) throw draining();
      // Also one whose start fails halfway has to be stopped.
      this.#started.push(managed);
      await mkdir(this.#dataFolder(managed.instanceId), { recursive: true, mode: 0o700 });
      await managed.start();
    }
  }

  /** Stops all, the last started first; each may take that long. Never rejects. */
  async stopAll(graceMs: number): Promise<void> {
    const { registry } = this.#parts;
    this.#stopping = true;
    for (const managed of this.#started.splice(0).reverse()) {
      const failed = registry.state(managed.instanceId) === PluginState.FAILED;
      const reason = 'the kernel stops';
      if (!failed) registry.update(managed.instanceId, { state: PluginState.STOPPING, reason });
      await managed.stop(graceMs);
      if (!failed) registry.update(managed.instanceId, { state: PluginState.STOPPED, reason });
    }
  }

  async #startInProcess(instanceId: string, role: string, plugin: InProcessPlugin): Promise<void> {
    const { registry, descriptors, logger } = this.#parts;
    registry.update(instanceId, { reason: 'starting' });
    try {
      const services = await plugin.start();
      for (const service of services.values()) descriptors.add(service);
      this.#serve(instanceId, role, services, (call) => plugin.handle(call));
      registry.update(instanceId, {
        state: PluginState.READY,
        reason: '',
        services: [...services.keys()],
      });
    } catch (thrown) {
      if (this.#stopping) throw thrown;
      registry.update(instanceId, { state: PluginState.FAILED, reason: (thrown as Error).message });
      logger.error('a plugin did not start', { plugin: instanceId, error: thrown });
      throw thrown;
    }
  }

  /** Opens the routes to an instance. */
  #serve(
    instanceId: string,
    role: string,
    services: ReadonlyMap<string, DescService>,
    handle: ByteHandler,
  ): void {
    const { routes, listeners, registry } = this.#parts;
    routes.set({ instanceId, role, services, handle: whenReady(registry, instanceId, handle) });
    for (const service of services.values()) {
      for (const method of service.methods) listeners.register(methodPath(method));
    }
  }

  #context(instanceId: string, role: string, config: unknown): Omit<PluginContext, 'signal'> {
    const { dispatcher, clock, random, logger } = this.#parts;
    const caller = { role, identity: instanceId };
    const transport = inProcessTransport(dispatcher.handlerFor(caller, false));
    return {
      ...{ instanceId, config, clock, random, transport },
      dataFolder: this.#dataFolder(instanceId),
      logger: logger.child({ plugin: instanceId }),
      client: (service, options) => createClient(service, transport, options),
    };
  }

  #dataFolder(instanceId: string): string {
    return join(this.#parts.dataFolder, 'plugins', instanceId);
  }
}

/** Calls to a plugin that is not READY are refused, with its state and the reason. */
function whenReady(registry: Registry, instanceId: string, handle: ByteHandler): ByteHandler {
  return async (call) => {
    if (registry.state(instanceId) === PluginState.READY) return handle(call);
    const { state, reason } = registry.get(instanceId);
    const name = PluginState[state] as string;
    const text = `the plugin ${instanceId} is ${name}: ${reason}`;
    throw unavailable('PLUGIN_UNAVAILABLE', text, { target: instanceId, state: name });
  };
}

function assertName(name: string, option: string): void {
  if (isPluginName(name) && name !== kernelName) return;
  const text =
    `${option}: ${JSON.stringify(name)} must be lower-case letters, digits and hyphens, ` +
    `at most 63, and not "${kernelName}"`;
  throw invalidArgument('OPTION_INVALID', text, { option });
}
