import type { Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { failedPrecondition, notFound, type RpcError } from '../../../../sdk/errors.ts';
import { imageSizeMaxBytes } from '../limits.ts';
import { ByteReader, disconnected } from './byte-reader.ts';
import {
  encodeOption,
  encodeText,
  handshakeFlag,
  info,
  limits,
  magic,
  option,
  optionError,
  optionReply,
  violation,
} from './protocol.ts';

export type Negotiated = {
  /** Another one than at the start if the connection was encrypted. */
  socket: Socket | TLSSocket;
  sizeBytes: number;
  /** What the export can do: bits of `transmissionFlag`. */
  flags: number;
  structured: boolean;
  /** The names of contexts that the server has, by their numbers. */
  contexts: Map<number, string>;
  /** Reads must start and end at multiples of this. */
  blockMinBytes: number;
  readMaxBytes: number;
  /** What the server sent already after the handshake. */
  early: Uint8Array;
};

export type HandshakeOptions = {
  name: string;
  exportName: string;
  contexts: string[];
  timeoutMs: number;
  tls?: ConnectionOptions;
};

/** Agrees with the server on everything that comes before the first read. */
export async function negotiate(socket: Socket, options: HandshakeOptions): Promise<Negotiated> {
  const handshake = new Handshake(socket, options);
  await handshake.greet();
  if (options.tls !== undefined) await handshake.startTls(options.tls);
  const structured = await handshake.askStructured();
  const contexts = structured ? await handshake.askContexts() : new Map<number, string>();
  const sizes = await handshake.go();
  return { ...sizes, structured, contexts, socket: handshake.socket, early: handshake.release() };
}

type Reply = { type: number; data: Buffer };

class Handshake {
  socket: Socket | TLSSocket;
  #reader: ByteReader;
  readonly #options: HandshakeOptions;

  constructor(socket: Socket, options: HandshakeOptions) {
    this.socket = socket;
    this.#options = options;
    this.#reader = new ByteReader(socket, options.name, options.timeoutMs);
  }

  release(): Uint8Array {
    return this.#reader.release();
  }

  async greet(): Promise<void> {
    const greeting = await this.#reader.take(18);
    const known =
      greeting.readBigUInt64BE(0) === magic.server && greeting.readBigUInt64BE(8) === magic.option;
    const flags = greeting.readUInt16BE(16);
    if (!known || !(flags & handshakeFlag.fixedNewstyle)) {
      throw violation(this.#options.name, 'does not speak fixed newstyle NBD');
    }
    const answer = Buffer.alloc(4);
    answer.writeUInt32BE(handshakeFlag.fixedNewstyle | (flags & handshakeFlag.noZeroes), 0);
    this.socket.write(answer);
  }

  /** Sends an option and gives all replies; the last is an acknowledgement or an error. */
  async #ask(type: number, data: Uint8Array): Promise<Reply[]> {
    this.socket.write(encodeOption(type, data));
    const replies: Reply[] = [];
    for (;;) {
      const head = await this.#reader.take(20);
      const length = head.readUInt32BE(16);
      const right = head.readBigUInt64BE(0) === magic.optionReply && head.readUInt32BE(8) === type;
      if (!right) throw violation(this.#options.name, 'answered another option');
      if (length > limits.optionReplyBytes || replies.length >= limits.optionReplies) {
        throw violation(this.#options.name, `answered an option with ${length} bytes`);
      }
      const reply = { type: head.readUInt32BE(12), data: await this.#reader.take(length) };
      replies.push(reply);
      if (reply.type === optionReply.ack || reply.type >= optionReply.errorBit) return replies;
    }
  }

  async startTls(tls: ConnectionOptions): Promise<void> {
    const replies = await this.#ask(option.startTls, new Uint8Array(0));
    if (replies.at(-1)?.type !== optionReply.ack) {
      throw this.#refused('encryption', replies.at(-1)!);
    }
    // Whatever came before encryption began could be anybody's.
    const early = this.#reader.release();
    if (early.length > 0) throw violation(this.#options.name, 'sent bytes before encryption');
    const encrypted = connectTls({ ...tls, socket: this.socket });
    const { name, timeoutMs } = this.#options;
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => encrypted.destroy(new Error('no TLS answer')), timeoutMs);
      encrypted.once('secureConnect', () => {
        clearTimeout(late);
        resolve();
      });
      encrypted.on('error', (error) => {
        clearTimeout(late);
        reject(disconnected(name, error));
      });
      encrypted.once('close', () => {
        clearTimeout(late);
        reject(disconnected(name));
      });
    });
    this.socket = encrypted;
    this.#reader = new ByteReader(encrypted, this.#options.name, this.#options.timeoutMs);
  }

  async askStructured(): Promise<boolean> {
    const replies = await this.#ask(option.structuredReply, new Uint8Array(0));
    return replies.at(-1)?.type === optionReply.ack;
  }

  async askContexts(): Promise<Map<number, string>> {
    const { exportName, contexts, name } = this.#options;
    const count = Buffer.alloc(4);
    count.writeUInt32BE(contexts.length, 0);
    const question = [encodeText(exportName), count, ...contexts.map(encodeText)];
    const found = new Map<number, string>();
    for (const { type, data } of await this.#ask(option.setMetaContext, Buffer.concat(question))) {
      if (type >= optionReply.errorBit) return new Map();
      if (type !== optionReply.metaContext) continue;
      const context = data.length > 4 ? data.subarray(4).toString('utf8') : '';
      if (!contexts.includes(context)) throw violation(name, 'offers a context nobody asked for');
      found.set(data.readUInt32BE(0), context);
    }
    return found;
  }

  async go(): Promise<Pick<Negotiated, 'sizeBytes' | 'flags' | 'blockMinBytes' | 'readMaxBytes'>> {
    const { name, exportName } = this.#options;
    const wanted = Buffer.from([0, 1, 0, info.blockSize]);
    const replies = await this.#ask(option.go, Buffer.concat([encodeText(exportName), wanted]));
    const last = replies.at(-1)!;
    if (last.type !== optionReply.ack) throw this.#refused(`the export "${exportName}"`, last);
    let size: { sizeBytes: number; flags: number } | undefined;
    let block = { blockMinBytes: 1, readMaxBytes: limits.readBytes };
    for (const { type, data } of replies) {
      if (type !== optionReply.info || data.length < 2) continue;
      const kind = data.readUInt16BE(0);
      if (kind === info.export) size = exportSize(name, data);
      if (kind === info.blockSize) block = blockSizes(name, data);
    }
    if (size === undefined) throw violation(name, 'did not tell the size of the export');
    return { ...size, ...block };
  }

  #refused(what: string, { type, data }: Reply): RpcError {
    const { name, exportName } = this.#options;
    const said = data.toString('utf8').slice(0, 200);
    const why = `${optionError[type] ?? `error ${type}`}${said === '' ? '' : ` (${said})`}`;
    const message = `${name}: the server refuses ${what}: ${why}`;
    if (optionError[type] === 'unknown export') {
      return notFound('NBD_EXPORT_UNKNOWN', message, { export: exportName });
    }
    return failedPrecondition('NBD_REFUSED', message, { export: exportName, why });
  }
}

function exportSize(name: string, data: Buffer): { sizeBytes: number; flags: number } {
  if (data.length !== 12) throw violation(name, 'told the size in a wrong form');
  const size = data.readBigUInt64BE(2);
  if (size > BigInt(imageSizeMaxBytes)) throw violation(name, `claims an export of ${size} bytes`);
  return { sizeBytes: Number(size), flags: data.readUInt16BE(10) };
}

function blockSizes(name: string, data: Buffer) {
  if (data.length !== 14) throw violation(name, 'told the block sizes in a wrong form');
  const blockMinBytes = data.readUInt32BE(2);
  const largest = data.readUInt32BE(10);
  const isPower = blockMinBytes > 0 && (blockMinBytes & (blockMinBytes - 1)) === 0;
  if (!isPower || blockMinBytes > 65536 || largest < blockMinBytes) {
    throw violation(name, `claims blocks of ${blockMinBytes} to ${largest} bytes`);
  }
  const readMaxBytes = Math.min(largest, limits.readBytes);
  return { blockMinBytes, readMaxBytes: readMaxBytes - (readMaxBytes % blockMinBytes) };
}
