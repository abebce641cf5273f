import { chmod } from 'node:fs/promises';
import * as grpc from '@grpc/grpc-js';
import type { TlsMaterial } from '../../sdk/transport/grpc-channel.ts';
import { ByteServer } from '../../sdk/transport/grpc-server.ts';
import { type Caller, callerOfCertificate } from '../../sdk/transport/peer-identity.ts';
import type { IncomingCall } from '../../sdk/transport/transport.ts';
import type { Dispatcher } from '../routing/dispatcher.ts';
import { reflectionAlphaPath, reflectionPath } from '../services/reflection.ts';
import { RunFolder } from './run-folder.ts';

/** Everything that accepts connections: a socket per role, and TCP ports with mutual TLS. */
export class Listeners {
  readonly #dispatcher: Dispatcher;
  readonly #servers: ByteServer[] = [];
  readonly #sockets = new Set<string>();
  readonly #paths = new Set<string>();

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher;
  }

  /** Makes a method callable on every listener, present and future. */
  register(path: string): void {
    this.#paths.add(path);
    for (const server of this.#servers) server.register(path);
  }

  /**
   * Opens the socket of a role, unless it is open. Whoever may open the file is the role: the
   * folder is 0700, the socket 0600.
   *
   * @throws RpcError ADDRESS_IN_USE, LISTEN_FAILED.
   */
  async openRole(folder: RunFolder, role: string): Promise<void> {
    if (this.#sockets.has(role)) return;
    this.#sockets.add(role);
    const path = RunFolder.socketIn(folder.path, role);
    await folder.clear(path);
    const caller: Caller = { role, identity: 'local' };
    const server = this.#server(() => caller);
    await server.bind(`unix:${path}`, grpc.ServerCredentials.createInsecure());
    await chmod(path, 0o600);
  }

  /**
   * Listens on "host:port" with mutual TLS; the caller is in the client's certificate. Returns the
   * port.
   *
   * @throws RpcError UNAVAILABLE LISTEN_FAILED.
   */
  openTls(address: string, tls: TlsMaterial): Promise<number> {
    const pair = { private_key: Buffer.from(tls.key), cert_chain: Buffer.from(tls.certificate) };
    const credentials = grpc.ServerCredentials.createSsl(Buffer.from(tls.ca), [pair], true);
    return this.#server(callerOfCertificate).bind(address, credentials);
  }

  /** Stops accepting; breaks off what still runs after that time. */
  async close(graceMs: number): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.shutdown(graceMs)));
  }

  #server(identify: (subjectAltName: string | undefined) => Caller | undefined): ByteServer {
    const server = new ByteServer((call, peer) =>
      this.#dispatcher.serve(renamed(call), identify(peer.subjectAltName)),
    );
    for (const path of this.#paths) server.register(path);
    server.register(reflectionAlphaPath);
    this.#servers.push(server);
    return server;
  }
}

/** The older reflection has the same bytes under another name. */
function renamed(call: IncomingCall): IncomingCall {
  return call.path === reflectionAlphaPath ? { ...call, path: reflectionPath } : call;
}
