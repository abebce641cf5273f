import { basename } from 'node:path';
import {
  type OpenedSource,
  type OpenOptions,
  openSource,
} from '../../plugins/repository/sources/open-source.ts';
import type {
  ByteRange,
  ImageInput,
  PackedImageResult,
  PackOptions,
} from '../../plugins/repository/store/store.ts';
import { mapsOfImages, readChangeMap } from './change-map-file.ts';
import { withStore } from './with-store.ts';

export type PackFilesOptions = Pick<
  PackOptions,
  'packageId' | 'name' | 'labels' | 'parent' | 'samples' | 'compress' | 'onProgress' | 'signal'
> & {
  /** Folder of the repository; made when it is missing or empty. */
  store: string;
  /** File with the changed bytes; see change-map-file.ts. */
  changedMap?: string;
  /** Format of all images; else their first bytes tell. */
  format?: OpenOptions['format'];
};

export type PackFilesResult = {
  package: string;
  images: PackedImageResult[];
  /** False when an equal package had this id already. */
  isNew: boolean;
  seconds: number;
};

/**
 * Packs image files. An image is named as its file; the sources' and the store's errors come
 * through.
 */
export async function packFiles(
  paths: readonly string[],
  options: PackFilesOptions,
): Promise<PackFilesResult> {
  const startMs = performance.now();
  const opened: OpenedSource[] = [];
  try {
    for (const path of paths) {
      opened.push(await openSource(path, options.format ? { format: options.format } : {}));
    }
    const inputs = await toInputs(paths, opened, options.changedMap);
    const workBytes = inputs.reduce((sum, input) => sum + bytesToRead(input), 0);
    const { store: folder, changedMap: _, format: __, ...pack } = options;
    return await withStore(folder, { create: true, workBytes }, async (store) => {
      const { package: id, images, isNew } = await store.pack(inputs, pack);
      return { package: id, images, isNew, seconds: secondsSince(startMs) };
    });
  } finally {
    for (const { source } of opened) await source.close();
  }
}

async function toInputs(
  paths: readonly string[],
  opened: readonly OpenedSource[],
  changedMap: string | undefined,
): Promise<ImageInput[]> {
  const names = paths.map((path) => basename(path));
  const changed = await readMaps(changedMap, names);
  return opened.map(({ source, format }, index): ImageInput => {
    const name = names[index]!;
    const map = changed.get(name);
    const input = { name, source, format };
    return map === undefined ? input : { ...input, changed: map, changedOrigin: changedMap! };
  });
}

async function readMaps(
  path: string | undefined,
  names: readonly string[],
): Promise<Map<string, ByteRange[]>> {
  if (path === undefined) return new Map();
  return mapsOfImages(await readChangeMap(path), names, path);
}

function bytesToRead({ source, changed }: ImageInput): number {
  if (changed === undefined) return source.sizeBytes;
  return changed.reduce((sum, { length }) => sum + length, 0);
}

function secondsSince(startMs: number): number {
  return Math.round(performance.now() - startMs) / 1000;
}
