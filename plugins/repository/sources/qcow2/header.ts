import { dataLoss, invalidArgument, type RpcError, unimplemented } from '../../../../sdk/errors.ts';
import { imageSizeMaxBytes, l1TableMaxBytes } from '../limits.ts';

/** `QFI\xfb` */
export const qcow2Magic = 0x514649fb;
/** The header with all its extensions and the backing file's name must lie in this many bytes. */
export const headerMaxBytes = 65536;
/** As in QEMU. */
const backingNameMaxBytes = 1023;
const backingFormatExtension = 0xe2792aca;

const incompatible = {
  dirty: 1n << 0n,
  corrupt: 1n << 1n,
  externalData: 1n << 2n,
  compressionType: 1n << 3n,
  extendedL2: 1n << 4n,
};

/** What a reader needs of a qcow2 header. All sizes in bytes; every value has been checked. */
export type Qcow2Header = {
  version: 2 | 3;
  clusterBits: number;
  clusterSize: number;
  sizeBytes: number;
  l1Offset: number;
  /** Entries of the L1 table that the image's size needs. */
  l1Entries: number;
  snapshotCount: number;
  snapshotsOffset: number;
  compression: 'deflate' | 'zstd';
  /** The refcounts may be stale; the data are not. */
  dirty: boolean;
  backing?: { name: string; format?: string };
};

export function corrupt(
  path: string,
  what: string,
  metadata: Record<string, string> = {},
): RpcError {
  return dataLoss('SOURCE_CORRUPT', `${path}: ${what}`, { path, what, ...metadata });
}

function unsupported(path: string, feature: string, advice: string): RpcError {
  const message = `${path} uses ${feature}, which is not read; ${advice}`;
  return unimplemented('SOURCE_UNSUPPORTED', message, { path, feature });
}

/**
 * `bytes` is the start of the file, at most `headerMaxBytes`. It comes from outside: nothing is
 * believed.
 */
export function parseHeader(bytes: Uint8Array, path: string): Qcow2Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 4 || view.getUint32(0) !== qcow2Magic) {
    throw invalidArgument('SOURCE_NOT_QCOW2', `${path} is not a qcow2 image`, { path });
  }
  if (bytes.length < 72) throw corrupt(path, 'the header is cut short');
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) {
    throw unsupported(path, `qcow2 version ${version}`, 'versions 2 and 3 are');
  }
  if (version === 3 && bytes.length < 104) throw corrupt(path, 'the header is cut short');
  const clusterBits = view.getUint32(20);
  if (clusterBits < 9 || clusterBits > 21) {
    throw corrupt(path, `clusters of 2^${clusterBits} bytes; 2^9 to 2^21 are allowed`);
  }
  const cryptMethod = view.getUint32(32);
  if (cryptMethod !== 0) throw unsupported(path, 'encryption', 'convert it with qemu-img first');
  const clusterSize = 2 ** clusterBits;
  const features = parseFeatures(view, version, path);
  const headerBytes = version === 2 ? 72 : view.getUint32(100);
  const sizeBytes = checkedSize(view.getBigUint64(24), path);
  const area = bytes.subarray(0, Math.min(bytes.length, clusterSize));
  return {
    version,
    clusterBits,
    clusterSize,
    sizeBytes,
    ...parseL1(view, sizeBytes, clusterSize, path),
    ...parseSnapshotTable(view, clusterSize, path),
    ...features,
    ...parseBacking(area, headerBytes, path),
  };
}

function checkedSize(size: bigint, path: string): number {
  if (size > BigInt(imageSizeMaxBytes)) {
    throw invalidArgument('SOURCE_TOO_LARGE', `${path} claims ${size} bytes`, {
      path,
      sizeBytes: String(size),
      limitBytes: String(imageSizeMaxBytes),
    });
  }
  return Number(size);
}

/** An offset that tables are read from: within what a number can hold, and at a cluster's start. */
function checkedOffset(view: DataView, at: number, clusterSize: number, path: string): number {
  const offset = view.getBigUint64(at);
  if (offset > BigInt(Number.MAX_SAFE_INTEGER) || Number(offset) % clusterSize !== 0) {
    throw corrupt(path, `the table offset ${offset} is not the start of a cluster`);
  }
  return Number(offset);
}

function parseL1(view: DataView, sizeBytes: number, clusterSize: number, path: string) {
  const perEntry = clusterSize * (clusterSize / 8);
  const l1Entries = Math.ceil(sizeBytes / perEntry);
  const present = view.getUint32(36);
  if (l1Entries * 8 > l1TableMaxBytes) {
    throw corrupt(path, `its size needs an L1 table of ${l1Entries} entries, more than allowed`);
  }
  if (present < l1Entries) {
    throw corrupt(path, `the L1 table has ${present} entries, its size needs ${l1Entries}`);
  }
  const l1Offset = checkedOffset(view, 40, clusterSize, path);
  if (l1Entries > 0 && l1Offset === 0) throw corrupt(path, 'it has no L1 table');
  return { l1Entries, l1Offset };
}

function parseSnapshotTable(view: DataView, clusterSize: number, path: string) {
  const snapshotCount = view.getUint32(60);
  const snapshotsOffset = snapshotCount === 0 ? 0 : checkedOffset(view, 64, clusterSize, path);
  return { snapshotCount, snapshotsOffset };
}

function parseFeatures(
  view: DataView,
  version: number,
  path: string,
): Pick<Qcow2Header, 'dirty' | 'compression'> {
  if (version === 2) return { dirty: false, compression: 'deflate' };
  const bits = view.getBigUint64(72);
  const known = Object.values(incompatible).reduce((all, bit) => all | bit, 0n);
  if ((bits & ~known) !== 0n) {
    const unknown = `unknown incompatible features 0x${(bits & ~known).toString(16)}`;
    throw unsupported(path, unknown, 'convert it with a newer qemu-img');
  }
  if (bits & incompatible.corrupt) {
    throw corrupt(path, 'it is marked corrupt; repair it with qemu-img check -r all');
  }
  if (bits & incompatible.externalData) {
    throw unsupported(path, 'an external data file', 'pack that raw file itself');
  }
  if (bits & incompatible.extendedL2) {
    throw unsupported(path, 'extended L2 entries', 'convert it with -o extended_l2=off');
  }
  const headerBytes = view.getUint32(100);
  if (headerBytes < 104 || headerBytes % 8 !== 0) {
    throw corrupt(path, `a header of ${headerBytes} bytes`);
  }
  const type = headerBytes > 104 && view.byteLength > 104 ? view.getUint8(104) : 0;
  if ((type !== 0) !== Boolean(bits & incompatible.compressionType)) {
    throw corrupt(path, 'the compression type and its feature bit disagree');
  }
  if (type > 1) throw unsupported(path, `compression type ${type}`, 'convert it with qemu-img');
  return {
    dirty: Boolean(bits & incompatible.dirty),
    compression: type === 1 ? 'zstd' : 'deflate',
  };
}

/**
 * The backing file's name and, from its header extension, its format. `area` is the first cluster.
 */
function parseBacking(
  area: Uint8Array,
  headerBytes: number,
  path: string,
): Pick<Qcow2Header, 'backing'> {
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
  const nameOffset = Number(view.getBigUint64(8));
  const nameBytes = view.getUint32(16);
  const end = nameOffset === 0 ? area.length : nameOffset;
  if (headerBytes > area.length || end > area.length || end < 72) {
    throw corrupt(path, 'the header reaches out of its cluster');
  }
  const format = findBackingFormat(area, headerBytes, Math.max(end, headerBytes), path);
  if (nameOffset === 0 || nameBytes === 0) return {};
  if (nameBytes > backingNameMaxBytes || nameOffset + nameBytes > area.length) {
    throw corrupt(path, `a backing file name of ${nameBytes} bytes at ${nameOffset}`);
  }
  const name = decodeText(area.subarray(nameOffset, nameOffset + nameBytes), path);
  return { backing: format === undefined ? { name } : { name, format } };
}

function findBackingFormat(area: Uint8Array, start: number, end: number, path: string) {
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
  for (let at = start; at + 8 <= end; ) {
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4);
    if (type === 0) return undefined;
    if (length > end - at - 8) throw corrupt(path, `a header extension of ${length} bytes`);
    if (type === backingFormatExtension) {
      return decodeText(area.subarray(at + 8, at + 8 + length), path);
    }
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return undefined;
}

function decodeText(bytes: Uint8Array, path: string): string {
  const text = new TextDecoder('utf-8', { fatal: false }).decode(bytes);
  if (text.includes('\0') || text.includes('\ufffd')) {
    throw corrupt(path, 'a name in the header is not valid text');
  }
  return text;
}
