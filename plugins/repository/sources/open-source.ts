import { invalidArgument } from '../../../sdk/errors.ts';
import { lz4FrameMagic } from './lz4-frame/header.ts';
import { openLz4Frame } from './lz4-frame/source.ts';
import { openFile } from './open-file.ts';
import type { ChainOptions } from './qcow2/chain.ts';
import { qcow2Magic } from './qcow2/header.ts';
import { openQcow2 } from './qcow2/source.ts';
import { openRaw } from './raw.ts';
import type { BlockSource } from './source.ts';

export type ImageFormat = 'raw' | 'qcow2' | 'raw.lz4';

export type OpenOptions = ChainOptions & {
  /**
   * With a format there is no guessing: a disk that a guest wrote can begin like any format.
   * Without one the first bytes decide, and `probed` of the result says so.
   */
  format?: ImageFormat;
};

export type OpenedSource = { source: BlockSource; format: ImageFormat; probed: boolean };

/** Opens an image file for reading; its caller closes `source`. */
export async function openSource(path: string, options: OpenOptions = {}): Promise<OpenedSource> {
  const probed = options.format === undefined;
  const format = options.format ?? (await probeFormat(path));
  // Where the first bytes of the image are believed, those of its backing files are too.
  const chain = { probeBacking: probed, ...options };
  if (format === 'raw') return { source: await openRaw(path, options), format, probed };
  if (format === 'qcow2') return { source: await openQcow2(path, chain), format, probed };
  if (format === 'raw.lz4') return { source: await openLz4Frame(path), format, probed };
  throw invalidArgument('SOURCE_FORMAT_UNKNOWN', `no reader for format ${String(format)}`, {
    path,
    format: String(format),
    known: 'raw, qcow2, raw.lz4',
  });
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
