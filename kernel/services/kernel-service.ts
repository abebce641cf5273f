import { KernelService } from '../../gen/nfv/kernel/v1/kernel_service_pb.js';
import { implement, type ServiceImplementation } from '../../sdk/server.ts';
import { exposuresOf, methodPath } from '../../sdk/services.ts';
import type { Registry } from '../registry.ts';
import type { RouteTable } from '../routing/route-table.ts';

export type KernelServiceOptions = {
  registry: Registry;
  routes: RouteTable;
  /** Starts a shutdown; returns how many calls run. */
  startDrain: (deadlineMs: number | undefined) => number;
};

/** The administration of the kernel. */
export function kernelService(options: KernelServiceOptions): ServiceImplementation {
  const { registry } = options;
  return implement(KernelService, {
    async listPlugins() {
      return { plugins: registry.list() };
    },
    async getPlugin({ instanceId }) {
      return { plugin: registry.get(instanceId) };
    },
    async listRoutes({ service }) {
      return { routes: routes(options.routes, service) };
    },
    async *watchPlugins(_request, { signal }) {
      let seen = -1;
      let first = true;
      while (!signal.aborted && !registry.closed) {
        const changed = registry.since(seen);
        seen = registry.revision;
        for (const [index, { plugin }] of changed.entries()) {
          yield { plugin, complete: first && index === changed.length - 1 };
        }
        first = false;
        if (registry.revision === seen) await registry.nextChange(signal);
      }
    },
    async drain({ deadlineMs }) {
      return { runningCalls: options.startDrain(deadlineMs || undefined) };
    },
  });
}

function routes(table: RouteTable, only: string) {
  return [...table.services().values()]
    .filter((service) => !only || service.typeName === only)
    .flatMap((service) => service.methods)
    .map((method) => ({
      method: methodPath(method),
      instanceIds: table.serving(method.parent.typeName).map(({ instanceId }) => instanceId),
      exposures: exposuresOf(method).map(({ referencePoint, producer, consumers }) => ({
        referencePoint,
        producer,
        consumers,
      })),
    }))
    .sort((a, b) => (a.method < b.method ? -1 : 1));
}
