import { dataLoss, type RpcError } from '../../../../sdk/errors.ts';

/** Numbers of the NBD protocol (fixed newstyle, structured replies). All fields are big-endian. */
export const magic = {
  server: 0x4e42444d41474943n,
  option: 0x49484156454f5054n,
  optionReply: 0x0003e889045565a9n,
  request: 0x25609513,
  simpleReply: 0x67446698,
  structuredReply: 0x668e33ef,
};

export const handshakeFlag = { fixedNewstyle: 1, noZeroes: 2 };
export const option = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
};
export const optionReply = { ack: 1, server: 2, info: 3, metaContext: 4, errorBit: 0x80000000 };
export const refusal = {
  unsupported: 0x80000001,
  policy: 0x80000002,
  invalid: 0x80000003,
  tlsRequired: 0x80000005,
  unknownExport: 0x80000006,
  blockSizeRequired: 0x80000008,
};
export const optionError: Record<number, string> = {
  [refusal.unsupported]: 'unsupported',
  [refusal.policy]: 'forbidden by policy',
  [refusal.invalid]: 'invalid',
  [refusal.tlsRequired]: 'TLS required',
  [refusal.unknownExport]: 'unknown export',
  [refusal.blockSizeRequired]: 'block size required',
};
export const info = { export: 0, name: 1, description: 2, blockSize: 3 };
export const transmissionFlag = {
  hasFlags: 1,
  readOnly: 2,
  sendFlush: 4,
  sendFua: 8,
  sendTrim: 32,
  sendWriteZeroes: 64,
  sendDf: 128,
  canMultiConn: 256,
  sendCache: 1024,
};
export const command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
};
export const commandFlag = { fua: 1, noHole: 2, df: 4, reqOne: 8 };
export const replyFlagDone = 1;
export const replyType = {
  none: 0,
  data: 1,
  hole: 2,
  status: 5,
  error: 0x8001,
  errorOffset: 0x8002,
};
export const errorTypeBit = 0x8000;
/** Of the context `base:allocation`: takes no space. */
export const stateHole = 1;
/** The same: reads as zeros. */
export const stateZero = 2;
export const errno = { perm: 1, io: 5, inval: 22, noSpace: 28, overflow: 75, shutdown: 108 };

export const allocationContext = 'base:allocation';
export const depthContext = 'qemu:allocation-depth';

/** Bounds for what a server may make us hold. */
export const limits = {
  /** Of one read. QEMU allows 32 MiB; smaller pieces keep several in flight. */
  readBytes: 1 << 20,
  requestsInFlight: 8,
  /** Of one question about extents; the length is a 32-bit field. */
  statusBytes: 2 ** 30,
  /** QEMU's own bound: 1 MiB of extents in one answer. */
  statusPayloadBytes: (1 << 20) + 4,
  errorPayloadBytes: 4096 + 16,
  /** Pieces in which one read may be answered. */
  chunksPerReply: 4096,
  optionReplyBytes: 65536,
  optionReplies: 64,
  /** Export names and contexts. */
  nameBytes: 4096,
  /** Of a request to zero a range: a server that really writes needs time for it. */
  zeroBytes: 128 * 2 ** 20,
};

/** Who is at the other end of a connection, for messages. */
export type Peer = 'server' | 'client';

export function violation(name: string, what: string, peer: Peer = 'server'): RpcError {
  return dataLoss('NBD_PROTOCOL_VIOLATION', `${name}: the ${peer} ${what}`, { export: name, what });
}

export function encodeRequest(
  type: number,
  cookie: bigint,
  offset: number,
  length: number,
): Buffer {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt32BE(magic.request, 0);
  bytes.writeUInt16BE(type, 6);
  bytes.writeBigUInt64BE(cookie, 8);
  bytes.writeBigUInt64BE(BigInt(offset), 16);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}

export function encodeOption(type: number, data: Uint8Array): Buffer {
  const head = Buffer.alloc(16);
  head.writeBigUInt64BE(magic.option, 0);
  head.writeUInt32BE(type, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

/** A text with its length in 32 bits in front. */
export function encodeText(text: string): Buffer {
  const bytes = Buffer.from(text);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(bytes.length, 0);
  return Buffer.concat([head, bytes]);
}
