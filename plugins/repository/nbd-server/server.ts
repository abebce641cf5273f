/** An NBD server over disks; docs/decisions/0017-nbd-server.md says what it speaks. */
import { createServer, type Server, type Socket } from 'node:net';
import type { TlsOptions } from 'node:tls';
import { invalidArgument, isRpcError, RpcError } from '../../../sdk/errors.ts';
import type { ServedDisk } from './disk.ts';
import { Exports } from './exports.ts';
import { handshake } from './handshake.ts';
import { clientsMax, drainMs, faultsToldMax, keepAliveMs } from './limits.ts';
import { isLocal, type ListenAddress, listen } from './listen.ts';
import { Session } from './session.ts';

export type NbdServerOptions = {
  /** By export name; the first is the one without a name as well. At least one. */
  disks: ReadonlyMap<string, ServedDisk>;
  listen: ListenAddress;
  /** Own certificate and the authority of the clients': with it everybody must encrypt. */
  tls?: TlsOptions;
  /** What went wrong for a client, once for each sentence. */
  onFault(text: string): void;
};

type Client = { socket: Socket; session?: Session; ended: Promise<void> };

/** LISTENING → DRAINING → CLOSED. The disks belong to the caller, who closes them afterwards. */
export class NbdServer {
  readonly address: ListenAddress;
  readonly #server: Server;
  readonly #exports: Exports;
  readonly #options: NbdServerOptions;
  readonly #clients = new Set<Client>();
  readonly #told = new Set<string>();
  #count = 0;
  #isDraining = false;

  private constructor(server: Server, address: ListenAddress, options: NbdServerOptions) {
    this.#server = server;
    this.address = address;
    this.#options = options;
    this.#exports = new Exports(options.disks);
    server.on('connection', (socket) => this.#accept(socket));
    server.on('error', (error) => this.#tell(`the listening socket: ${error.message}`));
  }

  /** TLS_REQUIRED (INVALID_ARGUMENT) for an address that other machines reach without `tls`. */
  static async start(options: NbdServerOptions): Promise<NbdServer> {
    if (!isLocal(options.listen) && options.tls === undefined) {
      const text = 'other machines reach this address: it needs TLS, name certificates (--certs)';
      throw invalidArgument('TLS_REQUIRED', text);
    }
    const server = createServer({ noDelay: true });
    const address = await listen(server, options.listen);
    return new NbdServer(server, address, options);
  }

  get clientCount(): number {
    return this.#clients.size;
  }

  /** Takes no more clients and requests, answers those under way, and ends every connection. */
  async close(): Promise<void> {
    if (this.#isDraining) return;
    this.#isDraining = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const { socket, session } of this.#clients) {
      if (session === undefined) socket.destroy();
      else session.stop();
    }
    const late = setTimeout(() => {
      for (const { socket } of this.#clients) socket.destroy();
    }, drainMs);
    await Promise.all([...this.#clients].map(({ ended }) => ended));
    clearTimeout(late);
    await closed;
  }

  #accept(socket: Socket): void {
    // Whoever reads or writes hears of it; between two of them nobody does.
    socket.on('error', () => undefined);
    this.#count += 1;
    const name = `client ${this.#count}`;
    const isFull = this.#clients.size >= clientsMax;
    if (isFull) this.#tell(`a client was refused: ${clientsMax} are connected already`);
    if (isFull || this.#isDraining) {
      socket.destroy();
      return;
    }
    socket.setKeepAlive(true, keepAliveMs);
    const client: Client = { socket, ended: Promise.resolve() };
    this.#clients.add(client);
    client.ended = this.#serve(client, name).finally(() => this.#clients.delete(client));
  }

  async #serve(client: Client, name: string): Promise<void> {
    try {
      const { tls } = this.#options;
      const context = { exports: this.#exports, ...(tls && { tls }) };
      const established = await handshake(client.socket, name, context);
      if (established === undefined) return;
      client.socket = established.socket;
      client.socket.on('error', () => undefined);
      client.session = new Session(established, name, (text) => this.#tell(text));
      if (this.#isDraining) client.session.stop();
      await client.session.run();
    } catch (error) {
      if (!isRpcError(error, 'NBD_DISCONNECTED') && !isRpcError(error, 'NBD_CLOSED')) {
        // Without its number, so that a client that tries again and again is told of once.
        this.#tell(RpcError.from(error).message.replace(name, 'a client'));
      }
    } finally {
      await ended(client.socket);
    }
  }

  #tell(text: string): void {
    if (this.#told.has(text) || this.#told.size >= faultsToldMax) return;
    this.#told.add(text);
    this.#options.onFault(text);
  }
}

/** Sends what is left and closes; a client that takes it too slowly is cut off. */
function ended(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed || socket.destroyed) return resolve();
    const late = setTimeout(() => socket.destroy(), drainMs);
    socket.once('close', () => {
      clearTimeout(late);
      resolve();
    });
    // A client that sent more than was read would keep the connection half open.
    socket.resume();
    socket.end();
  });
}
