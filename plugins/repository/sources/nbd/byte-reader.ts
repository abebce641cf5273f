import type { Socket } from 'node:net';
import { deadlineExceeded, type RpcError, unavailable } from '../../../../sdk/errors.ts';
import type { Peer } from './protocol.ts';

/**
 * Takes exact numbers of bytes from a socket, each within a deadline, until `release` ends it and
 * gives what came too early. What it holds is bounded, because the socket is paused while nobody
 * waits.
 */
export class ByteReader {
  readonly #socket: Socket;
  readonly #name: string;
  readonly #timeoutMs: number;
  readonly #peer: Peer;
  #chunks: Buffer[] = [];
  #held = 0;
  #failure: RpcError | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: Socket, name: string, timeoutMs: number, peer: Peer = 'server') {
    this.#socket = socket;
    this.#name = name;
    this.#timeoutMs = timeoutMs;
    this.#peer = peer;
    socket.pause();
    socket.on('data', this.#onData);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  /**
   * `length` has been checked by the caller: it is held in memory. With `timeoutMs` Infinity it
   * waits as long as the connection lasts.
   */
  async take(length: number, timeoutMs = this.#timeoutMs): Promise<Buffer> {
    const late =
      timeoutMs === Number.POSITIVE_INFINITY
        ? undefined
        : setTimeout(() => this.fail(timedOut(this.#name, timeoutMs, this.#peer)), timeoutMs);
    try {
      while (this.#held < length) {
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
    const bytes = this.#joined();
    this.#hold(bytes.subarray(length));
    return bytes.subarray(0, length);
  }

  /** Every later wait fails with this; what is there already can still be taken. */
  fail(failure: RpcError): void {
    this.#failure ??= failure;
    this.#wake?.();
  }

  release(): Buffer {
    this.#socket.off('data', this.#onData);
    this.#socket.off('error', this.#onError);
    this.#socket.off('close', this.#onClose);
    return this.#joined();
  }

  readonly #onData = (bytes: Buffer) => {
    this.#chunks.push(bytes);
    this.#held += bytes.length;
    this.#socket.pause();
    this.#wake?.();
  };

  readonly #onError = (error: Error) => this.fail(disconnected(this.#name, error, this.#peer));
  readonly #onClose = () => this.fail(disconnected(this.#name, undefined, this.#peer));

  #joined(): Buffer {
    return this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
  }

  #hold(rest: Buffer): void {
    this.#chunks = [rest];
    this.#held = rest.length;
  }
}

export function disconnected(name: string, error?: Error, peer: Peer = 'server'): RpcError {
  const why = error === undefined ? '' : `: ${error.message}`;
  const message = `${name}: the ${peer} closed the connection${why}`;
  return unavailable('NBD_DISCONNECTED', message, { export: name });
}

export function timedOut(name: string, timeoutMs: number, peer: Peer = 'server'): RpcError {
  const message = `${name}: the ${peer} did not answer within ${timeoutMs} ms`;
  const metadata = { export: name, timeoutMs: String(timeoutMs) };
  return deadlineExceeded('NBD_TIMEOUT', message, metadata);
}
