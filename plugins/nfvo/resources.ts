import type { DescService } from '@bufbuild/protobuf';
import { invalidArgument, notFound, permissionDenied } from '../../sdk/errors.ts';
import type { PluginContext } from '../../sdk/plugin.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import { type HandlerContext, type Handlers, implement } from '../../sdk/server.ts';
import type { Grants } from './grants.ts';
import { decideOnResource, type Policy } from './policy.ts';
import { type AnyClient, passedOn } from './proxy.ts';
import { resourceServices } from './resource-services.ts';

/** What the requests of these services have in common, each some of it. */
type ResourceRequest = {
  resourceProviderId: string;
  call?: { operationId: string };
  snapshotId?: string;
  computeId?: string;
  storageId?: string;
  networkResourceId?: string;
  vnfcSnapshotPackageId?: string;
};

export type ResourceParts = {
  context: Pick<PluginContext, 'client'>;
  /** The plugin instances that it passes calls on to. */
  vims: readonly string[];
  policy: Policy;
  grants: Grants;
  logger: Logger;
};

/**
 * Indirect resource management (GR NFV-TST 005 clauses 6.4.2, 6.4.4, 6.6.2 and 6.6.4): offers the VIM's interfaces to
 * the VNFM on Or-Vnfm. Each call is checked against the policy, recorded under the grant of its operation, and passed on
 * to the VIM that it names; answers, streams and errors come back unchanged.
 */
export function resourceProxies(parts: ResourceParts) {
  return resourceServices.map((service) => resourceProxy(service, parts));
}

function resourceProxy<S extends DescService>(service: S, parts: ResourceParts) {
  const { context, vims, logger } = parts;
  const clients = new Map<string, AnyClient>(
    vims.map((target) => [target, context.client(service, { target }) as unknown as AnyClient]),
  );
  const handlers = Object.fromEntries(
    service.methods.map(({ name, localName, methodKind }) => {
      const pass = async (request: ResourceRequest, handling: HandlerContext) => {
        const client = clients.get(request.resourceProviderId) ?? unknownVim(request, vims);
        await admit(parts, name, request);
        return client[localName]!(request, passedOn(handling));
      };
      if (methodKind === 'unary') return [localName, pass];
      async function* passStream(request: ResourceRequest, handling: HandlerContext) {
        yield* (await pass(request, handling)) as AsyncIterable<unknown>;
      }
      return [localName, passStream];
    }),
  );
  return implement(service, handlers as Handlers<S>, { logger });
}

function unknownVim({ resourceProviderId: id }: ResourceRequest, vims: readonly string[]): never {
  const known = vims.join(', ');
  if (id === '') {
    const text = `a call through the NFVO must name the VIM in resource_provider_id: ${known}`;
    throw invalidArgument('RESOURCE_PROVIDER_MISSING', text, { known }, [
      { field: 'resource_provider_id', description: 'is required' },
    ]);
  }
  const text = `the NFVO knows no VIM "${id}", only ${known}`;
  throw notFound('RESOURCE_PROVIDER_UNKNOWN', text, { resource_provider_id: id, known });
}

/** Refuses by policy; lists what changes something before it is passed on, so that nothing happens unrecorded. */
async function admit(
  { policy, grants, logger }: ResourceParts,
  method: string,
  request: ResourceRequest,
): Promise<void> {
  const operationId = request.call?.operationId;
  if (operationId === undefined) return;
  const grant = await grants.ofOperation(operationId);
  const refusal = decideOnResource(policy, method, grant);
  const call = {
    method,
    resourceId: subject(request),
    resourceProviderId: request.resourceProviderId,
    refusedBy: refusal?.name ?? '',
  };
  const isListed = grant !== undefined && (await grants.record(grant.id, call));
  if (!isListed) logger.info('resource call', { operation: operationId, ...call });
  if (!refusal) return;
  const why = refusal.reason ?? `rule "${refusal.name}"`;
  const text = `the NFVO refuses ${method} of "${call.resourceId}": ${why}`;
  throw permissionDenied('RESOURCE_REFUSED', text, { rule: refusal.name, method });
}

function subject(request: ResourceRequest): string {
  const { snapshotId, computeId, storageId, networkResourceId, vnfcSnapshotPackageId } = request;
  return snapshotId || computeId || storageId || networkResourceId || vnfcSnapshotPackageId || '';
}
