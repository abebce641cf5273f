import { Readable } from 'node:stream';
import { createInflateRaw } from 'node:zlib';
import {
  type Entry,
  fromRandomAccessReader,
  type LocalFileHeader,
  RandomAccessReader,
  type ZipFile,
} from 'yauzl';
import { cancelled, isRpcError } from '../../../sdk/errors.ts';
import { type OpenFile, openFile } from '../sources/open-file.ts';
import { decodeName, nameProblem } from './entry-name.ts';
import { archiveDamaged, archiveInvalid, archiveTooLarge } from './faults.ts';
import { type ArchiveLimits, readBytes } from './limits.ts';

/**
 * A file in an archive. Sizes in bytes; they were checked against one another and against the
 * archive.
 */
export type ZipEntry = {
  name: string;
  dataStart: number;
  storedBytes: number;
  sizeBytes: number;
  crc: number;
  compressed: boolean;
};

/** An archive that is open for reading; its folder entries are left out. */
export type OpenZip = {
  file: OpenFile;
  entries: Map<string, ZipEntry>;
  close(): Promise<void>;
};

const utf8Flag = 0x0800;
const encryptedFlags = 0x0041;
const modeMask = 0o170000;
const regularMode = 0o100000;
const folderMode = 0o040000;

/**
 * Opens an archive and checks all of its directory: names, kinds, sizes, that no two entries share
 * bytes, and that the header before each file says the same as the directory. No data are read.
 */
export async function openZip(path: string, limits: ArchiveLimits): Promise<OpenZip> {
  const file = await openFile(path);
  try {
    const entries = await readDirectory(file, limits);
    return { file, entries, close: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readDirectory(file: OpenFile, limits: ArchiveLimits) {
  const zip = await openDirectory(file);
  if (zip.entryCount > limits.entriesMax) {
    throw archiveTooLarge('', 'the number of entries', limits.entriesMax, zip.entryCount);
  }
  const entries = new Map<string, ZipEntry>();
  const lowerNames = new Set<string>();
  for (;;) {
    const entry = await nextEntry(zip);
    if (entry === undefined) break;
    const name = checkedName(entry);
    if (lowerNames.has(name.toLowerCase())) {
      throw archiveInvalid('duplicate-name', name, 'the name is there twice (case apart)');
    }
    lowerNames.add(name.toLowerCase());
    if (name.endsWith('/')) continue;
    checkSizes(entry, name, limits);
    entries.set(name, await locate(zip, entry, name, file));
  }
  checkOverlap([...entries.values()]);
  return entries;
}

class OutsideError extends Error {}

/**
 * Gives yauzl its bytes. Positions come from the archive, and node:fs throws at a senseless one,
 * out of a callback where nobody could catch it: here it is an error like any other.
 */
class CheckedReader extends RandomAccessReader {
  readonly #file: OpenFile;

  constructor(file: OpenFile) {
    super();
    this.#file = file;
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ) {
    const end = position + length;
    const inside = Number.isSafeInteger(position) && position >= 0 && end <= this.#file.sizeBytes;
    if (!inside) {
      callback(new OutsideError(`it refers to bytes ${position} to ${end}, behind its end`));
      return;
    }
    const target = buffer.subarray(offset, offset + length);
    this.#file.read(position, target).then(() => callback(null), callback);
  }
}

function openDirectory(file: OpenFile): Promise<ZipFile> {
  const options = {
    autoClose: false,
    lazyEntries: true,
    decodeStrings: false,
    validateEntrySizes: false,
  };
  const reader = new CheckedReader(file);
  return new Promise((resolve, reject) => {
    fromRandomAccessReader(reader, file.sizeBytes, options, (error, zip) => {
      if (error === null) resolve(zip);
      else reject(noZip(file.path, error));
    });
  });
}

/** The library's own sentences speak of records that only authors of ZIP programs know. */
function noZip(path: string, cause: Error) {
  const why =
    cause instanceof OutsideError
      ? cause.message
      : 'its end, where the directory of a ZIP archive is, was cut off or changed';
  return archiveInvalid('not-a-zip', '', `${path} is no whole ZIP archive: ${why}`);
}

function nextEntry(zip: ZipFile): Promise<Entry | undefined> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      zip.off('entry', onEntry);
      zip.off('end', onEnd);
      zip.off('error', onError);
    };
    const onEntry = (entry: Entry) => {
      settle();
      resolve(entry);
    };
    const onEnd = () => {
      settle();
      resolve(undefined);
    };
    const onError = (error: Error) => {
      settle();
      reject(archiveDamaged('headers-disagree', '', `its directory: ${error.message}`));
    };
    zip.on('entry', onEntry);
    zip.on('end', onEnd);
    zip.on('error', onError);
    zip.readEntry();
  });
}

/** The name of a file, or of a folder with `/` at its end. */
function checkedName(entry: Entry): string {
  const isUtf8 = (entry.generalPurposeBitFlag & utf8Flag) !== 0;
  const name = decodeName(entry.fileNameRaw, isUtf8);
  const isFolder = name.endsWith('/');
  const problem = nameProblem(isFolder ? name.slice(0, -1) : name);
  if (problem !== undefined) throw archiveInvalid('unsafe-name', name, problem);
  const isUnix = entry.versionMadeBy >>> 8 === 3;
  const mode = isUnix ? (entry.externalFileAttributes >>> 16) & modeMask : 0;
  if (mode !== 0 && mode !== (isFolder ? folderMode : regularMode)) {
    throw archiveInvalid('not-a-file', name, 'links and special files are refused');
  }
  if (isFolder && (entry.uncompressedSize !== 0 || entry.compressedSize > 2)) {
    throw archiveInvalid('not-a-file', name, 'a folder has no content');
  }
  return name;
}

function checkSizes(entry: Entry, name: string, limits: ArchiveLimits) {
  if (entry.generalPurposeBitFlag & encryptedFlags) {
    throw archiveInvalid('encrypted', name, 'it is encrypted');
  }
  const { compressionMethod, compressedSize, uncompressedSize } = entry;
  if (compressionMethod !== 0 && compressionMethod !== 8) {
    throw archiveInvalid('unknown-compression', name, `compression method ${compressionMethod}`);
  }
  if (compressionMethod === 0 && compressedSize !== uncompressedSize) {
    throw archiveDamaged('size', name, 'it is stored and yet has two sizes');
  }
  if (uncompressedSize > Math.max(compressedSize, 1) * limits.ratioMax) {
    const ratio = Math.ceil(uncompressedSize / Math.max(compressedSize, 1));
    throw archiveTooLarge(name, 'the ratio of compression', limits.ratioMax, ratio);
  }
}

async function locate(zip: ZipFile, entry: Entry, name: string, file: OpenFile): Promise<ZipEntry> {
  if (entry.relativeOffsetOfLocalHeader + entry.compressedSize > file.sizeBytes) {
    throw archiveDamaged('truncated', name, 'it reaches beyond the end of the archive');
  }
  let header: LocalFileHeader;
  try {
    header = await localHeader(zip, entry);
  } catch (error) {
    throw archiveDamaged('headers-disagree', name, (error as Error).message);
  }
  if (!header.fileName.equals(entry.fileNameRaw)) {
    throw archiveDamaged('headers-disagree', name, 'the header before it has another name');
  }
  if (header.compressionMethod !== entry.compressionMethod) {
    throw archiveDamaged('headers-disagree', name, 'the header before it has another compression');
  }
  const dataStart = header.fileDataStart;
  if (dataStart + entry.compressedSize > file.sizeBytes) {
    throw archiveDamaged('truncated', name, 'it reaches beyond the end of the archive');
  }
  return {
    name,
    dataStart,
    storedBytes: entry.compressedSize,
    sizeBytes: entry.uncompressedSize,
    crc: entry.crc32,
    compressed: entry.compressionMethod === 8,
  };
}

function localHeader(zip: ZipFile, entry: Entry): Promise<LocalFileHeader> {
  return new Promise((resolve, reject) => {
    zip.readLocalFileHeader(entry, (error, header) => {
      if (error === null) resolve(header);
      else reject(error);
    });
  });
}

/** Entries that share their bytes make a small archive unpack to a huge one. */
function checkOverlap(entries: ZipEntry[]) {
  const sorted = entries.toSorted((a, b) => a.dataStart - b.dataStart);
  for (const [index, entry] of sorted.entries()) {
    const before = sorted[index - 1];
    if (before !== undefined && before.dataStart + before.storedBytes > entry.dataStart) {
      throw archiveInvalid('overlap', entry.name, `it shares bytes with ${before.name}`);
    }
  }
}

/** The stored bytes of an entry in pieces. */
export async function* storedPieces(
  { file }: OpenZip,
  entry: ZipEntry,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const end = entry.dataStart + entry.storedBytes;
  for (let at = entry.dataStart; at < end; at += readBytes) {
    if (signal?.aborted) throw cancelled('CANCELLED', 'reading the archive was cancelled');
    const piece = new Uint8Array(Math.min(readBytes, end - at));
    await file.read(at, piece);
    yield piece;
  }
}

/** The bytes of the file itself, never more than its entry says. Lies and damage are DATA_LOSS. */
export async function* filePieces(
  zip: OpenZip,
  entry: ZipEntry,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  if (!entry.compressed) {
    yield* storedPieces(zip, entry, signal);
    return;
  }
  const stored = Readable.from(storedPieces(zip, entry, signal), { objectMode: false });
  const inflater = createInflateRaw();
  stored.once('error', (error) => inflater.destroy(error));
  stored.pipe(inflater);
  let found = 0;
  try {
    for await (const piece of inflater as AsyncIterable<Uint8Array>) {
      found += piece.length;
      if (found > entry.sizeBytes) throw wrongSize(entry, `more than ${entry.sizeBytes}`);
      yield piece;
    }
  } catch (error) {
    if (isRpcError(error)) throw error;
    throw archiveDamaged('size', entry.name, `it does not unpack: ${(error as Error).message}`);
  } finally {
    stored.destroy();
    inflater.destroy();
  }
  if (found !== entry.sizeBytes) throw wrongSize(entry, String(found));
}

const wrongSize = (entry: ZipEntry, found: string) =>
  archiveDamaged('size', entry.name, `it should unpack to ${entry.sizeBytes} bytes, not ${found}`);
