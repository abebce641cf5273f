import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { statusOf } from './error-status.ts';
import { Code, internal, invalidArgument, RpcError, unimplemented } from './errors.ts';
import { createLogger, type Logger } from './ports/logger.ts';
import { type Random, systemRandom } from './ports/random.ts';
import { methodPath } from './services.ts';
import { okStatus } from './transport/status.ts';
import {
  type ByteHandler,
  type CallStatus,
  callerIdentityKey,
  callerRoleKey,
  type IncomingCall,
  targetKey,
} from './transport/transport.ts';
import { validateRequest } from './validation.ts';

/** What a handler knows about its call. */
export type HandlerContext = {
  /** Aborts when the caller cancels, the deadline passes or the connection breaks. */
  signal: AbortSignal;
  deadline?: Date | undefined;
  /**
   * As stamped by the kernel; empty strings when the service is called without one, as in a test.
   */
  caller: { role: string; identity: string };
  /** The instance the caller named; empty when it named none. */
  target: string;
  /** Text metadata of the call. */
  metadata: Readonly<Record<string, string>>;
};

type Typed<Kind extends DescMethod['methodKind'], I extends DescMessage, O extends DescMessage> = {
  methodKind: Kind;
  input: I;
  output: O;
};

/** One handler per method, named in lowerCamelCase. A missing one answers UNIMPLEMENTED. */
export type Handlers<S extends DescService> = {
  [K in keyof S['method']]?: S['method'][K] extends Typed<'unary', infer I, infer O>
    ? (request: MessageShape<I>, context: HandlerContext) => Promise<MessageInitShape<O>>
    : S['method'][K] extends Typed<'server_streaming', infer I, infer O>
      ? (request: MessageShape<I>, context: HandlerContext) => AsyncIterable<MessageInitShape<O>>
      : S['method'][K] extends Typed<'client_streaming', infer I, infer O>
        ? (
            requests: AsyncIterable<MessageShape<I>>,
            context: HandlerContext,
          ) => Promise<MessageInitShape<O>>
        : S['method'][K] extends Typed<'bidi_streaming', infer I, infer O>
          ? (
              requests: AsyncIterable<MessageShape<I>>,
              context: HandlerContext,
            ) => AsyncIterable<MessageInitShape<O>>
          : never;
};

/** A service with its handlers, ready to be given to a plugin, a kernel or a transport. */
export type ServiceImplementation = {
  readonly service: DescService;
  /** Serves a call to any method of the service; never rejects. */
  readonly handle: ByteHandler;
};

export type ImplementOptions = {
  /** Receives the stack of an unexpected error, under the incident id its caller was given. */
  logger?: Logger;
  random?: Random;
};

// biome-ignore lint/suspicious/noExplicitAny: the typed signatures meet here, behind `Handlers`.
type AnyHandler = (request: any, context: HandlerContext) => any;

/**
 * Binds handlers to a service. Requests are decoded and checked against the rules of their fields
 * before the handler; whatever a handler throws becomes a status in one place.
 */
export function implement<S extends DescService>(
  service: S,
  handlers: Handlers<S>,
  options: ImplementOptions = {},
): ServiceImplementation {
  const logger = options.logger ?? createLogger({ level: 'error' });
  const random = options.random ?? systemRandom;
  const methods = new Map(service.methods.map((method) => [methodPath(method), method]));
  const handle = async (call: IncomingCall): Promise<CallStatus> => {
    try {
      const method = methods.get(call.path);
      const handler = method && (handlers as Record<string, AnyHandler>)[method.localName];
      if (!method || !handler) throw notImplemented(call.path);
      await serve(method, handler, call);
      return okStatus();
    } catch (thrown) {
      return statusOf(report(thrown, call, logger, random));
    }
  };
  return { service, handle };
}

function notImplemented(path: string): RpcError {
  const text = `${path} is not implemented here`;
  return unimplemented('METHOD_UNIMPLEMENTED', text, { method: path });
}

async function serve(method: DescMethod, handler: AnyHandler, call: IncomingCall): Promise<void> {
  const context = handlerContext(call);
  const requestStream =
    method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming';
  const responseStream =
    method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming';
  const request = requestStream ? decodeAll(method, call) : await decodeOne(method, call);
  const result = handler.call(undefined, request, context);
  if (!responseStream) return call.send(encode(method, await result));
  for await (const response of result as AsyncIterable<MessageInitShape<DescMessage>>) {
    // The caller is gone: leaving the loop runs the handler's `finally` blocks.
    if (call.signal.aborted) break;
    await call.send(encode(method, response));
  }
}

function handlerContext(call: IncomingCall): HandlerContext {
  return {
    signal: call.signal,
    deadline: call.deadline,
    caller: {
      role: call.metadata.get(callerRoleKey) ?? '',
      identity: call.metadata.get(callerIdentityKey) ?? '',
    },
    target: call.metadata.get(targetKey) ?? '',
    metadata: call.metadata.toRecord(),
  };
}

async function decodeOne(
  method: DescMethod,
  call: IncomingCall,
): Promise<MessageShape<DescMessage>> {
  let request: MessageShape<DescMessage> | undefined;
  for await (const message of decodeAll(method, call)) {
    if (request) {
      throw invalidArgument('REQUEST_COUNT', `${call.path} takes one request, not several`);
    }
    request = message;
  }
  if (!request) throw invalidArgument('REQUEST_COUNT', `${call.path} takes one request, not none`);
  return request;
}

async function* decodeAll(
  method: DescMethod,
  call: IncomingCall,
): AsyncIterable<MessageShape<DescMessage>> {
  for await (const bytes of call.requests) yield decode(method, bytes);
  // A stream of requests that was cut off must not look like one that is complete.
  if (call.signal.aborted) throw RpcError.from(call.signal.reason);
}

function decode(method: DescMethod, bytes: Uint8Array): MessageShape<DescMessage> {
  let request: MessageShape<DescMessage>;
  try {
    request = fromBinary(method.input, bytes);
  } catch (thrown) {
    const problem = (thrown as Error).message;
    const text = `the request is not a valid ${method.input.typeName}: ${problem}`;
    throw invalidArgument('REQUEST_MALFORMED', text, { message: method.input.typeName });
  }
  validateRequest(method.input, request);
  return request;
}

function encode(method: DescMethod, response: MessageInitShape<DescMessage>): Uint8Array {
  return toBinary(method.output, create(method.output, response));
}

/**
 * The single funnel from exception to status. An unexpected error is logged, and only its id is
 * told.
 */
function report(thrown: unknown, call: IncomingCall, logger: Logger, random: Random): RpcError {
  const error = RpcError.from(thrown);
  if (thrown instanceof RpcError || error.code !== Code.INTERNAL) return error;
  if (call.signal.aborted) return RpcError.from(call.signal.reason);
  const incident = random.uuid();
  logger.error('a handler failed', { incident, method: call.path, error: thrown });
  const text = `an internal error occurred; the log of the producer has it as incident ${incident}`;
  return internal('INTERNAL', text, { incident });
}
