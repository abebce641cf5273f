import { connect, type Socket } from 'node:net';
import { failedPrecondition, RpcError } from '../../../../sdk/errors.ts';
import { formatNbdAddress, type NbdAddress } from './address.ts';
import { disconnected, timedOut } from './byte-reader.ts';
import { type HandshakeOptions, type Negotiated, negotiate } from './handshake.ts';
import { command, encodeRequest, limits } from './protocol.ts';
import { type Pending, ReplyParser, type StatusExtent } from './reply-parser.ts';

/** Why a connection is over; every later call fails with it. */
type Failure = RpcError;

/**
 * A connection to one export. At most `limits.requestsInFlight` requests are under way; more wait
 * their turn. A request that gets no answer within `timeoutMs` ends the connection, because its
 * answer could come later and fit no more.
 */
export class NbdConnection {
  readonly name: string;
  readonly negotiated: Negotiated;
  readonly #timeoutMs: number;
  readonly #requests = new Map<bigint, Pending>();
  readonly #waiting: (() => void)[] = [];
  #free = limits.requestsInFlight;
  #nextCookie = 1n;
  #failure: Failure | undefined;

  private constructor(name: string, negotiated: Negotiated, timeoutMs: number) {
    this.name = name;
    this.negotiated = negotiated;
    this.#timeoutMs = timeoutMs;
    const { socket, structured } = negotiated;
    const parser = new ReplyParser(name, structured, {
      find: (cookie) => this.#requests.get(cookie),
      remove: (cookie) => this.#requests.delete(cookie),
    });
    const push = (bytes: Uint8Array) => {
      if (this.#failure !== undefined) return;
      try {
        parser.push(bytes);
      } catch (error) {
        this.#fail(RpcError.from(error));
      }
    };
    socket.on('data', push);
    socket.on('error', (error) => this.#fail(disconnected(name, error)));
    socket.on('close', () => this.#fail(disconnected(name)));
    push(negotiated.early);
    // The handshake read on demand; from here on the bytes flow.
    socket.resume();
  }

  static async open(
    address: NbdAddress,
    options: Omit<HandshakeOptions, 'name' | 'exportName'>,
  ): Promise<NbdConnection> {
    const name = formatNbdAddress(address);
    const socket = await connectTo(address, name, options.timeoutMs);
    // Until the handshake ends its reader listens; an error between two reads must not be uncaught.
    const ignore = () => undefined;
    socket.on('error', ignore);
    try {
      const { exportName } = address;
      const negotiated = await negotiate(socket, { ...options, name, exportName });
      return new NbdConnection(name, negotiated, options.timeoutMs);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.#request(command.read, offset, target.length, (settle) => ({
      kind: 'read',
      offset,
      target,
      settle,
    }));
  }

  /** Writes; `bytes` must not change until it has resolved. */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    const pending = change(offset);
    await this.#request(command.write, offset, bytes.length, pending, bytes);
  }

  /** Makes a range zero without sending zeros. */
  async zero(offset: number, length: number): Promise<void> {
    await this.#request(command.writeZeroes, offset, length, change(offset));
  }

  /** Makes durable what was written before. */
  async flush(): Promise<void> {
    await this.#request(command.flush, 0, 0, change(0));
  }

  /** What the server knows of a range: by number of context, at least one extent each. */
  async status(offset: number, length: number): Promise<Map<number, StatusExtent[]>> {
    const contexts = new Map<number, StatusExtent[]>();
    await this.#request(command.blockStatus, offset, length, (settle) => ({
      kind: 'status',
      offset,
      contexts,
      settle,
    }));
    return contexts;
  }

  async #request(
    type: number,
    offset: number,
    length: number,
    pending: (settle: (error?: RpcError) => void) => Pending,
    bytes?: Uint8Array,
  ): Promise<void> {
    await this.#takeTurn();
    try {
      await new Promise<void>((resolve, reject) => {
        if (this.#failure !== undefined) {
          reject(this.#failure);
          return;
        }
        const cookie = this.#nextCookie;
        this.#nextCookie += 1n;
        const late = setTimeout(
          () => this.#fail(timedOut(this.name, this.#timeoutMs)),
          this.#timeoutMs,
        );
        const settle = (error?: RpcError) => {
          clearTimeout(late);
          if (error === undefined) resolve();
          else reject(error);
        };
        this.#requests.set(cookie, pending(settle));
        const { socket } = this.negotiated;
        socket.cork();
        socket.write(encodeRequest(type, cookie, offset, length));
        if (bytes !== undefined) socket.write(bytes);
        socket.uncork();
      });
    } finally {
      this.#giveTurn();
    }
  }

  async #takeTurn(): Promise<void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #giveTurn() {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }

  #fail(failure: Failure) {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    this.negotiated.socket.destroy();
    for (const { settle } of requests) settle(failure);
  }

  /** Tells the server and closes; requests that are under way fail. */
  async close(): Promise<void> {
    if (this.#failure !== undefined) return;
    const { socket } = this.negotiated;
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.end(encodeRequest(command.disconnect, 0n, 0, 0));
    this.#fail(failedPrecondition('NBD_CLOSED', `${this.name} was closed`, { export: this.name }));
    await closed;
  }
}

function change(offset: number): (settle: (error?: RpcError) => void) => Pending {
  return (settle) => ({ kind: 'change', offset, settle });
}

function connectTo(address: NbdAddress, name: string, timeoutMs: number): Promise<Socket> {
  const socket =
    'socketPath' in address
      ? connect({ path: address.socketPath })
      : connect({ host: address.host, port: address.port, noDelay: true });
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      socket.destroy();
      reject(timedOut(name, timeoutMs));
    }, timeoutMs);
    const failed = (error: Error) => {
      clearTimeout(late);
      reject(disconnected(name, error));
    };
    socket.once('error', failed);
    socket.once('connect', () => {
      clearTimeout(late);
      socket.off('error', failed);
      resolve(socket);
    });
  });
}
