import { closeSync, constants, openSync } from 'node:fs';
import net from 'node:net';
import { basename, dirname } from 'node:path';

/** What went wrong with a control channel, for callers that decide what to do next. */
export type ChannelFailure = 'CONNECT' | 'CLOSED' | 'DEADLINE' | 'OVERFLOW' | 'PROTOCOL';

/**
 * A control channel of a machine (QMP, guest agent, VNF) failed. The message names channel and
 * command.
 */
export class ChannelError extends Error {
  readonly failure: ChannelFailure;
  constructor(failure: ChannelFailure, message: string) {
    super(message);
    this.name = 'ChannelError';
    this.failure = failure;
  }
}

/**
 * The longest line that is accepted, in bytes: answers of QMP about many block nodes reach some 100
 * KiB.
 */
export const lineBytesMax = 16 * 1024 * 1024;
const connectRetryMs = 20;

/** A Unix stream socket that speaks one JSON object a line, with bounded buffers. */
export class JsonLineSocket {
  readonly name: string;
  onMessage: (message: object) => void = () => {};
  onEnd: (error: ChannelError) => void = () => {};
  readonly #socket: net.Socket;
  #chunks: Buffer[] = [];
  #bufferedBytes = 0;
  #ended: ChannelError | undefined;

  private constructor(socket: net.Socket, name: string) {
    this.name = name;
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#end('CLOSED', error.message));
    socket.on('close', () => this.#end('CLOSED', 'the other side closed it'));
  }

  /**
   * Connects within `deadlineMs`; until then it tries again, because the server may still be
   * starting.
   */
  static async connect(path: string, deadlineMs: number): Promise<JsonLineSocket> {
    const end = performance.now() + deadlineMs;
    for (;;) {
      try {
        return new JsonLineSocket(await connectOnce(path), path);
      } catch (error) {
        if (performance.now() + connectRetryMs >= end) {
          const reason = error instanceof Error ? error.message : String(error);
          throw new ChannelError('CONNECT', `cannot connect to ${path}: ${reason}`);
        }
      }
      await new Promise((resolve) => setTimeout(resolve, connectRetryMs));
    }
  }

  /** Sends one object; `prefix` are raw bytes before it (the guest agent's 0xFF). */
  send(message: object, prefix?: Uint8Array): void {
    if (this.#ended) throw this.#ended;
    if (prefix) this.#socket.write(prefix);
    this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  close(): void {
    this.#end('CLOSED', 'closed here');
  }

  #end(failure: ChannelFailure, reason: string): void {
    if (this.#ended) return;
    this.#ended = new ChannelError(failure, `${this.name}: ${reason}`);
    this.#chunks = [];
    this.#socket.destroy();
    this.onEnd(this.#ended);
  }

  #receive(chunk: Buffer): void {
    let rest = chunk;
    for (;;) {
      const newline = rest.indexOf(10);
      if (newline < 0) break;
      const line = Buffer.concat([...this.#chunks, rest.subarray(0, newline)]);
      this.#chunks = [];
      this.#bufferedBytes = 0;
      rest = rest.subarray(newline + 1);
      this.#deliver(line);
      if (this.#ended) return;
    }
    if (rest.length === 0) return;
    this.#chunks.push(rest);
    this.#bufferedBytes += rest.length;
    if (this.#bufferedBytes > lineBytesMax) {
      this.#end('OVERFLOW', `a line is longer than ${lineBytesMax} bytes`);
    }
  }

  #deliver(line: Buffer): void {
    // 0xFF is the guest agent's delimiter: what stands before it belongs to somebody else's
    // request.
    const text = line
      .subarray(line.lastIndexOf(0xff) + 1)
      .toString('utf8')
      .trim();
    if (text === '') return;
    let message: unknown;
    try {
      message = JSON.parse(text);
    } catch {
      // A guest chooses these bytes: half a line from before a reset is normal, and the caller's
      // deadline stays.
      return;
    }
    if (typeof message === 'object' && message !== null) this.onMessage(message);
  }
}

async function connectOnce(path: string): Promise<net.Socket> {
  // The address of a Unix socket holds 107 bytes; going through an open folder makes any path
  // short.
  const folder = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return await new Promise((resolve, reject) => {
      const socket = net.connect(`/proc/self/fd/${folder}/${basename(path)}`);
      socket.once('connect', () => {
        socket.removeListener('error', reject);
        resolve(socket);
      });
      socket.once('error', reject);
    });
  } finally {
    closeSync(folder);
  }
}
