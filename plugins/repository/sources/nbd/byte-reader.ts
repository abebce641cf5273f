import type { Socket } from 'node:net';
import { deadlineExceeded, type RpcError, unavailable } from '../../../../sdk/errors.ts';

/**
 * Takes exact numbers of bytes from a socket, each within a deadline. For the handshake only:
 * `release` ends it and gives what came too early. What it holds is bounded, because the socket is
 * paused while nobody waits.
 */
export class ByteReader {
  readonly #socket: Socket;
  readonly #name: string;
  readonly #timeoutMs: number;
  #bytes = Buffer.alloc(0);
  #failure: RpcError | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: Socket, name: string, timeoutMs: number) {
    this.#socket = socket;
    this.#name = name;
    this.#timeoutMs = timeoutMs;
    socket.pause();
    socket.on('data', this.#onData);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  /** `length` has been checked by the caller: it is held in memory. */
  async take(length: number): Promise<Buffer> {
    const late = setTimeout(
      () => this.#fail(timedOut(this.#name, this.#timeoutMs)),
      this.#timeoutMs,
    );
    try {
      while (this.#bytes.length < length) {
        if (this.#failure !== undefined) throw this.#failure;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
          this.#socket.resume();
        });
      }
    } finally {
      clearTimeout(late);
      this.#socket.pause();
    }
    const taken = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return taken;
  }

  release(): Buffer {
    this.#socket.off('data', this.#onData);
    this.#socket.off('error', this.#onError);
    this.#socket.off('close', this.#onClose);
    return this.#bytes;
  }

  readonly #onData = (bytes: Buffer) => {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    this.#socket.pause();
    this.#wake?.();
  };

  readonly #onError = (error: Error) => this.#fail(disconnected(this.#name, error));
  readonly #onClose = () => this.#fail(disconnected(this.#name));

  #fail(failure: RpcError) {
    this.#failure ??= failure;
    this.#wake?.();
  }
}

export function disconnected(name: string, error?: Error): RpcError {
  const why = error === undefined ? '' : `: ${error.message}`;
  const message = `${name}: the server closed the connection${why}`;
  return unavailable('NBD_DISCONNECTED', message, { export: name });
}

export function timedOut(name: string, timeoutMs: number): RpcError {
  const message = `${name}: the server did not answer within ${timeoutMs} ms`;
  const metadata = { export: name, timeoutMs: String(timeoutMs) };
  return deadlineExceeded('NBD_TIMEOUT', message, metadata);
}
