import { invalidArgument } from '../../../sdk/errors.ts';
import { lz4FrameMagic } from './lz4-frame/header.ts';
import { isNbdAddress, parseNbdAddress } from './nbd/address.ts';
import { openFile } from './open-file.ts';
import type { ChainOptions } from './qcow2/chain.ts';
import { qcow2Magic } from './qcow2/header.ts';
import type { BlockSource } from './source.ts';

export type ImageFormat = 'raw' | 'qcow2' | 'raw.lz4';

export type OpenOptions = ChainOptions & {
  /**
   * With a format there is no guessing: a disk that a guest wrote can begin like any format.
   * Without one the first bytes decide, and `probed` of the result says so.
   */
  format?: ImageFormat;
  /** Of an NBD export: the dirty bitmap that tells what changed. */
  bitmap?: string;
};

export type OpenedSource = { source: BlockSource; format: ImageFormat; probed: boolean };

/**
 * Opens an image for reading: a file, or an NBD export by its URI. Its caller closes `source`. With
 * `bitmap` it can tell changes.
 */
export async function openSource(path: string, options: OpenOptions = {}): Promise<OpenedSource> {
  if (isNbdAddress(path)) return await openExport(path, options);
  if (options.bitmap !== undefined) {
    const text = `${path} is a file: only an NBD export tells of a dirty bitmap`;
    throw invalidArgument('BITMAP_WITHOUT_NBD', text, { path });
  }
  const probed = options.format === undefined;
  const format = options.format ?? (await probeFormat(path));
  // Where the first bytes of the image are believed, those of its backing files are too.
  const chain = { probeBacking: probed, ...options };
  // Each reader is loaded when used, so that a command does not wait for those that it needs not.
  if (format === 'raw') {
    const { openRaw } = await import('./raw.ts');
    return { source: await openRaw(path, options), format, probed };
  }
  if (format === 'qcow2') {
    const { openQcow2 } = await import('./qcow2/source.ts');
    return { source: await openQcow2(path, chain), format, probed };
  }
  if (format === 'raw.lz4') {
    const { openLz4Frame } = await import('./lz4-frame/source.ts');
    return { source: await openLz4Frame(path), format, probed };
  }
  throw invalidArgument('SOURCE_FORMAT_UNKNOWN', `no reader for format ${String(format)}`, {
    path,
    format: String(format),
    known: 'raw, qcow2, raw.lz4',
  });
}

async function openExport(uri: string, { format, bitmap }: OpenOptions): Promise<OpenedSource> {
  if (format !== undefined && format !== 'raw') {
    const text = `${uri} is an NBD export, whose bytes are those of the disk: not ${format}`;
    throw invalidArgument('SOURCE_FORMAT_UNKNOWN', text, { path: uri, format });
  }
  const changes = bitmap === undefined ? {} : { changes: { bitmap } };
  const { openNbd } = await import('./nbd/source.ts');
  const source = await openNbd(parseNbdAddress(uri), changes);
  return { source, format: 'raw', probed: false };
}

async function probeFormat(path: string): Promise<ImageFormat> {
  const file = await openFile(path);
  try {
    if (file.sizeBytes < 4) return 'raw';
    const start = new DataView(new ArrayBuffer(4));
    await file.read(0, new Uint8Array(start.buffer));
    if (start.getUint32(0) === qcow2Magic) return 'qcow2';
    if (start.getUint32(0, true) === lz4FrameMagic) return 'raw.lz4';
    return 'raw';
  } finally {
    await file.close();
  }
}
