import { basename } from 'node:path';
import { changesOf } from '../../plugins/repository/sources/changes-of.ts';
import { isNbdAddress, parseNbdAddress } from '../../plugins/repository/sources/nbd/address.ts';
import {
  type OpenedSource,
  type OpenOptions,
  openSource,
} from '../../plugins/repository/sources/open-source.ts';
import type { BlockSource, ChangeTrackingSource } from '../../plugins/repository/sources/source.ts';
import type { Chunking } from '../../plugins/repository/store/manifest.ts';
import type {
  ByteRange,
  ImageInput,
  PackOptions,
  PackResult,
} from '../../plugins/repository/store/store.ts';
import { invalidArgument } from '../../sdk/errors.ts';
import { mapsOfImages, readChangeMap } from './change-map-file.ts';
import { parentImages } from './parent-images.ts';
import { secondsSince, withStore } from './with-store.ts';

export type PackFilesOptions = Pick<
  PackOptions,
  | 'packageId'
  | 'name'
  | 'labels'
  | 'parent'
  | 'samples'
  | 'compress'
  | 'delta'
  | 'resume'
  | 'onProgress'
  | 'signal'
> & {
  /** Folder of the repository; made when it is missing or empty. */
  store: string;
  /** File with the changed bytes; see change-map-file.ts. */
  changedMap?: string;
  /** Images that the parent was made of; see parent-images.ts. Not together with `changedMap`. */
  parentImages?: readonly string[];
  /** Format of all images; else their first bytes tell. */
  format?: OpenOptions['format'];
  /** Worker threads; else as many as the work is worth. */
  workers?: number;
  /** Of NBD exports: the dirty bitmap that tells what changed. */
  bitmap?: string;
  /** How images are cut into blocks; `auto`: tar archives by their content. Default `auto`. */
  chunking?: Chunking | 'auto';
  /** Name of the only image; else that of its file or export. */
  imageName?: string;
};

/** A tar archive is a sequence of these; the first says so at byte 257. */
const tarRecordBytes = 512;
const tarMagicAt = 257;

export type Compression = NonNullable<PackOptions['compress']>;

export type PackFilesResult = Omit<PackResult, 'manifest'> & { seconds: number };

/**
 * Packs image files and NBD exports. An image is named as its file or export; the sources' and the
 * store's errors come through.
 */
export async function packFiles(
  paths: readonly string[],
  options: PackFilesOptions,
): Promise<PackFilesResult> {
  const startMs = performance.now();
  const opened: OpenedSource[] = [];
  try {
    for (const path of paths) {
      const { format, bitmap } = options;
      opened.push(await openSource(path, { ...(format && { format }), ...(bitmap && { bitmap }) }));
    }
    const names = imageNames(paths, options.imageName);
    const olderOf = parentImages(options.parentImages ?? [], names, options);
    const inputs = await toInputs(names, opened, options);
    for (const input of inputs) {
      const older = olderOf.get(input.name);
      if (older === undefined) continue;
      opened.push(await openSource(older, options.format ? { format: options.format } : {}));
      input.older = opened.at(-1)!.source;
    }
    for (const input of inputs) await chooseChunking(input, options.chunking);
    const workBytes = inputs.reduce((sum, input) => sum + bytesToRead(input), 0);
    const {
      store: folder,
      changedMap: _,
      parentImages: __,
      format: ___,
      bitmap: ____,
      imageName: _____,
      chunking: ______,
      workers,
      ...pack
    } = options;
    const resources = { create: true, workBytes, ...(workers !== undefined && { workers }) };
    return await withStore(folder, resources, async (store) => {
      const { manifest: _______, ...result } = await store.pack(inputs, pack);
      return { ...result, seconds: secondsSince(startMs) };
    });
  } finally {
    for (const { source } of opened) await source.close();
  }
}

async function chooseChunking(input: ImageInput, wanted: PackFilesOptions['chunking'] = 'auto') {
  const isPlaced = input.changed !== undefined || input.older !== undefined;
  const isStream = wanted === 'auto' ? !isPlaced && (await isTar(input.source)) : false;
  if (wanted === 'content' || isStream) input.chunking = 'content';
}

/** Whether a file begins as a tar archive of POSIX or GNU does. */
async function isTar(source: BlockSource): Promise<boolean> {
  if (source.sizeBytes < tarRecordBytes) return false;
  const start = new Uint8Array(tarRecordBytes);
  await source.read(0, start);
  return Buffer.from(start).toString('latin1', tarMagicAt, tarMagicAt + 5) === 'ustar';
}

function imageNames(paths: readonly string[], imageName?: string): string[] {
  if (imageName === undefined) return paths.map(nameOf);
  if (paths.length === 1) return [imageName];
  throw invalidArgument('USAGE', `--image-name is for one image, and there are ${paths.length}`);
}

function nameOf(path: string): string {
  if (!isNbdAddress(path)) return basename(path);
  return basename(parseNbdAddress(path).exportName) || 'disk';
}

async function toInputs(
  names: readonly string[],
  opened: readonly OpenedSource[],
  { changedMap, bitmap }: PackFilesOptions,
): Promise<ImageInput[]> {
  if (changedMap !== undefined && bitmap !== undefined) {
    throw invalidArgument('USAGE', '--changed-map and --bitmap exclude each other');
  }
  const changed = await readMaps(changedMap, names);
  const inputs: ImageInput[] = [];
  for (const [index, { source, format }] of opened.entries()) {
    const name = names[index]!;
    const input = { name, source, format };
    const map = changed.get(name);
    if (map !== undefined) inputs.push({ ...input, changed: map, changedOrigin: changedMap! });
    else if (bitmap === undefined) inputs.push(input);
    else inputs.push({ ...input, ...(await changesOf(source as ChangeTrackingSource)) });
  }
  return inputs;
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
