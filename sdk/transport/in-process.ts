import { statusOf } from '../error-status.ts';
import { Code, deadlineExceeded, RpcError, resourceExhausted } from '../errors.ts';
import { msUntil } from '../ports/deadline.ts';
import { CallMetadata } from './metadata.ts';
import { BoundedQueue } from './queue.ts';
import {
  type ByteHandler,
  type CallRequest,
  type CallStatus,
  type IncomingCall,
  messageBytesMax,
  type OutgoingCall,
  queuedMessagesMax,
  type Transport,
  targetKey,
} from './transport.ts';

/**
 * A transport that hands bytes to a handler in this process, with the semantics of a gRPC channel:
 * deadline, cancellation, metadata, status with details, bounded queues, largest message.
 */
export function inProcessTransport(handle: ByteHandler): Transport {
  return { start: (request) => new InProcessCall(request, handle) };
}

class InProcessCall implements OutgoingCall {
  readonly headers: Promise<CallMetadata>;
  readonly responses: AsyncIterable<Uint8Array>;
  readonly status: Promise<CallStatus>;
  readonly #requests: BoundedQueue<Uint8Array>;
  readonly #responses: BoundedQueue<Uint8Array>;
  readonly #server = new AbortController();
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.cancel();
  #timer: NodeJS.Timeout | undefined;
  #resolveHeaders!: (headers: CallMetadata) => void;
  #resolveStatus!: (status: CallStatus) => void;
  #over = false;

  constructor(request: CallRequest, handle: ByteHandler) {
    this.headers = new Promise((resolve) => {
      this.#resolveHeaders = resolve;
    });
    this.status = new Promise((resolve) => {
      this.#resolveStatus = resolve;
    });
    this.#requests = new BoundedQueue(queuedMessagesMax);
    this.#responses = new BoundedQueue(queuedMessagesMax, () => this.cancel());
    this.responses = this.#responses;
    this.#signal = request.signal;
    this.#start(request, handle);
  }

  #start(request: CallRequest, handle: ByteHandler): void {
    const leftMs = msUntil(request.deadline);
    if (request.signal?.aborted) this.cancel();
    else if (leftMs <= 0) this.#fail(deadlinePassed());
    else {
      request.signal?.addEventListener('abort', this.#onAbort, { once: true });
      this.#timer = setTimeout(() => this.#fail(deadlinePassed()), leftMs);
      this.#serve(incoming(request, this.#peer(request)), handle);
    }
  }

  async send(message: Uint8Array): Promise<void> {
    if (this.#over) return;
    if (message.length > messageBytesMax) return this.#fail(messageTooLarge(message.length));
    await this.#requests.push(message);
  }

  halfClose(): void {
    this.#requests.end();
  }

  cancel(): void {
    const text = 'the call was cancelled by its caller';
    this.#responses.abort();
    this.#fail(new RpcError(Code.CANCELLED, 'CANCELLED', text));
  }

  #serve(call: IncomingCall, handle: ByteHandler): void {
    // In a later turn, as over a socket: the caller has its call object before the handler runs.
    queueMicrotask(() => {
      handle(call).then(
        (status) => this.#finish(status),
        (thrown) => this.#finish(statusOf(RpcError.from(thrown))),
      );
    });
  }

  #peer(request: CallRequest): Omit<IncomingCall, 'metadata'> {
    return {
      path: request.path,
      deadline: request.deadline,
      signal: this.#server.signal,
      requests: this.#requests,
      sendHeaders: (headers) => this.#resolveHeaders(headers.clone()),
      send: async (message) => {
        if (this.#over) return;
        if (message.length > messageBytesMax) throw messageTooLarge(message.length);
        this.#resolveHeaders(new CallMetadata());
        await this.#responses.push(message);
      },
    };
  }

  #fail(error: RpcError): void {
    if (this.#over) return;
    this.#finish(statusOf(error));
    this.#server.abort(error);
  }

  #finish(status: CallStatus): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#requests.abort();
    this.#responses.end();
    this.#resolveHeaders(new CallMetadata());
    this.#resolveStatus(status);
  }
}

function incoming(request: CallRequest, peer: Omit<IncomingCall, 'metadata'>): IncomingCall {
  const metadata = request.metadata.clone();
  if (request.target) metadata.set(targetKey, request.target);
  return { ...peer, metadata };
}

function deadlinePassed(): RpcError {
  return deadlineExceeded('DEADLINE_EXCEEDED', 'the deadline of the call has passed');
}

/** The error of a message above the limit, the same on every transport. */
export function messageTooLarge(sizeBytes: number): RpcError {
  return resourceExhausted(
    'MESSAGE_TOO_LARGE',
    `a message of ${sizeBytes} bytes is above the limit of ${messageBytesMax}`,
    { size_bytes: String(sizeBytes), limit_bytes: String(messageBytesMax) },
  );
}
