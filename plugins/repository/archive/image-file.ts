import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openLz4Frame } from '../sources/lz4-frame/source.ts';
import { openQcow2 } from '../sources/qcow2/source.ts';
import { openRaw } from '../sources/raw.ts';
import type { BlockSource, ByteRange } from '../sources/source.ts';
import { targetError } from '../targets/new-file.ts';
import { archiveInvalid, archiveTooLarge } from './faults.ts';
import type { ImageFileFormat } from './image-index.ts';
import { filePieces, type OpenZip, type ZipEntry } from './zip-reader.ts';

export type ImageFileOptions = {
  /** Sees every byte of the file once, before this function returns. */
  onBytes: (bytes: Uint8Array) => void;
  imageMaxBytes: number;
  scratchFolder: string | undefined;
  signal: AbortSignal | undefined;
};

/**
 * Opens an image in an archive for reading at random. A stored LZ4 frame is read where it lies;
 * anything else is unpacked into the scratch folder first and removed when the source is closed. A
 * qcow2 image may not name other files.
 */
export async function openImage(
  zip: OpenZip,
  entry: ZipEntry,
  format: ImageFileFormat,
  options: ImageFileOptions,
): Promise<BlockSource> {
  const { onBytes, imageMaxBytes: sizeMaxBytes, signal } = options;
  const scan = { onBytes, sizeMaxBytes, ...(signal === undefined ? {} : { signal }) };
  if (format === 'raw.lz4' && !entry.compressed) {
    const range = { start: entry.dataStart, end: entry.dataStart + entry.storedBytes };
    return openLz4Frame(zip.file.path, { ...scan, range, name: entry.name });
  }
  if (options.scratchFolder === undefined) {
    const what = `format ${format} has to be unpacked first, and there is no folder for it`;
    throw archiveInvalid('image', entry.name, what);
  }
  if (entry.sizeBytes > sizeMaxBytes) {
    throw archiveTooLarge(entry.name, 'the size of an image', sizeMaxBytes, entry.sizeBytes);
  }
  const path = join(options.scratchFolder, `import-${randomBytes(12).toString('hex')}.scratch`);
  try {
    await unpack(zip, entry, path, options);
    const source = await openUnpacked(path, entry.name, format, sizeMaxBytes);
    const close = async () => {
      await source.close();
      await rm(path, { force: true });
    };
    return new Unpacked(source, entry.name, close);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

async function openUnpacked(
  path: string,
  name: string,
  format: ImageFileFormat,
  sizeMaxBytes: number,
): Promise<BlockSource> {
  if (format === 'raw') return openRaw(path);
  if (format === 'raw.lz4') return openLz4Frame(path, { name, sizeMaxBytes });
  const source = await openQcow2(path, { backingRoots: [] });
  if (source.sizeBytes <= sizeMaxBytes) return source;
  await source.close();
  throw archiveTooLarge(name, 'the size of an image', sizeMaxBytes, source.sizeBytes);
}

async function unpack(zip: OpenZip, entry: ZipEntry, path: string, options: ImageFileOptions) {
  const file = await open(path, 'wx', 0o600);
  try {
    for await (const piece of filePieces(zip, entry, options.signal)) {
      options.onBytes(piece);
      await file.writeFile(piece);
    }
  } catch (error) {
    throw targetError(path, error);
  } finally {
    await file.close();
  }
}

/** A source that removes its file when it is closed. */
class Unpacked implements BlockSource {
  readonly name: string;
  readonly sizeBytes: number;
  readonly fileExtents?: NonNullable<BlockSource['fileExtents']>;
  readonly #source: BlockSource;
  readonly #close: () => Promise<void>;

  constructor(source: BlockSource, name: string, close: () => Promise<void>) {
    this.#source = source;
    this.#close = close;
    this.name = name;
    this.sizeBytes = source.sizeBytes;
    if (source.fileExtents !== undefined) this.fileExtents = source.fileExtents.bind(source);
  }

  extents(within?: readonly ByteRange[]) {
    return this.#source.extents(within);
  }

  read(offset: number, target: Uint8Array) {
    return this.#source.read(offset, target);
  }

  close() {
    return this.#close();
  }
}
