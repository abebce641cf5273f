/** The handshake of one client: fixed newstyle, up to GO or EXPORT_NAME. */
import type { Socket } from 'node:net';
import { createServer, type TlsOptions } from 'node:tls';
import { ByteReader, disconnected } from '../sources/nbd/byte-reader.ts';
import {
  allocationContext,
  handshakeFlag,
  info,
  magic,
  option,
  optionReply,
  refusal,
  transmissionFlag,
  violation,
} from '../sources/nbd/protocol.ts';
import { blockSize } from '../store/limits.ts';
import type { ServedDisk } from './disk.ts';
import type { Exports } from './exports.ts';
import {
  handshakeMs,
  optionBytesMax,
  optionsMax,
  requestBytesMax,
  requestMs,
  simpleReadBytesMax,
} from './limits.ts';
import { parseContextOption, parseInfoOption } from './option-data.ts';
import { allocationId, encodeInfo, encodeOptionReply } from './replies.ts';

export type HandshakeContext = { exports: Exports; tls?: TlsOptions };

/** What a client that may send requests has agreed on. */
export type Established = {
  /** Another one than at the start if the connection was encrypted. */
  socket: Socket;
  reader: ByteReader;
  disk: ServedDisk;
  exportName: string;
  isStructured: boolean;
  hasStatus: boolean;
};

/**
 * Undefined when the client only looked and left. A client that breaks the rules is an RpcError:
 * close its connection.
 */
export async function handshake(
  socket: Socket,
  name: string,
  context: HandshakeContext,
): Promise<Established | undefined> {
  const talk = new Handshake(socket, name, context);
  const late = setTimeout(() => talk.socket.destroy(), handshakeMs);
  try {
    await talk.greet();
    for (let count = 0; count < optionsMax; count++) {
      const end = await talk.option();
      if (end === 'left') return undefined;
      if (end !== 'more') return end;
    }
    throw violation(name, `sent ${optionsMax} options and asks nothing`, 'client');
  } finally {
    clearTimeout(late);
  }
}

export function readBytesMax(isStructured: boolean): number {
  return isStructured ? requestBytesMax : simpleReadBytesMax;
}

const none = new Uint8Array(0);

class Handshake {
  socket: Socket;
  #reader: ByteReader;
  readonly #name: string;
  readonly #context: HandshakeContext;
  #isEncrypted = false;
  #isStructured = false;
  #noZeroes = false;
  /** The disk whose context the client selected. */
  #statusOf: ServedDisk | undefined;

  constructor(socket: Socket, name: string, context: HandshakeContext) {
    this.socket = socket;
    this.#name = name;
    this.#context = context;
    this.#reader = new ByteReader(socket, name, requestMs, 'client');
  }

  async greet(): Promise<void> {
    const greeting = Buffer.alloc(18);
    greeting.writeBigUInt64BE(magic.server, 0);
    greeting.writeBigUInt64BE(magic.option, 8);
    greeting.writeUInt16BE(handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes, 16);
    this.socket.write(greeting);
    const flags = (await this.#reader.take(4)).readUInt32BE(0);
    if ((flags & ~3) !== 0 || !(flags & handshakeFlag.fixedNewstyle)) {
      throw violation(this.#name, 'does not speak fixed newstyle NBD', 'client');
    }
    this.#noZeroes = (flags & handshakeFlag.noZeroes) !== 0;
  }

  async option(): Promise<Established | 'more' | 'left'> {
    const head = await this.#reader.take(16);
    const type = head.readUInt32BE(8);
    const length = head.readUInt32BE(12);
    if (head.readBigUInt64BE(0) !== magic.option || length > optionBytesMax) {
      throw violation(this.#name, `sent an option of ${length} bytes`, 'client');
    }
    const data = await this.#reader.take(length);
    if (type === option.abort) {
      this.#reply(type, optionReply.ack);
      return 'left';
    }
    const mustEncrypt = this.#context.tls !== undefined && !this.#isEncrypted;
    if (mustEncrypt && type !== option.startTls) {
      if (type === option.exportName) throw violation(this.#name, 'does not encrypt', 'client');
      this.#refuse(type, refusal.tlsRequired, 'begin with TLS');
      return 'more';
    }
    return (await this.#decide(type, data)) ?? 'more';
  }

  async #decide(type: number, data: Buffer): Promise<Established | undefined> {
    switch (type) {
      case option.exportName:
        return this.#exportName(data.toString('utf8'));
      case option.go:
      case option.info:
        return this.#go(type, data);
      case option.listMetaContext:
      case option.setMetaContext:
        return this.#contexts(type, data);
      case option.list:
      case option.structuredReply:
      case option.startTls:
        if (data.length > 0) this.#refuse(type, refusal.invalid, 'this option has no data');
        else if (type === option.list) this.#list();
        else if (type === option.startTls) await this.#startTls();
        else {
          this.#isStructured = true;
          this.#reply(type, optionReply.ack);
        }
        return undefined;
      default:
        this.#refuse(type, refusal.unsupported, `option ${type} is not known`);
        return undefined;
    }
  }

  #list(): void {
    for (const name of this.#context.exports.disks.keys()) {
      const bytes = Buffer.from(name);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length, 0);
      this.#reply(option.list, optionReply.server, Buffer.concat([length, bytes]));
    }
    this.#reply(option.list, optionReply.ack);
  }

  #go(type: number, data: Buffer): Established | undefined {
    const asked = parseInfoOption(data);
    if (asked === undefined) {
      this.#refuse(type, refusal.invalid, 'the lengths do not fit');
      return undefined;
    }
    const disk = this.#find(type, asked.exportName);
    if (disk === undefined) return undefined;
    this.#write(encodeInfo(type, info.export, exportInfo(disk)));
    this.#write(encodeInfo(type, info.blockSize, blockSizes(this.#isStructured)));
    if (asked.wanted.includes(info.name)) {
      this.#write(encodeInfo(type, info.name, Buffer.from(asked.exportName)));
    }
    this.#reply(type, optionReply.ack);
    return type === option.go ? this.#established(disk, asked.exportName) : undefined;
  }

  /** The option of old clients, whose only refusal is to close the connection. */
  #exportName(name: string): Established {
    const disk = this.#context.exports.find(name);
    if (disk === undefined) {
      throw violation(this.#name, `asks for an unknown export "${name.slice(0, 200)}"`, 'client');
    }
    this.#write([exportInfo(disk), this.#noZeroes ? none : new Uint8Array(124)]);
    return this.#established(disk, name);
  }

  #contexts(type: number, data: Buffer): undefined {
    const asked = parseContextOption(data);
    if (asked === undefined || !this.#isStructured) {
      const why = asked ? 'structured replies come first' : 'the lengths do not fit';
      this.#refuse(type, refusal.invalid, why);
      return;
    }
    const disk = this.#find(type, asked.exportName);
    if (disk === undefined) return;
    const isListing = type === option.listMetaContext;
    const names = isListing ? [allocationContext, 'base:'] : [allocationContext];
    const isAll = isListing && asked.queries.length === 0;
    const has = isAll || asked.queries.some((query) => names.includes(query));
    if (!isListing) this.#statusOf = has ? disk : undefined;
    if (has) {
      const id = Buffer.alloc(4);
      id.writeUInt32BE(isListing ? 0 : allocationId, 0);
      const context = Buffer.concat([id, Buffer.from(allocationContext)]);
      this.#reply(type, optionReply.metaContext, context);
    }
    this.#reply(type, optionReply.ack);
  }

  async #startTls(): Promise<void> {
    const { tls } = this.#context;
    if (tls === undefined || this.#isEncrypted) {
      const why = tls ? 'the connection is encrypted already' : 'there is no certificate';
      this.#refuse(option.startTls, tls ? refusal.invalid : refusal.policy, why);
      return;
    }
    this.#reply(option.startTls, optionReply.ack);
    // Whatever came before encryption began could be anybody's.
    if (this.#reader.release().length > 0) {
      throw violation(this.#name, 'sent bytes before encryption', 'client');
    }
    this.socket = await encrypted(this.socket, tls, this.#name);
    this.#reader = new ByteReader(this.socket, this.#name, requestMs, 'client');
    this.#isEncrypted = true;
    this.#isStructured = false;
    this.#statusOf = undefined;
  }

  #find(type: number, name: string): ServedDisk | undefined {
    const disk = this.#context.exports.find(name);
    if (disk === undefined) {
      const known = [...this.#context.exports.disks.keys()].slice(0, 5).join(', ');
      this.#refuse(type, refusal.unknownExport, `there is no such export; there is ${known}`);
    }
    return disk;
  }

  #established(disk: ServedDisk, exportName: string): Established {
    const { socket } = this;
    const hasStatus = this.#statusOf === disk;
    const isStructured = this.#isStructured;
    return { socket, reader: this.#reader, disk, exportName, isStructured, hasStatus };
  }

  #refuse(type: number, error: number, why: string): void {
    this.#reply(type, error, Buffer.from(why));
  }

  #reply(type: number, reply: number, data: Uint8Array = none): void {
    this.#write(encodeOptionReply(type, reply, data));
  }

  #write(pieces: readonly Uint8Array[]): void {
    this.socket.write(Buffer.concat(pieces));
  }
}

/** The server's side of TLS; a client without a certificate of the authority is refused. */
function encrypted(socket: Socket, tls: TlsOptions, name: string): Promise<Socket> {
  const options = { ...tls, requestCert: true, rejectUnauthorized: true };
  // It never listens: it knows how to check who it talks to.
  const server = createServer({ ...options, handshakeTimeout: handshakeMs });
  return new Promise((resolve, reject) => {
    const failed = (error?: Error) => reject(disconnected(name, error, 'client'));
    server.once('secureConnection', resolve);
    server.once('tlsClientError', failed);
    socket.once('close', () => failed());
    socket.once('error', failed);
    server.emit('connection', socket);
  });
}

/** Size and abilities of an export. */
function exportInfo(disk: ServedDisk): Buffer {
  const flag = transmissionFlag;
  const changes = flag.sendFlush | flag.sendFua | flag.sendTrim | flag.sendWriteZeroes;
  const always = flag.hasFlags | flag.sendDf | flag.canMultiConn | flag.sendCache;
  const bytes = Buffer.alloc(10);
  bytes.writeBigUInt64BE(BigInt(disk.sizeBytes), 0);
  bytes.writeUInt16BE(always | (disk.changes ? changes : flag.readOnly | flag.sendFlush), 8);
  return bytes;
}

function blockSizes(isStructured: boolean): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(1, 0);
  bytes.writeUInt32BE(blockSize, 4);
  bytes.writeUInt32BE(readBytesMax(isStructured), 8);
  return bytes;
}
