import { failedPrecondition, type RpcError } from '../sdk/errors.ts';

/** What the order depends on. */
export type Dependent = {
  instanceId: string;
  name: string;
  role: string;
  dependsOn: readonly string[];
};

/**
 * Puts plugins into an order in which each comes after what it depends on, and keeps the given
 * order otherwise. A dependency is met by every plugin of that instance id, name or role.
 *
 * @throws RpcError FAILED_PRECONDITION DEPENDENCY_UNMET: a dependency is missing, or leads in a
 * circle.
 */
export function dependencyOrder<T extends Dependent>(plugins: readonly T[]): T[] {
  const ordered = new Set<T>();
  const path: T[] = [];
  const visit = (plugin: T) => {
    if (ordered.has(plugin)) return;
    if (path.includes(plugin)) throw circle([...path.slice(path.indexOf(plugin)), plugin]);
    path.push(plugin);
    for (const dependency of plugin.dependsOn) {
      const providers = plugins.filter((other) => provides(other, dependency));
      if (providers.length === 0) throw missing(plugin, dependency);
      for (const provider of providers) visit(provider);
    }
    path.pop();
    ordered.add(plugin);
  };
  for (const plugin of plugins) visit(plugin);
  return [...ordered];
}

function provides(plugin: Dependent, dependency: string): boolean {
  return [plugin.instanceId, plugin.name, plugin.role].includes(dependency);
}

function missing(plugin: Dependent, dependency: string): RpcError {
  const text =
    `the plugin ${plugin.instanceId} depends on "${dependency}", ` +
    'and no plugin has that id, name or role';
  return failedPrecondition('DEPENDENCY_UNMET', text, {
    instance_id: plugin.instanceId,
    depends_on: dependency,
  });
}

function circle(plugins: readonly Dependent[]): RpcError {
  const names = plugins.map((plugin) => plugin.instanceId).join(' → ');
  return failedPrecondition(
    'DEPENDENCY_UNMET',
    `plugins depend on one another in a circle: ${names}`,
    {
      instance_id: plugins[0]?.instanceId ?? '',
      depends_on: names,
    },
  );
}
