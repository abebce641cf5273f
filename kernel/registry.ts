import { clone, create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import {
  type Plugin,
  PluginPlacement,
  PluginSchema,
  PluginState,
} from '../gen/nfv/kernel/v1/plugin_pb.js';
import { alreadyExists, notFound, resourceExhausted } from '../sdk/errors.ts';
import type { Clock } from '../sdk/ports/clock.ts';

export { type Plugin, PluginPlacement, PluginState };

/** What is known of a plugin before it starts. */
export type PluginEntry = {
  instanceId: string;
  name: string;
  role: string;
  placement: PluginPlacement;
  version?: string;
  dependsOn?: readonly string[];
  capabilities?: readonly string[];
  address?: string;
};

type Change = Partial<
  Pick<
    Plugin,
    | 'state'
    | 'reason'
    | 'services'
    | 'capabilities'
    | 'apiVersion'
    | 'version'
    | 'name'
    | 'restartCount'
    | 'address'
  >
>;

/** A plugin and the number of its last change, by which watchers see what is new. */
export type RegistryItem = { plugin: Plugin; revision: number };

/** Every plugin that the kernel knows, in the order in which they were added. */
export class Registry {
  readonly #items = new Map<string, RegistryItem>();
  readonly #clock: Clock;
  readonly #pluginsMax: number;
  #revision = 0;
  #closed = false;
  #waiting = new Set<() => void>();

  constructor(clock: Clock, pluginsMax: number) {
    this.#clock = clock;
    this.#pluginsMax = pluginsMax;
  }

  /** @throws RpcError ALREADY_EXISTS PLUGIN_EXISTS, RESOURCE_EXHAUSTED PLUGIN_LIMIT. */
  add(entry: PluginEntry): void {
    const { instanceId } = entry;
    if (this.#items.has(instanceId)) {
      const text = `there is already a plugin with the instance id "${instanceId}"`;
      throw alreadyExists('PLUGIN_EXISTS', text, { instance_id: instanceId });
    }
    if (this.#items.size >= this.#pluginsMax) {
      const text = `the kernel takes at most ${this.#pluginsMax} plugins`;
      throw resourceExhausted('PLUGIN_LIMIT', text, { limit: String(this.#pluginsMax) });
    }
    const plugin = create(PluginSchema, {
      ...entry,
      dependsOn: [...(entry.dependsOn ?? [])],
      capabilities: [...(entry.capabilities ?? [])],
      state: PluginState.STARTING,
      reason: 'not started yet',
      stateTime: timestampFromDate(this.#clock.now()),
    });
    this.#items.set(instanceId, { plugin, revision: 0 });
    this.#changed(instanceId);
  }

  /** Changes what is known of a plugin and wakes the watchers. */
  update(instanceId: string, change: Change): void {
    const item = this.#item(instanceId);
    if (change.state !== undefined && change.state !== item.plugin.state) {
      item.plugin.stateTime = timestampFromDate(this.#clock.now());
    }
    Object.assign(item.plugin, change);
    this.#changed(instanceId);
  }

  /** A copy of one plugin. @throws RpcError NOT_FOUND PLUGIN_UNKNOWN. */
  get(instanceId: string): Plugin {
    return clone(PluginSchema, this.#item(instanceId).plugin);
  }

  /** Copies of all plugins. */
  list(): Plugin[] {
    return [...this.#items.values()].map(({ plugin }) => clone(PluginSchema, plugin));
  }

  state(instanceId: string): PluginState {
    return this.#items.get(instanceId)?.plugin.state ?? PluginState.UNSPECIFIED;
  }

  has(instanceId: string): boolean {
    return this.#items.has(instanceId);
  }

  hasRole(role: string): boolean {
    for (const { plugin } of this.#items.values()) if (plugin.role === role) return true;
    return false;
  }

  /** What changed since a revision. */
  since(revision: number): RegistryItem[] {
    return [...this.#items.values()].filter((item) => item.revision > revision);
  }

  get revision(): number {
    return this.#revision;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Resolves at the next change, when the registry closes, or when the signal aborts. */
  nextChange(signal: AbortSignal): Promise<void> {
    if (this.#closed || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  /** Wakes those who wait for a change of the kernel itself. */
  touch(): void {
    this.#wakeAll();
  }

  /** Ends all watching. */
  close(): void {
    this.#closed = true;
    this.#wakeAll();
  }

  #item(instanceId: string): RegistryItem {
    const item = this.#items.get(instanceId);
    if (item) return item;
    const known = [...this.#items.keys()].join(', ');
    const text = `there is no plugin "${instanceId}"; there are ${known || 'none'}`;
    throw notFound('PLUGIN_UNKNOWN', text, { instance_id: instanceId, known });
  }

  #changed(instanceId: string): void {
    (this.#items.get(instanceId) as RegistryItem).revision = ++this.#revision;
    this.#wakeAll();
  }

  #wakeAll(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
