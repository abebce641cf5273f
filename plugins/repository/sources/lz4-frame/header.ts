import { dataLoss, invalidArgument, type RpcError, unimplemented } from '../../../../sdk/errors.ts';
import { imageSizeMaxBytes } from '../limits.ts';
import { xxHash32 } from './xxhash32.ts';

export const lz4FrameMagic = 0x184d2204;
/** Set in a block's length when its bytes are stored as they are. */
export const rawBlockFlag = 0x80000000;
/** Magic, flags, block size, content size, dictionary id, checksum. */
export const headerMaxBytes = 4 + 1 + 1 + 8 + 4 + 1;

export type FrameHeader = {
  headerBytes: number;
  blockMaxBytes: number;
  blockChecksums: boolean;
  contentChecksum: boolean;
  contentBytes?: number;
};

const flag = { version: 0x40, independent: 0x20, blockChecksum: 0x10, size: 0x08, content: 0x04 };
const blockSizes: Record<number, number> = { 4: 2 ** 16, 5: 2 ** 18, 6: 2 ** 20, 7: 2 ** 22 };

export function corruptFrame(name: string, what: string, offset: number): RpcError {
  return dataLoss('SOURCE_CORRUPT', `${name}: ${what} (at byte ${offset})`, {
    path: name,
    what,
    offset: String(offset),
  });
}

/**
 * The header that exports write: 64 KiB blocks, each independent, no checksums, the size if known.
 */
export function encodeFrameHeader(contentBytes?: number): Uint8Array {
  const bytes = new Uint8Array(contentBytes === undefined ? 7 : 15);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, lz4FrameMagic, true);
  bytes[4] = flag.version | flag.independent | (contentBytes === undefined ? 0 : flag.size);
  bytes[5] = 4 << 4;
  if (contentBytes !== undefined) view.setBigUint64(6, BigInt(contentBytes), true);
  bytes[bytes.length - 1] = (xxHash32(bytes.subarray(4, -1)) >>> 8) & 0xff;
  return bytes;
}

/** `bytes` is the start of the frame. Linked blocks cannot be read at random and are refused. */
export function parseFrameHeader(bytes: Uint8Array, name: string): FrameHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 4 || view.getUint32(0, true) !== lz4FrameMagic) {
    throw invalidArgument('SOURCE_NOT_LZ4', `${name} is not an LZ4 frame`, { path: name });
  }
  if (bytes.length < 7) throw corruptFrame(name, 'the header is cut short', bytes.length);
  const flags = bytes[4]!;
  if (flags >>> 6 !== 1) throw corruptFrame(name, `frame version ${flags >>> 6}`, 4);
  if (flags & 0x02 || bytes[5]! & 0x8f) throw corruptFrame(name, 'reserved bits are set', 4);
  const blockMaxBytes = blockSizes[bytes[5]! >>> 4];
  if (blockMaxBytes === undefined) throw corruptFrame(name, `block size ${bytes[5]! >>> 4}`, 5);
  const headerBytes = 7 + (flags & flag.size ? 8 : 0) + (flags & 1 ? 4 : 0);
  if (bytes.length < headerBytes) {
    throw corruptFrame(name, 'the header is cut short', bytes.length);
  }
  const check = (xxHash32(bytes.subarray(4, headerBytes - 1)) >>> 8) & 0xff;
  if (check !== bytes[headerBytes - 1]) throw corruptFrame(name, 'the header is damaged', 4);
  if (flags & 1) throw refused(name, 'a dictionary', 'compress without one');
  if (!(flags & flag.independent)) {
    throw refused(name, 'linked blocks', 'compress with lz4 -BI (independent blocks)');
  }
  const size = flags & flag.size ? view.getBigUint64(6, true) : undefined;
  if (size !== undefined && size > BigInt(imageSizeMaxBytes)) {
    throw invalidArgument('SOURCE_TOO_LARGE', `${name} claims ${size} bytes`, {
      path: name,
      sizeBytes: String(size),
      limitBytes: String(imageSizeMaxBytes),
    });
  }
  return {
    headerBytes,
    blockMaxBytes,
    blockChecksums: Boolean(flags & flag.blockChecksum),
    contentChecksum: Boolean(flags & flag.content),
    ...(size === undefined ? {} : { contentBytes: Number(size) }),
  };
}

function refused(path: string, feature: string, advice: string): RpcError {
  const message = `${path} uses ${feature}, which is not read; ${advice}`;
  return unimplemented('SOURCE_UNSUPPORTED', message, { path, feature });
}
