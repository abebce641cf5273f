import type { DescMethod } from '@bufbuild/protobuf';
import { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { createClient } from '../../../sdk/client.ts';
import { type HandlerContext, type Handlers, implement } from '../../../sdk/server.ts';
import { inProcessTransport } from '../../../sdk/transport/in-process.ts';
import type { Transport } from '../../../sdk/transport/transport.ts';
import type { DriverClient } from '../driver/tracker.ts';

/** What a mutant does differently, given the driver that does it right. */
export type Mutation = (driver: DriverClient) => Handlers<typeof DriverService>;

/** A driver that hands every call on to another, but for the methods of a mutation. */
export function mutate(transport: Transport, mutation: Mutation): Transport {
  const driver = createClient(DriverService, transport, { deadlineMs: 60_000 });
  const handlers: Record<string, unknown> = {};
  for (const method of DriverService.methods) handlers[method.localName] = handOn(driver, method);
  Object.assign(handlers, mutation(driver));
  const service = implement(DriverService, handlers as Handlers<typeof DriverService>);
  return inProcessTransport(service.handle);
}

function handOn(driver: DriverClient, method: DescMethod) {
  const call = driver[method.localName as keyof DriverClient] as (
    request: unknown,
    options: { signal: AbortSignal },
  ) => unknown;
  return (request: unknown, { signal }: HandlerContext) => call(request, { signal });
}
