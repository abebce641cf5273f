/** The bytes of what the server says. No I/O here. */
import {
  magic,
  optionReply,
  replyFlagDone,
  replyType,
  stateHole,
  stateZero,
} from '../sources/nbd/protocol.ts';
import type { DiskPart } from './disk.ts';
import { extentsMax } from './limits.ts';

/** The number that we give to the context `base:allocation`. */
export const allocationId = 1;
/** More of a message than this, in bytes, is cut. */
const textBytesMax = 1000;

export function encodeOptionReply(
  option: number,
  type: number,
  data: Uint8Array = new Uint8Array(0),
): Uint8Array[] {
  const head = Buffer.alloc(20);
  head.writeBigUInt64BE(magic.optionReply, 0);
  head.writeUInt32BE(option, 8);
  head.writeUInt32BE(type, 12);
  head.writeUInt32BE(data.length, 16);
  return [head, data];
}

/** An information reply to INFO or GO. */
export function encodeInfo(option: number, kind: number, data: Uint8Array): Uint8Array[] {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(kind, 0);
  return encodeOptionReply(option, optionReply.info, Buffer.concat([head, data]));
}

/** Success without data, or an error that an old client understands as well. */
export function encodeSimple(cookie: bigint, error = 0): Uint8Array {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(magic.simpleReply, 0);
  bytes.writeUInt32BE(error, 4);
  bytes.writeBigUInt64BE(cookie, 8);
  return bytes;
}

/** The data of a range as chunks: one for data that lie together, one for each hole. */
export function encodeParts(
  cookie: bigint,
  offset: number,
  parts: readonly DiskPart[],
  isLast: boolean,
): Uint8Array[] {
  const groups = grouped(parts);
  let at = offset;
  return groups.flatMap(({ length, pieces }, index) => {
    const flags = isLast && index === groups.length - 1 ? replyFlagDone : 0;
    const place = at;
    at += length;
    if (pieces.length > 0) {
      return [chunkHead({ cookie, flags, type: replyType.data, place, length }), ...pieces];
    }
    return [chunkHead({ cookie, flags, type: replyType.hole, place, length })];
  });
}

/** The same as one chunk, for a client that wants no fragments. */
export function encodeWhole(
  cookie: bigint,
  offset: number,
  parts: readonly DiskPart[],
): Uint8Array[] {
  const pieces = plainPieces(parts);
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const head = { cookie, flags: replyFlagDone, type: replyType.data, place: offset, length };
  return [chunkHead(head), ...pieces];
}

/** The bytes of the parts, zeros for holes. */
export function plainPieces(parts: readonly DiskPart[]): Uint8Array[] {
  return parts.map(({ bytes, length }) => bytes ?? new Uint8Array(length));
}

/** The last chunk of an answer that failed. */
export function encodeError(cookie: bigint, error: number, text: string): Uint8Array {
  const words = Buffer.from(text).subarray(0, textBytesMax);
  const bytes = Buffer.alloc(26);
  writeHead(bytes, { cookie, flags: replyFlagDone, type: replyType.error }, 6 + words.length);
  bytes.writeUInt32BE(error, 20);
  bytes.writeUInt16BE(words.length, 24);
  return Buffer.concat([bytes, words]);
}

/** Extents of `base:allocation`, neighbours of a kind joined. */
export class StatusReply {
  readonly #extents: { length: number; isZero: boolean }[] = [];

  /** False when there is no room for more: then the answer covers a part of the range. */
  add(length: number, isZero: boolean): boolean {
    const last = this.#extents.at(-1);
    if (last?.isZero === isZero) last.length += length;
    else if (this.#extents.length === extentsMax) return false;
    else this.#extents.push({ length, isZero });
    return true;
  }

  get count(): number {
    return this.#extents.length;
  }

  /** The answer, or only the beginning of it. */
  encode(cookie: bigint, countMax = extentsMax): Uint8Array {
    const extents = this.#extents.slice(0, countMax);
    const bytes = Buffer.alloc(24 + extents.length * 8);
    writeHead(bytes, { cookie, flags: replyFlagDone, type: replyType.status }, bytes.length - 20);
    bytes.writeUInt32BE(allocationId, 20);
    for (const [index, { length, isZero }] of extents.entries()) {
      bytes.writeUInt32BE(length, 24 + index * 8);
      bytes.writeUInt32BE(isZero ? stateHole | stateZero : 0, 28 + index * 8);
    }
    return bytes;
  }
}

type Head = { cookie: bigint; flags: number; type: number };

function writeHead(bytes: Buffer, { cookie, flags, type }: Head, length: number): void {
  bytes.writeUInt32BE(magic.structuredReply, 0);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(type, 6);
  bytes.writeBigUInt64BE(cookie, 8);
  bytes.writeUInt32BE(length, 16);
}

function chunkHead(head: Head & { place: number; length: number }): Uint8Array {
  const isHole = head.type === replyType.hole;
  const bytes = Buffer.alloc(isHole ? 32 : 28);
  writeHead(bytes, head, isHole ? 12 : 8 + head.length);
  bytes.writeBigUInt64BE(BigInt(head.place), 20);
  if (isHole) bytes.writeUInt32BE(head.length, 28);
  return bytes;
}

function grouped(parts: readonly DiskPart[]): { length: number; pieces: Uint8Array[] }[] {
  const groups: { length: number; pieces: Uint8Array[] }[] = [];
  for (const { length, bytes } of parts) {
    const last = groups.at(-1);
    const isData = bytes !== undefined;
    if (last === undefined || last.pieces.length > 0 !== isData) {
      groups.push({ length, pieces: isData ? [bytes] : [] });
      continue;
    }
    last.length += length;
    if (isData) last.pieces.push(bytes);
  }
  return groups;
}
