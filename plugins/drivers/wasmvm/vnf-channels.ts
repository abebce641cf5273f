import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Logger } from '../../../sdk/ports/logger.ts';
import { remove } from './files.ts';
import { socketName } from './folders.ts';
import { channelBufferBytesMax, channelClientsMax, lineBytesMax } from './limits.ts';

type Channel = { server: Server; clients: Set<Socket> };

/** Hands a line to a guest; false when it cannot take one now. */
export type OfferLine = (computeId: string, line: string) => Promise<boolean>;

/**
 * A Unix socket for each guest with a VNF channel: lines of JSON, to the guest and back to all
 * clients. A line that is not a JSON object, or too long, ends its client's connection; so does a
 * guest that takes none.
 */
export class VnfChannels {
  readonly #folder: string;
  readonly #offer: OfferLine;
  readonly #logger: Logger;
  readonly #channels = new Map<string, Channel>();

  constructor(folder: string, offer: OfferLine, logger: Logger) {
    this.#folder = folder;
    this.#offer = offer;
    this.#logger = logger;
  }

  path(computeId: string): string {
    return join(this.#folder, socketName(computeId));
  }

  async open(computeId: string): Promise<void> {
    if (this.#channels.has(computeId)) return;
    const path = this.path(computeId);
    // A socket that a killed driver left behind.
    await remove(path);
    const clients = new Set<Socket>();
    const server = createServer((socket) => this.#accept(computeId, clients, socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, () => resolve());
    });
    server.on('error', (error) => this.#logger.error('VNF channel', { computeId, error }));
    this.#channels.set(computeId, { server, clients });
  }

  /** Sends what a guest wrote to everybody who listens. */
  send(computeId: string, line: string): void {
    for (const client of this.#channels.get(computeId)?.clients ?? []) {
      client.write(`${line}\n`);
      if (client.writableLength > channelBufferBytesMax) client.destroy();
    }
  }

  async close(computeId: string): Promise<void> {
    const channel = this.#channels.get(computeId);
    if (!channel) return;
    this.#channels.delete(computeId);
    for (const client of channel.clients) client.destroy();
    // Closing removes the socket from its folder.
    await new Promise<void>((resolve) => channel.server.close(() => resolve()));
  }

  async closeAll(): Promise<void> {
    for (const computeId of [...this.#channels.keys()]) await this.close(computeId);
  }

  #accept(computeId: string, clients: Set<Socket>, socket: Socket): void {
    if (clients.size >= channelClientsMax) {
      socket.destroy();
      return;
    }
    clients.add(socket);
    socket.on('close', () => clients.delete(socket));
    // A client that goes away in the middle is no event of ours.
    socket.on('error', () => socket.destroy());
    this.#serve(computeId, socket).catch((error) => {
      this.#logger.warn('VNF channel', { computeId, error });
      socket.destroy();
    });
  }

  async #serve(computeId: string, socket: Socket): Promise<void> {
    let rest = Buffer.alloc(0);
    for await (const chunk of socket) {
      rest = Buffer.concat([rest, chunk as Buffer]);
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        const line = canonicalLine(rest.subarray(0, end));
        rest = rest.subarray(end + 1);
        if (line === undefined || !(await this.#offer(computeId, line))) {
          socket.destroy();
          return;
        }
      }
      if (rest.length > lineBytesMax) {
        socket.destroy();
        return;
      }
    }
  }
}

/** The line as a guest may expect it: a JSON object without spaces between its parts. */
function canonicalLine(bytes: Uint8Array): string | undefined {
  if (bytes.length > lineBytesMax) return undefined;
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    const line = JSON.stringify(value);
    return Buffer.byteLength(line) <= lineBytesMax ? line : undefined;
  } catch {
    return undefined;
  }
}
