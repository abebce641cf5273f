import { lstat, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type {
  ImageReader,
  ImageRecord,
  PackageReader,
  UnpackOptions,
  UnpackResult,
} from '../../plugins/repository/store/store.ts';
import { unpackImage } from '../../plugins/repository/store/unpack.ts';
import { writeLz4Frame } from '../../plugins/repository/targets/lz4-frame.ts';
import { targetError } from '../../plugins/repository/targets/new-file.ts';
import { createQcow2 } from '../../plugins/repository/targets/qcow2.ts';
import { createRaw } from '../../plugins/repository/targets/raw.ts';
import { alreadyExists, failedPrecondition, invalidArgument } from '../../sdk/errors.ts';
import { withStore } from './with-store.ts';

export const unpackFormats = ['raw', 'qcow2', 'raw.lz4'] as const;
export type UnpackFormat = (typeof unpackFormats)[number];

export type UnpackFilesOptions = UnpackOptions & {
  /** Folder of the repository. */
  store: string;
  /** Folder to unpack to; made when it is missing. */
  to: string;
  /** Default `raw`. */
  format?: UnpackFormat;
  /** Names of the images; default all. */
  images?: readonly string[];
};

export type UnpackFilesResult = {
  package: string;
  images: (UnpackResult & { path: string })[];
  seconds: number;
};

/**
 * Unpacks images of a package to files named as the images; other formats than raw get their
 * extension. Every block is checked on the way, and a file appears only when it is whole.
 */
export async function unpackFiles(
  packageId: string,
  options: UnpackFilesOptions,
): Promise<UnpackFilesResult> {
  const startMs = performance.now();
  const { store: folder, format = 'raw' } = options;
  if (!unpackFormats.includes(format)) {
    const text = `format "${format}" is not one of ${unpackFormats.join(', ')}`;
    throw invalidArgument('FIELD_VIOLATION', text, { field: 'format' });
  }
  return await withStore(folder, {}, async (store) => {
    const reader = await store.openPackage(packageId);
    try {
      const images: UnpackFilesResult['images'] = [];
      const wanted = chosen(reader, options.images).map((record) => ({
        record,
        path: join(options.to, fileName(record.name, format)),
      }));
      for (const { path } of wanted) await refuseExisting(path);
      for (const { record, path } of wanted) {
        await makeFolder(dirname(path));
        const result = await unpackOne(reader.image(record.name), path, format, options);
        images.push({ ...result, path });
      }
      const seconds = Math.round(performance.now() - startMs) / 1000;
      return { package: packageId, images, seconds };
    } finally {
      await reader.close();
    }
  });
}

// Before anything is written: a second attempt would stumble over what the first one left.
async function refuseExisting(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found) throw alreadyExists('TARGET_EXISTS', `${path} exists already`, { path });
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EEXIST' && code !== 'ENOTDIR') throw targetError(path, error);
    const text = `${path} cannot be a folder: a part of this path is a file`;
    throw failedPrecondition('TARGET_FOLDER_MISSING', text, { path });
  }
}

async function unpackOne(
  image: ImageReader,
  path: string,
  format: UnpackFormat,
  options: UnpackOptions,
): Promise<UnpackResult> {
  const { logicalBytes } = image.record;
  if (format === 'raw.lz4') return await copyFrame(image, path, options);
  const create = format === 'qcow2' ? createQcow2 : createRaw;
  return await unpackImage(image, await create(path, logicalBytes), options);
}

// The stored blocks are what a frame carries: nothing is compressed again.
async function copyFrame(
  image: ImageReader,
  path: string,
  options: UnpackOptions,
): Promise<UnpackResult> {
  const { name, logicalBytes } = image.record;
  let writtenBytes = 0;
  const blocks = async function* () {
    for await (const block of image.checkedBlocks()) {
      options.signal?.throwIfAborted();
      writtenBytes += Math.min(65536, logicalBytes - block.index * 65536);
      options.onProgress?.({
        image: name,
        doneBytes: block.index * 65536,
        totalBytes: logicalBytes,
      });
      yield block;
    }
  };
  await writeLz4Frame(path, blocks(), logicalBytes);
  return { name, logicalBytes, writtenBytes, digests: {} };
}

function chosen(reader: PackageReader, names?: readonly string[]): ImageRecord[] {
  if (names === undefined) return reader.manifest.images;
  return names.map((name) => reader.image(name).record);
}

/** The file name for an image in a format: `disk.raw` → `disk.raw.lz4`, `disk` → `disk.qcow2`. */
export function fileName(image: string, format: UnpackFormat): string {
  if (format === 'qcow2') return image.endsWith('.qcow2') ? image : `${image}.qcow2`;
  if (format === 'raw.lz4') {
    if (image.endsWith('.raw.lz4')) return image;
    return image.endsWith('.raw') ? `${image}.lz4` : `${image}.raw.lz4`;
  }
  return image;
}
