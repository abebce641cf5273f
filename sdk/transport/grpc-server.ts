import * as grpc from '@grpc/grpc-js';
import { statusOf } from '../error-status.ts';
import { RpcError, unavailable } from '../errors.ts';
import {
  assertMessageSize,
  fromGrpcMetadata,
  fromWire,
  sizeOptions,
  toGrpcMetadata,
  toWire,
} from './grpc-convert.ts';
import { takeLateStatusAsked, toLateStatus } from './late-status.ts';
import { BoundedQueue } from './queue.ts';
import {
  type ByteHandler,
  type CallStatus,
  type IncomingCall,
  queuedMessagesMax,
} from './transport.ts';

/** What is known about the connection of a call. */
export type Peer = {
  /** The subject alternative names of a verified client certificate, as Node prints them. */
  subjectAltName: string | undefined;
};

/** Serves a call, knowing its connection. */
export type PeerHandler = (call: IncomingCall, peer: Peer) => ReturnType<ByteHandler>;

/** A peer that vanished without closing is noticed within about this time. */
const keepaliveMs = 60_000;

type Stream = grpc.ServerDuplexStream<Uint8Array, Uint8Array>;

/**
 * A gRPC server for bytes: each path is registered as a stream both ways, whatever its kind, and
 * given to one handler. Paths may be added while it runs; a path nobody added is UNIMPLEMENTED.
 */
export class ByteServer {
  readonly #server = new grpc.Server({ ...sizeOptions, 'grpc.keepalive_time_ms': keepaliveMs });
  readonly #paths = new Set<string>();
  readonly #handle: PeerHandler;

  constructor(handle: PeerHandler) {
    this.#handle = handle;
  }

  /** Adds a path ("/package.Service/Method"); adding it again does nothing. */
  register(path: string): void {
    if (this.#paths.has(path)) return;
    this.#paths.add(path);
    this.#server.register<Uint8Array, Uint8Array>(
      path,
      (stream: Stream) => void serve(stream, path, this.#handle),
      toWire,
      fromWire,
      'bidi',
    );
  }

  /** Binds "unix:/path" or "host:port" (port 0: any) and returns the bound port, 0 for a socket. */
  bind(address: string, credentials: grpc.ServerCredentials): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(address, credentials, (error, port) => {
        if (!error) return resolve(port);
        const text = `cannot listen on ${address}: ${error.message}`;
        reject(unavailable('LISTEN_FAILED', text, { address }));
      });
    });
  }

  /** Stops accepting, waits up to that long for running calls, then breaks the rest off. */
  shutdown(graceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#server.forceShutdown();
        resolve();
      }, graceMs);
      this.#server.tryShutdown(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

async function serve(stream: Stream, path: string, handle: PeerHandler): Promise<void> {
  const controller = new AbortController();
  let over = false;
  // `cancelled` may come several times, and also after a normal end.
  stream.on('cancelled', () => {
    if (!over) controller.abort(new DOMException('the call was cancelled', 'AbortError'));
  });
  const call = incomingCall(stream, path, controller.signal);
  const lateStatusAsked = takeLateStatusAsked(call.metadata);
  const peer = { subjectAltName: stream.getAuthContext().sslPeerCertificate?.subjectaltname };
  const status = await handle(call, peer).catch((thrown) => statusOf(RpcError.from(thrown)));
  over = true;
  finish(stream, lateStatusAsked ? toLateStatus(status) : status);
}

function incomingCall(stream: Stream, path: string, signal: AbortSignal): IncomingCall {
  const deadline = stream.getDeadline();
  const requests = new BoundedQueue<Uint8Array>(
    queuedMessagesMax,
    () => {},
    () => stream.resume(),
  );
  stream.on('data', (message: Uint8Array) => {
    void requests.push(message);
    if (!requests.hasRoom) stream.pause();
  });
  stream.on('end', () => requests.end());
  signal.addEventListener('abort', () => requests.abort(), { once: true });
  return {
    path,
    metadata: fromGrpcMetadata(stream.metadata),
    deadline: deadline === Number.POSITIVE_INFINITY ? undefined : new Date(deadline),
    signal,
    requests,
    sendHeaders: (headers) => stream.sendMetadata(toGrpcMetadata(headers)),
    send: async (message) => {
      assertMessageSize(message);
      if (signal.aborted || stream.writableEnded || stream.write(message)) return;
      await roomOrEnd(stream);
    },
  };
}

/** A cancelled stream is destroyed and never drains, so its close wakes the writer too. */
function roomOrEnd(stream: Stream): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      stream.off('drain', wake);
      stream.off('close', wake);
      resolve();
    };
    stream.on('drain', wake);
    stream.on('close', wake);
  });
}

function finish(stream: Stream, status: CallStatus): void {
  if (stream.destroyed) return;
  const trailers = toGrpcMetadata(status.trailers);
  if (status.code === 0) stream.end(trailers);
  // grpc-js's own way to end a stream with a status: messages written before it are still
  // delivered.
  else stream.emit('error', { code: status.code, details: status.message, metadata: trailers });
}
