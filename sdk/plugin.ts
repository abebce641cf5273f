import type { DescService } from '@bufbuild/protobuf';
import type { Client } from './client.ts';
import type { Clock } from './ports/clock.ts';
import type { Logger } from './ports/logger.ts';
import type { Random } from './ports/random.ts';
import type { ServiceImplementation } from './server.ts';
import type { Transport } from './transport/transport.ts';

/** What the kernel gives a plugin when it starts it. */
export type PluginContext = {
  /** The name under which calls name this plugin as their target; unique in the kernel. */
  instanceId: string;
  /** A folder of its own, which exists and outlives restarts. */
  dataFolder: string;
  /** What the operator configured for this instance; the plugin checks it. */
  config: unknown;
  clock: Clock;
  random: Random;
  /** Lines carry the instance's id. */
  logger: Logger;
  /** Calls other plugins through the kernel, as this plugin; no socket is used in process. */
  transport: Transport;
  /** A typed client over `transport`. */
  client<S extends DescService>(service: S, options?: { target?: string }): Client<S>;
  /** Aborts when the plugin has to stop; `stop` is called after that. */
  signal: AbortSignal;
};

/** What a started plugin offers. */
export type RunningPlugin = {
  services: ServiceImplementation[];
  /**
   * Whether it can take calls now, asked from outside its process every few seconds. Absent:
   * always.
   */
  readiness?: () => { ready: boolean; reason?: string };
  /** Releases everything. Called once; bounded by the kernel's drain deadline. */
  stop?: () => Promise<void>;
};

/**
 * A functional block or a driver. Life cycle: defined → started → stopped.
 * The kernel starts plugins in the order of their dependencies and stops them in reverse. A `start`
 * that throws is a plugin that FAILED: nothing that depends on it starts.
 */
export type Plugin = {
  /** The kind of plugin, for example "repository"; also the instance id unless another is given. */
  name: string;
  /** The role that decides what it may call and who may call it. */
  role: string;
  /** The version of the software, for people. */
  version: string;
  /** Names or roles of plugins that must be started before. */
  dependsOn?: readonly string[];
  /** Things that it can do beyond its services, for example "live-snapshot". */
  capabilities?: readonly string[];
  start(context: PluginContext): Promise<RunningPlugin>;
};

const namePattern = /^[a-z][a-z0-9-]{0,62}$/;

/**
 * True for a name that may be a role, a plugin or an instance: lower case, digits, hyphens, at most
 * 63.
 */
export function isPluginName(name: string): boolean {
  return namePattern.test(name);
}

/**
 * Checks a plugin's definition and returns it.
 *
 * @throws TypeError for a name or role that is not lower case letters, digits and hyphens.
 */
export function definePlugin(plugin: Plugin): Plugin {
  for (const key of ['name', 'role'] as const) {
    if (!isPluginName(plugin[key])) {
      throw new TypeError(`plugin ${key} ${JSON.stringify(plugin[key])} must match ${namePattern}`);
    }
  }
  return Object.freeze({ ...plugin });
}
