import type { Socket } from 'node:net';
import { disconnected, timedOut } from '../sources/nbd/byte-reader.ts';
import { slowReaderMs } from './limits.ts';

/**
 * Sends whole messages one after the other. A client that takes nothing for `slowReaderMs` loses
 * its connection.
 */
export class Outgoing {
  readonly #socket: Socket;
  readonly #name: string;
  #last: Promise<void> = Promise.resolve();

  constructor(socket: Socket, name: string) {
    this.#socket = socket;
    this.#name = name;
  }

  /** Resolves when the system has all bytes, which may change then. NBD_DISCONNECTED (UNAVAILABLE). */
  async send(pieces: readonly Uint8Array[]): Promise<void> {
    const sending = this.#last.then(() => this.#write(pieces));
    this.#last = sending.catch(() => undefined);
    await sending;
  }

  #write(pieces: readonly Uint8Array[]): Promise<void> {
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        socket.destroy(timedOut(this.#name, slowReaderMs, 'client'));
      }, slowReaderMs);
      const done = (error?: Error | null) => {
        clearTimeout(late);
        if (error) reject(disconnected(this.#name, error, 'client'));
        else resolve();
      };
      socket.cork();
      for (const [index, piece] of pieces.entries()) {
        if (index < pieces.length - 1) socket.write(piece);
        else socket.write(piece, done);
      }
      socket.uncork();
    });
  }
}
