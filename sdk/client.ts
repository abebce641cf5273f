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
import { errorOf } from './error-status.ts';
import { Code, internal, invalidArgument, RpcError } from './errors.ts';
import { deadlineIn } from './ports/deadline.ts';
import { methodPath } from './services.ts';
import { CallMetadata } from './transport/metadata.ts';
import { deadlineMsMax, type OutgoingCall, type Transport } from './transport/transport.ts';

/** The deadline of a call with one response when its caller gives none. */
export const unaryDeadlineMsDefault = 30_000;
/** The deadline of a stream when its caller gives none: watchers open a new one after it. */
export const streamDeadlineMsDefault = 60 * 60 * 1000;

export type CallOptions = {
  /** The plugin instance meant. Absent: the only one that serves the method to this caller. */
  target?: string;
  /** Milliseconds from now, 1 to 24 hours. Absent: 30 s, for streams of responses one hour. */
  deadlineMs?: number;
  /** Cancels the call. */
  signal?: AbortSignal;
  /** Further text metadata; keys in lower case. */
  metadata?: Record<string, string>;
};

type Typed<Kind extends DescMethod['methodKind'], I extends DescMessage, O extends DescMessage> = {
  methodKind: Kind;
  input: I;
  output: O;
};

/** One function per method of a service, named in lowerCamelCase. Every failure is an RpcError. */
export type Client<S extends DescService> = {
  [K in keyof S['method']]: S['method'][K] extends Typed<'unary', infer I, infer O>
    ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : S['method'][K] extends Typed<'server_streaming', infer I, infer O>
      ? (request: MessageInitShape<I>, options?: CallOptions) => AsyncIterable<MessageShape<O>>
      : S['method'][K] extends Typed<'client_streaming', infer I, infer O>
        ? (
            requests: AsyncIterable<MessageInitShape<I>>,
            options?: CallOptions,
          ) => Promise<MessageShape<O>>
        : S['method'][K] extends Typed<'bidi_streaming', infer I, infer O>
          ? (
              requests: AsyncIterable<MessageInitShape<I>>,
              options?: CallOptions,
            ) => AsyncIterable<MessageShape<O>>
          : never;
};

type Requests = AsyncIterable<MessageInitShape<DescMessage>>;
type Init = MessageInitShape<DescMessage>;

/**
 * Makes a typed client. `defaults` hold for every call unless the call says otherwise.
 * Leaving the loop over a stream of responses cancels its call.
 */
export function createClient<S extends DescService>(
  service: S,
  transport: Transport,
  defaults: CallOptions = {},
): Client<S> {
  const client: Record<string, unknown> = {};
  for (const method of service.methods) {
    client[method.localName] = methodFunction(method, transport, defaults);
  }
  return client as Client<S>;
}

function methodFunction(method: DescMethod, transport: Transport, defaults: CallOptions): unknown {
  const start = (options: CallOptions = {}) => startCall(method, transport, defaults, options);
  switch (method.methodKind) {
    case 'unary':
      return async (request: Init, options?: CallOptions) =>
        readOne(method, start(options), one(request));
    case 'client_streaming':
      return async (requests: Requests, options?: CallOptions) =>
        readOne(method, start(options), requests);
    case 'server_streaming':
      return (request: Init, options?: CallOptions) =>
        readAll(method, start, options, one(request));
    case 'bidi_streaming':
      return (requests: Requests, options?: CallOptions) =>
        readAll(method, start, options, requests);
  }
}

function startCall(
  method: DescMethod,
  transport: Transport,
  defaults: CallOptions,
  own: CallOptions,
): OutgoingCall {
  const options = { ...defaults, ...own };
  const streams =
    method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming';
  const deadlineMs =
    options.deadlineMs ?? (streams ? streamDeadlineMsDefault : unaryDeadlineMsDefault);
  if (!(deadlineMs > 0 && deadlineMs <= deadlineMsMax)) {
    const text = `deadlineMs must be above 0 and at most ${deadlineMsMax}, not ${deadlineMs}`;
    throw invalidArgument('DEADLINE_INVALID', text, { deadline_ms: String(deadlineMs) });
  }
  return transport.start({
    path: methodPath(method),
    metadata: callMetadata({ ...defaults.metadata, ...own.metadata }),
    deadline: deadlineIn(deadlineMs),
    signal: options.signal,
    target: options.target,
  });
}

function callMetadata(pairs: Record<string, string>): CallMetadata {
  try {
    return CallMetadata.of(pairs);
  } catch (thrown) {
    throw invalidArgument('METADATA_INVALID', (thrown as TypeError).message);
  }
}

async function* one(request: Init): AsyncIterable<Init> {
  yield request;
}

async function readOne(
  method: DescMethod,
  call: OutgoingCall,
  requests: Requests,
): Promise<MessageShape<DescMessage>> {
  const sent = sendAll(method, call, requests);
  let response: Uint8Array | undefined;
  let count = 0;
  for await (const bytes of call.responses) {
    response = bytes;
    count++;
  }
  await finish(call, sent);
  if (!response || count !== 1) {
    const text = `${method} answered with ${count} messages instead of one`;
    throw internal('RESPONSE_COUNT', text, { count: String(count) });
  }
  return decode(method, response);
}

async function* readAll(
  method: DescMethod,
  start: (options?: CallOptions) => OutgoingCall,
  options: CallOptions | undefined,
  requests: Requests,
): AsyncIterable<MessageShape<DescMessage>> {
  const call = start(options);
  const sent = sendAll(method, call, requests);
  for await (const bytes of call.responses) yield decode(method, bytes);
  await finish(call, sent);
}

/** Returns what went wrong on the sending side, so that it is never an unhandled rejection. */
async function sendAll(
  method: DescMethod,
  call: OutgoingCall,
  requests: Requests,
): Promise<{ thrown: unknown } | undefined> {
  let over = false;
  void call.status.then(() => {
    over = true;
  });
  try {
    for await (const request of requests) {
      if (over) return undefined;
      await call.send(toBinary(method.input, create(method.input, request)));
    }
    call.halfClose();
    return undefined;
  } catch (thrown) {
    call.cancel();
    return { thrown };
  }
}

/**
 * Waits for the status. A failure of the caller's own requests comes before the CANCELLED it
 * caused.
 */
async function finish(
  call: OutgoingCall,
  sent: Promise<{ thrown: unknown } | undefined>,
): Promise<void> {
  const status = await call.status;
  if (status.code === 0) return;
  // The requests may still be waiting in the caller's generator: only a failure known by now
  // counts.
  const failure = await Promise.race([sent, Promise.resolve(undefined)]);
  if (failure) throw failure.thrown;
  throw errorOf(status);
}

function decode(method: DescMethod, bytes: Uint8Array): MessageShape<DescMessage> {
  try {
    return fromBinary(method.output, bytes);
  } catch (thrown) {
    throw new RpcError(
      Code.INTERNAL,
      'RESPONSE_MALFORMED',
      `${method} answered with bytes that do not parse`,
      {},
      {
        cause: thrown,
      },
    );
  }
}
