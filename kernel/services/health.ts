import {
  Health,
  HealthCheckResponse_ServingStatus as Serving,
} from '../../gen/grpc/health/v1/health_pb.js';
import { notFound } from '../../sdk/errors.ts';
import { implement, type ServiceImplementation } from '../../sdk/server.ts';
import { PluginState, type Registry } from '../registry.ts';
import type { RouteTable } from '../routing/route-table.ts';

export type HealthOptions = {
  registry: Registry;
  routes: RouteTable;
  /** True while the kernel takes calls. */
  serving: () => boolean;
};

/** The gRPC health service: of the kernel (""), of a service, or of a plugin instance. */
export function healthService(options: HealthOptions): ServiceImplementation {
  const { registry } = options;
  return implement(Health, {
    async check({ service }) {
      const status = servingStatus(options, service);
      if (status !== Serving.SERVICE_UNKNOWN) return { status };
      const text = `no plugin serves or is called "${service}"`;
      throw notFound('SERVICE_UNKNOWN', text, { service });
    },
    async *watch({ service }, { signal }) {
      let last: Serving | undefined;
      while (!signal.aborted) {
        const { closed } = registry;
        const status = servingStatus(options, service);
        if (status !== last) yield { status };
        last = status;
        if (closed) return;
        await registry.nextChange(signal);
      }
    },
  });
}

function servingStatus({ registry, routes, serving }: HealthOptions, service: string): Serving {
  if (service === '') return serving() ? Serving.SERVING : Serving.NOT_SERVING;
  const serves = routes.serving(service).map(({ instanceId }) => instanceId);
  const ids = serves.length > 0 ? serves : registry.has(service) ? [service] : [];
  if (ids.length === 0) return Serving.SERVICE_UNKNOWN;
  // The kernel's own services are no plugin's: they have no state, and are as healthy as the
  // kernel.
  const healthy = ids.some((id) =>
    registry.has(id) ? registry.state(id) === PluginState.READY : serving(),
  );
  return healthy ? Serving.SERVING : Serving.NOT_SERVING;
}
