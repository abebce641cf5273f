/** What clients ask in the transmission phase, and whether it may be done. No I/O here. */
import { command, commandFlag, errno, magic, violation } from '../sources/nbd/protocol.ts';
import { pieceBytes, requestBytesMax } from './limits.ts';

export type Request = {
  type: number;
  flags: number;
  cookie: bigint;
  offset: number;
  length: number;
};

export const requestHeadBytes = 28;

/** What a client and this server agreed on, as far as requests depend on it. */
export type Agreement = {
  sizeBytes: number;
  isWritable: boolean;
  /** Largest read in bytes. */
  readBytesMax: number;
  hasStatus: boolean;
};

const known = new Set<number>(Object.values(command));
const writing = new Set<number>([command.write, command.trim, command.writeZeroes]);
const ranged = new Set<number>([...writing, command.read, command.cache, command.blockStatus]);

/** The head of a request. Anything but a request is thrown: nothing after it can be understood. */
export function parseRequest(head: Buffer, name: string): Request {
  if (head.readUInt32BE(0) !== magic.request) {
    throw violation(name, 'sent something that is no request', 'client');
  }
  const type = head.readUInt16BE(6);
  const length = head.readUInt32BE(24);
  if (type === command.write && length > requestBytesMax) {
    throw violation(name, `wants to write ${length} bytes at once`, 'client');
  }
  const offset = head.readBigUInt64BE(16);
  return {
    flags: head.readUInt16BE(4),
    type,
    cookie: head.readBigUInt64BE(8),
    // Beyond what a number holds every offset is equally far outside.
    offset: Number(offset),
    length,
  };
}

/** Why a request is refused, as NBD's error number and in words; undefined when it is right. */
export function refuse(
  request: Request,
  agreed: Agreement,
): { errno: number; text: string } | undefined {
  const { type, flags, offset, length } = request;
  const invalid = (text: string) => ({ errno: errno.inval, text });
  if (!known.has(type)) return invalid(`command ${type} is not known`);
  if (writing.has(type) && !agreed.isWritable) {
    return { errno: errno.perm, text: 'the export is read-only' };
  }
  if (!ranged.has(type)) return undefined;
  if (length === 0) return invalid('the length is 0');
  if (!(offset + length <= agreed.sizeBytes)) {
    const text = `${length} bytes at ${offset} are not all in ${agreed.sizeBytes}`;
    const isWrite = type === command.write || type === command.writeZeroes;
    return { errno: isWrite ? errno.noSpace : errno.inval, text };
  }
  if (type === command.blockStatus && !agreed.hasStatus) return invalid('no context was agreed on');
  if (type !== command.read) return undefined;
  if (length > agreed.readBytesMax) {
    return invalid(`${length} bytes are more than ${agreed.readBytesMax}`);
  }
  if ((flags & commandFlag.df) !== 0 && length > pieceBytes) {
    return { errno: errno.overflow, text: `${length} bytes do not go into one piece` };
  }
  return undefined;
}
