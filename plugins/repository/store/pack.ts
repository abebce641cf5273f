/** Makes a package of sources; docs/storage-format.md section 4. */
import { invalidArgument } from '../../../sdk/errors.ts';
import type { BlockSource } from '../sources/source.ts';
import type { ByteRange } from './change-map.ts';
import { formatId, holeId } from './ids.ts';
import { filesBytesMax, imagesMax, samplesDefault, samplesMax } from './limits.ts';
import type { ImageRecord, Manifest, PackageKind } from './manifest.ts';
import { imageNameProblem, manifestProblem, packageIdProblem } from './manifest-rules.ts';
import { type ImageContext, packImage } from './pack-image.ts';
import type { NewFile, PackageWriter } from './package-writer.ts';
import { type PinnedPackage, parentImage } from './pinned-package.ts';
import { decide } from './read-decision.ts';
import type { StoreContext } from './store-context.ts';
import { blockCountOf } from './tree-page.ts';

/** An image to pack. The source belongs to the caller, who closes it. */
export type ImageInput = {
  name: string;
  source: BlockSource;
  /** Default `disk`. */
  role?: string;
  /** A hint where it came from; default `raw`. */
  format?: string;
  sourceSnapshotId?: string;
  labels?: Record<string, string>;
  /**
   * Bytes that may differ from the parent's image of the same name. Absent: every block is
   * compared.
   */
  changed?: readonly ByteRange[];
  /** Where the map comes from, for the record. */
  changedOrigin?: string;
  /** Why there is no map, for the record. */
  noMapReason?: string;
};

export type PackOptions = {
  /** Given by the caller so that a repetition finds what the first run made; else random. */
  packageId?: string;
  name?: string;
  kind?: PackageKind;
  labels?: Record<string, string>;
  /** Package that the images are compared with, name by name. */
  parent?: string;
  files?: readonly NewFile[];
  /**
   * Clean blocks that are checked against the parent for each image with a map; 0 to 65,536,
   * default 64.
   */
  samples?: number;
  /** Default true. */
  compress?: boolean;
  onProgress?(progress: PackProgress): void;
  signal?: AbortSignal;
};

/** Bytes are those of the images, holes included; `image` is the one in progress. */
export type PackProgress = { image: string; doneBytes: number; totalBytes: number };

export type PackedImageResult = {
  name: string;
  logicalBytes: number;
  bytesRead: number;
  sampledBlocks: number;
  blocks: number;
  newBlocks: number;
  /** Pages of the tree that this run stored. */
  newPages: number;
  /** Bytes that the new blocks and pages take. */
  storedBytes: number;
  mapSource: ImageRecord['map']['source'];
  mapReason: string;
};

export type PackResult = {
  package: string;
  manifest: Manifest;
  images: PackedImageResult[];
  /** False when an equal package had this id already. */
  isNew: boolean;
};

/**
 * Callers give parts of the reason; a longer one is cut. At most 4 bytes a character, 1,024 bytes
 * in the manifest.
 */
const reasonCharactersMax = 256;

/** Everything that one pack works with. */
export type PackJob = {
  context: StoreContext;
  writer: PackageWriter;
  parent?: PinnedPackage;
  inputs: readonly ImageInput[];
  options: PackOptions;
  signal: AbortSignal;
};

/** Checks what can be checked before anything is read. INVALID_ARGUMENT with the field. */
export function checkPackRequest(inputs: readonly ImageInput[], options: PackOptions): void {
  const { packageId, parent, samples = samplesDefault, files = [] } = options;
  if (packageId !== undefined) refuse('packageId', packageIdProblem(packageId));
  if (parent !== undefined) refuse('parent', packageIdProblem(parent));
  if (inputs.length > imagesMax) refuse('images', `must be at most ${imagesMax}`);
  for (const [index, { name }] of inputs.entries()) {
    refuse(`images[${index}].name`, imageNameProblem(name));
  }
  if (new Set(inputs.map(({ name }) => name)).size < inputs.length) {
    refuse('images', 'names must be different');
  }
  if (!Number.isInteger(samples) || samples < 0 || samples > samplesMax) {
    refuse('samples', `must be 0 to ${samplesMax}`);
  }
  const fileBytes = files.reduce((sum, file) => sum + file.bytes.length, 0);
  if (fileBytes > filesBytesMax) refuse('files', `must have at most ${filesBytesMax} bytes`);
  // The rest of the manifest is known already but for sizes and roots, so its rules can be checked
  // now.
  const draft = draftManifest(inputs, options, packageId ?? 'draft', new Date(0));
  refuse('package', manifestProblem({ ...draft, createdAt: '2000-01-01T00:00:00Z' }));
}

/** Stores all images and files and publishes the package. */
export async function runPack(job: PackJob): Promise<PackResult> {
  const { context, writer, inputs, options } = job;
  const packageId = options.packageId ?? context.random.uuid();
  const manifest = draftManifest(inputs, options, packageId, context.clock.now());
  const progress = new Progress(inputs, options);
  for (const [index, input] of inputs.entries()) {
    manifest.images[index] = await packOne(job, input, manifest.images[index]!, progress);
  }
  for (const [index, file] of (options.files ?? []).entries()) {
    manifest.files[index] = await writer.putFile(file);
  }
  const images = manifest.images.map(toResult);
  const published = await writer.publish(manifest);
  return { package: packageId, manifest: published.manifest, images, isNew: published.isNew };
}

/** Stores one image. */
export async function packOne(
  job: PackJob,
  input: ImageInput,
  draft: ImageRecord,
  progress: Progress,
): Promise<ImageRecord> {
  const { context, options, parent, writer } = job;
  const decision = await decide({
    image: input.name,
    source: input.source,
    samples: options.samples ?? samplesDefault,
    pool: context.pool,
    fraction: () => context.random.fraction(),
    ...(options.parent !== undefined && { parentId: options.parent }),
    ...(parent && parentImage(context.catalog, parent, input.name, job.inputs.length === 1)),
    ...(input.changed && { changed: input.changed }),
    ...(input.changedOrigin && { changedOrigin: input.changedOrigin }),
    ...(input.noMapReason && { noMapReason: input.noMapReason }),
  });
  const image: ImageContext = {
    pool: context.pool,
    writer,
    compress: options.compress ?? true,
    signal: job.signal,
    onBytes: (bytes) => progress.add(input.name, bytes),
  };
  const { root, written } = await packImage(input.source, decision, image);
  const map = { source: decision.source, reason: decision.reason.slice(0, reasonCharactersMax) };
  return { ...draft, root, written, map };
}

/** The manifest as far as it is known before anything is read. */
export function draftManifest(
  inputs: readonly ImageInput[],
  options: PackOptions,
  packageId: string,
  now: Date,
): Manifest {
  return {
    id: packageId,
    name: options.name ?? '',
    createdAt: now.toISOString(),
    kind: options.kind ?? 'IMAGE',
    labels: options.labels ?? {},
    parents: options.parent === undefined ? [] : [options.parent],
    images: inputs.map(draftImage),
    files: (options.files ?? []).map(({ name, mediaType = '', bytes }) => {
      return { name, mediaType, sizeBytes: bytes.length, id: formatId(holeId) };
    }),
  };
}

function draftImage(input: ImageInput): ImageRecord {
  const logicalBytes = input.source.sizeBytes;
  return {
    name: input.name,
    role: input.role ?? 'disk',
    format: input.format ?? 'raw',
    logicalBytes,
    blockCount: blockCountOf(logicalBytes),
    root: formatId(holeId),
    map: { source: 'full', reason: '' },
    sourceSnapshotId: input.sourceSnapshotId ?? '',
    labels: input.labels ?? {},
    written: { bytesRead: 0, sampledBlocks: 0, newBlocks: 0, newPages: 0, storedBytes: 0 },
  };
}

function toResult({
  name,
  logicalBytes,
  blockCount,
  map,
  written,
}: ImageRecord): PackedImageResult {
  const mapping = { mapSource: map.source, mapReason: map.reason };
  return { name, logicalBytes, blocks: blockCount, ...written, ...mapping };
}

/** Adds up the bytes of several images. */
export class Progress {
  private readonly options: PackOptions;
  private readonly totalBytes: number;
  private doneBytes = 0;

  constructor(inputs: readonly ImageInput[], options: PackOptions) {
    this.options = options;
    this.totalBytes = inputs.reduce((sum, { source }) => sum + source.sizeBytes, 0);
  }

  add(image: string, bytes: number): void {
    this.doneBytes += bytes;
    const { doneBytes, totalBytes } = this;
    this.options.onProgress?.({ image, doneBytes, totalBytes });
  }
}

/** Throws FIELD_VIOLATION (INVALID_ARGUMENT) when there is a problem with the field. */
export function refuse(field: string, problem: string | undefined): void {
  if (problem === undefined) return;
  throw invalidArgument('FIELD_VIOLATION', `${field}: ${problem}`, { field }, [
    { field, description: problem },
  ]);
}
