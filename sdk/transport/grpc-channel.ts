import { isIP } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { checkServerIdentity } from 'node:tls';
import * as grpc from '@grpc/grpc-js';
import { statusOf } from '../error-status.ts';
import { invalidArgument, unavailable } from '../errors.ts';
import { fromGrpcMetadata, fromWire, sizeOptions, toGrpcMetadata, toWire } from './grpc-convert.ts';
import { messageTooLarge } from './in-process.ts';
import { askForLateStatus, fromLateStatus } from './late-status.ts';
import { CallMetadata } from './metadata.ts';
import { BoundedQueue } from './queue.ts';
import {
  type CallRequest,
  type CallStatus,
  messageBytesMax,
  type OutgoingCall,
  queuedMessagesMax,
  type Transport,
  targetKey,
} from './transport.ts';

/** PEM texts for mutual TLS. */
export type TlsMaterial = { ca: string; certificate: string; key: string };

export type ChannelOptions = {
  /** "unix:/path/to/socket" or "host:port". */
  address: string;
  /** Needed for every address that is not a Unix socket. */
  tls?: TlsMaterial;
};

/** A restarted plugin is found again within this time. */
const reconnectMsMin = 100;
const reconnectMsMax = 2000;

/** A gRPC channel. It connects on the first call and reconnects by itself until it is closed. */
export type GrpcChannel = Transport & { close(): void };

/**
 * Opens a channel to an address.
 *
 * @throws RpcError INVALID_ARGUMENT, TLS_REQUIRED: a TCP address without certificates.
 */
export function openChannel(options: ChannelOptions): GrpcChannel {
  const local = options.address.startsWith('unix:');
  if (!local && !options.tls) {
    throw invalidArgument(
      'TLS_REQUIRED',
      `the address ${options.address} is not a Unix socket, so it needs TLS certificates`,
      { address: options.address },
    );
  }
  const address = addressHost(options.address);
  const client = new grpc.Client(options.address, credentials(options.tls, address), {
    ...sizeOptions,
    'grpc.initial_reconnect_backoff_ms': reconnectMsMin,
    'grpc.min_reconnect_backoff_ms': reconnectMsMin,
    'grpc.max_reconnect_backoff_ms': reconnectMsMax,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
    // Some servers refuse the path of a socket as an HTTP/2 authority.
    ...(local ? { 'grpc.default_authority': 'localhost' } : {}),
    ...(address ? { 'grpc.ssl_target_name_override': addressServerName } : {}),
  });
  return {
    start: (request) => new ChannelCall(client, request),
    close: () => client.close(),
  };
}

/** The host of "1.2.3.4:5" or "[::1]:5" when it is an IP address. */
function addressHost(address: string): string | undefined {
  const host = address.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  return isIP(host) ? host : undefined;
}

/**
 * grpc-js asks for its host as the TLS server name, and Node refuses an IP address there. So
 * another name is asked for, and the certificate is checked for the address.
 */
const addressServerName = 'micromano.invalid';

function credentials(
  tls: TlsMaterial | undefined,
  address: string | undefined,
): grpc.ChannelCredentials {
  if (!tls) return grpc.credentials.createInsecure();
  const [ca, key, certificate] = [tls.ca, tls.key, tls.certificate].map((pem) => Buffer.from(pem));
  const verify: grpc.VerifyOptions = address
    ? { checkServerIdentity: (_name, peer) => checkServerIdentity(address, peer) }
    : {};
  return grpc.credentials.createSsl(ca, key, certificate, verify);
}

type Stream = grpc.ClientDuplexStream<Uint8Array, Uint8Array>;

/** Every kind of call is a stream of bytes both ways at this level; unary is a stream of one. */
class ChannelCall implements OutgoingCall {
  readonly headers: Promise<CallMetadata>;
  readonly responses: AsyncIterable<Uint8Array>;
  readonly status: Promise<CallStatus>;
  readonly #stream: Stream | undefined;
  readonly #queue: BoundedQueue<Uint8Array>;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.cancel();
  #resolveHeaders!: (headers: CallMetadata) => void;
  #resolveStatus!: (status: CallStatus) => void;
  #wakeWriter: (() => void) | undefined;
  #sentCount = 0;
  #over = false;

  constructor(client: grpc.Client, request: CallRequest) {
    this.headers = new Promise((resolve) => {
      this.#resolveHeaders = resolve;
    });
    this.status = new Promise((resolve) => {
      this.#resolveStatus = resolve;
    });
    this.#queue = new BoundedQueue(
      queuedMessagesMax,
      () => this.cancel(),
      () => this.#stream?.resume(),
    );
    this.responses = this.#queue;
    this.#signal = request.signal;
    this.#stream = this.#open(client, request);
    if (!this.#stream) return;
    this.#listen(this.#stream);
    request.signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (request.signal?.aborted) this.cancel();
  }

  async send(message: Uint8Array): Promise<void> {
    if (this.#over || !this.#stream) return;
    if (message.length > messageBytesMax) {
      this.#queue.abort();
      this.#finish(statusOf(messageTooLarge(message.length)));
      this.#stream.cancel();
      return;
    }
    if (!this.#stream.write(message) && !this.#over) {
      await new Promise<void>((resolve) => {
        this.#wakeWriter = resolve;
      });
    } else if (++this.#sentCount % queuedMessagesMax === 0) {
      // grpc-js takes up to a mebibyte before it says "full": a fast sender must let the connection
      // work meanwhile.
      await setImmediate();
    }
  }

  halfClose(): void {
    if (!this.#over) this.#stream?.end();
  }

  cancel(): void {
    if (this.#over) return;
    this.#queue.abort();
    this.#stream?.cancel();
  }

  #open(client: grpc.Client, request: CallRequest): Stream | undefined {
    const metadata = request.metadata.clone();
    if (request.target) metadata.set(targetKey, request.target);
    askForLateStatus(metadata);
    try {
      return client.makeBidiStreamRequest<Uint8Array, Uint8Array>(
        request.path,
        toWire,
        fromWire,
        toGrpcMetadata(metadata),
        { deadline: request.deadline },
      );
    } catch (thrown) {
      // grpc-js throws here only for a closed channel.
      const text = `the channel is closed: ${thrown instanceof Error ? thrown.message : thrown}`;
      this.#queue.end();
      this.#finish(statusOf(unavailable('CHANNEL_CLOSED', text)));
      return undefined;
    }
  }

  #listen(stream: Stream): void {
    stream.on('metadata', (metadata) => this.#resolveHeaders(fromGrpcMetadata(metadata)));
    stream.on('data', (message: Uint8Array) => {
      void this.#queue.push(message);
      if (!this.#queue.hasRoom) stream.pause();
    });
    // `end` comes after the last message was read, `status` when it arrived: a reader needs both.
    stream.on('end', () => this.#queue.end());
    stream.on('error', () => {}); // The same outcome follows as `status`.
    stream.on('drain', () => this.#wake());
    stream.on('status', (status: grpc.StatusObject) => {
      const { code, details: message, metadata } = status;
      this.#finish(fromLateStatus({ code, message, trailers: fromGrpcMetadata(metadata) }));
    });
  }

  #finish(status: CallStatus): void {
    if (this.#over) return;
    this.#over = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#resolveHeaders(new CallMetadata());
    this.#resolveStatus(status);
    this.#wake();
  }

  #wake(): void {
    this.#wakeWriter?.();
    this.#wakeWriter = undefined;
  }
}
