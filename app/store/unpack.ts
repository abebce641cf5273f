import { lstat, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { countKeptFrame } from '../../plugins/repository/store/frame-kept.ts';
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
import { tagOf } from '../../plugins/repository/targets/partial-name.ts';
import { createQcow2 } from '../../plugins/repository/targets/qcow2.ts';
import { createRaw } from '../../plugins/repository/targets/raw.ts';
import { alreadyExists, failedPrecondition, invalidArgument } from '../../sdk/errors.ts';
import { secondsSince, withStore } from './with-store.ts';

export const unpackFormats = ['raw', 'qcow2', 'raw.lz4'] as const;
export type UnpackFormat = (typeof unpackFormats)[number];

export type UnpackFilesOptions = Omit<UnpackOptions, 'keepPartial'> & {
  /** Folder of the repository. */
  store: string;
  /** Folder to unpack to; made when it is missing. */
  to: string;
  /** Default `raw`. */
  format?: UnpackFormat;
  /** Names of the images; default all. */
  images?: readonly string[];
  /** Worker threads; else one for each processor, at most 4. */
  workers?: number;
  /** Go on with what an interrupted unpack left, and leave it when interrupted. Default true. */
  resume?: boolean;
};

export type UnpackFilesResult = {
  package: string;
  /** `format`: what the file holds, whatever its name says. */
  images: (UnpackResult & { path: string; format: UnpackFormat })[];
  /** Bytes of the images that an interrupted unpack had written. */
  resumedBytes: number;
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
  const { store: folder, format = 'raw', workers } = options;
  if (!unpackFormats.includes(format)) {
    const text = `format "${format}" is not one of ${unpackFormats.join(', ')}`;
    throw invalidArgument('FIELD_VIOLATION', text, { field: 'format' });
  }
  return await withStore(folder, workers === undefined ? {} : { workers }, async (store) => {
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
        images.push({ ...result, path, format });
      }
      const resumedBytes = images.reduce((sum, image) => sum + image.resumedBytes, 0);
      return { package: packageId, images, resumedBytes, seconds: secondsSince(startMs) };
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
  options: UnpackFilesOptions,
): Promise<UnpackResult> {
  const { logicalBytes, root } = image.record;
  const { resume = true } = options;
  const tag = resume ? tagOf(format, root, String(logicalBytes)) : undefined;
  if (format === 'raw.lz4') return await copyFrame(image, path, options, tag);
  const create = format === 'qcow2' ? createQcow2 : createRaw;
  const target = await create(path, logicalBytes, tag);
  return await unpackImage(image, target, { ...options, keepPartial: resume });
}

// The stored blocks are what a frame carries: nothing is compressed again.
async function copyFrame(
  image: ImageReader,
  path: string,
  { signal, onProgress, resume: keepPartial = true }: UnpackFilesOptions,
  tag: string | undefined,
): Promise<UnpackResult> {
  const { name, logicalBytes: totalBytes } = image.record;
  let writtenBytes = 0;
  const blocks = async function* (first: number) {
    for await (const block of image.checkedBlocks(first)) {
      signal?.throwIfAborted();
      const doneBytes = block.index * 65536;
      writtenBytes += Math.min(65536, totalBytes - doneBytes);
      onProgress?.({ image: name, doneBytes, totalBytes });
      yield block;
    }
  };
  const check = (fd: number, end: number) =>
    countKeptFrame(image, { fd, start: 0, end }, { signal });
  const source = { sizeBytes: totalBytes, blocks, check, keepPartial };
  const kept = await writeLz4Frame(path, source, tag);
  const resumedBytes = Math.min(kept.blocks * 65536, totalBytes);
  return { name, logicalBytes: totalBytes, writtenBytes, resumedBytes, digests: {} };
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
