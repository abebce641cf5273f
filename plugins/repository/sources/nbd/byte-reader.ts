import type { Socket } from 'node:net';
import { deadlineExceeded, type RpcError, unavailable } from '../../../../sdk/errors.ts';

/** Takes exact numbers of bytes from a socket, each within a deadline. For the handshake only. */
export class ByteReader {
  readonly #socket: Socket;
  readonly #name: string;
  readonly #timeoutMs: number;

  constructor(socket: Socket, name: string, timeoutMs: number) {
    this.#socket = socket;
    this.#name = name;
    this.#timeoutMs = timeoutMs;
  }

  /** `length` has been checked by the caller: it is held in memory. */
  async take(length: number): Promise<Buffer> {
    if (length === 0) return Buffer.alloc(0);
    const signal = AbortSignal.timeout(this.#timeoutMs);
    for (;;) {
      const bytes = this.#socket.read(length) as Buffer | null;
      if (bytes !== null) {
        if (bytes.length === length) return bytes;
        throw disconnected(this.#name);
      }
      if (this.#socket.readableEnded || this.#socket.destroyed) throw disconnected(this.#name);
      await this.#readable(signal);
    }
  }

  #readable(signal: AbortSignal): Promise<void> {
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      const settle = (error?: RpcError) => {
        for (const event of ['readable', 'end', 'close'] as const) socket.off(event, ready);
        socket.off('error', failed);
        signal.removeEventListener('abort', late);
        if (error === undefined) resolve();
        else reject(error);
      };
      const ready = () => settle();
      const failed = (error: Error) => settle(disconnected(this.#name, error));
      const late = () => settle(timedOut(this.#name, this.#timeoutMs));
      for (const event of ['readable', 'end', 'close'] as const) socket.once(event, ready);
      socket.once('error', failed);
      signal.addEventListener('abort', late, { once: true });
    });
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
