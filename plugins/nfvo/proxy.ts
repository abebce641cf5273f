import type { DescService } from '@bufbuild/protobuf';
import type { CallOptions } from '../../sdk/client.ts';
import { msUntil } from '../../sdk/ports/deadline.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import { type HandlerContext, type Handlers, implement } from '../../sdk/server.ts';

/** What a proxied call gets when its caller set no deadline. */
const proxiedDeadlineMs = 60 * 60_000;

export type AnyClient = Record<string, (request: unknown, options: CallOptions) => unknown>;

/**
 * Offers a service of another block as one's own: every method is passed on with the caller's deadline and
 * cancellation, and errors come back unchanged. The NFVO offers the VNFM's package interface to the OSS/BSS this way
 * (GR NFV-TST 005 clause 7.5.8).
 */
export function proxy<S extends DescService>(service: S, client: object, logger: Logger) {
  const handlers = Object.fromEntries(
    service.methods.map((method) => {
      const call = (client as AnyClient)[method.localName]!;
      return [
        method.localName,
        (request: unknown, context: HandlerContext) => call(request, passedOn(context)),
      ];
    }),
  );
  return implement(service, handlers as Handlers<S>, { logger });
}

/** The caller's deadline and cancellation, for the call that is made for it. */
export function passedOn({ signal, deadline }: HandlerContext): CallOptions {
  const left = deadline ? msUntil(deadline) : proxiedDeadlineMs;
  return { signal, deadlineMs: Math.max(1, left) };
}
