/** Makes a package of sources; docs/storage-format.md section 4. */
import { invalidArgument } from '../../../sdk/errors.ts';
import type { Compression } from '../../../wasm/host/core-pool.ts';
import type { BlockSource } from '../sources/source.ts';
import type { ByteRange } from './change-map.ts';
import type { CheckpointImage } from './checkpoint.ts';
import { CutSource, cutGrowth } from './cut-source.ts';
import { formatId, holeId } from './ids.ts';
import { filesBytesMax, imagesMax, samplesDefault, samplesMax } from './limits.ts';
import type { Chunking, ImageRecord, Manifest, PackageKind } from './manifest.ts';
import { imageNameProblem, manifestProblem, packageIdProblem } from './manifest-rules.ts';
import { type DeltaCounts, type ImageContext, packImage, type ReadDecision } from './pack-image.ts';
import type { PackResume } from './pack-resume.ts';
import type { NewFile, PackageWriter } from './package-writer.ts';
import { type PinnedPackage, parentImage } from './pinned-package.ts';
import { decide } from './read-decision.ts';
import type { StoreContext } from './store-context.ts';
import { treeBlockCount } from './tree-page.ts';

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
  /**
   * The image that the parent's was made of: what is equal there is not hashed. Not used with a
   * map; belongs to the caller as well.
   */
  older?: BlockSource;
  /** Why there is no map, for the record. */
  noMapReason?: string;
  /** Default `fixed`. By content: not with a map and not with an older image. */
  chunking?: Chunking;
  /**
   * Says that the content is the same as in another run with this text, in place of what the source
   * says of itself.
   */
  fingerprint?: string;
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
  /** How new blocks are stored; default LZ4 (true). */
  compress?: Compression;
  /**
   * Whether changed blocks are stored as the difference from the parent's where that is smaller;
   * default true. Without compression nothing is.
   */
  delta?: boolean;
  /**
   * Go on where an interrupted run was, and keep for a repetition what this one did when it is
   * interrupted. Default true.
   */
  resume?: boolean;
  onProgress?(progress: PackProgress): void;
  signal?: AbortSignal;
};

/** Bytes are those of the images, holes included; `image` is the one in progress. */
export type PackProgress = { image: string; doneBytes: number; totalBytes: number };

/** What making an image took, in all runs. */
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
  /** New blocks that are stored as the difference from one of the parent's. */
  deltaBlocks: number;
  /** Damaged blocks of the parent: what changed there is stored in full. Verify the parent then. */
  damagedBases: number;
  mapSource: ImageRecord['map']['source'];
  mapReason: string;
};

export type PackResult = {
  package: string;
  manifest: Manifest;
  images: PackedImageResult[];
  /** False when an equal package had this id already. */
  isNew: boolean;
  /** Bytes that this run read from the sources, without those of samples. */
  bytesRead: number;
  /** Bytes of the images that an interrupted run had done. */
  resumedBytes: number;
  /** Why something that an interrupted run had done was done again. */
  restartReason?: string;
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
  resume?: PackResume | undefined;
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
  for (const [index, { chunking, changed, older }] of inputs.entries()) {
    const isPlaced = changed !== undefined || older !== undefined;
    if (chunking !== 'content' || !isPlaced) continue;
    const problem = 'must be fixed where a changed map or an older image tells what changed';
    refuse(`images[${index}].chunking`, problem);
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
  const { context, writer, inputs, options, resume } = job;
  const packageId = options.packageId ?? resume?.packageId ?? context.random.uuid();
  resume?.start(writer, packageId);
  const manifest = draftManifest(inputs, options, packageId, context.clock.now());
  const progress = new Progress(inputs, options);
  const images: PackedImageResult[] = [];
  let bytesRead = 0;
  for (const [index, input] of inputs.entries()) {
    const packed = await packOne(job, input, manifest.images[index]!, progress);
    manifest.images[index] = packed.record;
    images.push(toResult(packed.record, packed.deltas));
    bytesRead += packed.bytesRead;
  }
  for (const [index, file] of (options.files ?? []).entries()) {
    manifest.files[index] = await writer.putFile(file);
  }
  await resume?.settle();
  const published = await writer.publish(manifest);
  await resume?.end();
  return {
    package: packageId,
    manifest: published.manifest,
    images,
    isNew: published.isNew,
    bytesRead,
    resumedBytes: resume?.resumedBytes ?? 0,
    ...(resume?.reason !== undefined && { restartReason: resume.reason }),
  };
}

type PackedRecord = { record: ImageRecord; bytesRead: number; deltas: DeltaCounts };

/** Stores one image, or what an earlier run left to do of it. */
export async function packOne(
  job: PackJob,
  input: ImageInput,
  draft: ImageRecord,
  progress: Progress,
): Promise<PackedRecord> {
  const { context, options, resume, writer } = job;
  const { name } = input;
  const isCut = draft.chunking !== undefined;
  const source = isCut ? new CutSource(input.source) : input.source;
  const fingerprint = resume && (input.fingerprint ?? (await source.fingerprint?.()));
  const found = await resume?.restore(name, source, fingerprint);
  const { decision, restored } = await continueDecision(job, { ...input, source }, found);
  const map = { source: decision.source, reason: decision.reason.slice(0, reasonCharactersMax) };
  const { logicalBytes, chunking } = draft;
  const begun = { name, logicalBytes, map, ...(chunking && { chunking }) };
  const onStep = resume?.begin(begun, fingerprint, restored);
  if (restored?.root !== undefined) {
    progress.add(name, logicalBytes);
    const { root, written } = restored;
    const record = { ...draft, root, written, map: restored.map };
    return { record, bytesRead: 0, deltas: { deltaBlocks: 0, damagedBases: 0 } };
  }
  const { compress = true, delta = true } = options;
  const image: ImageContext = {
    pool: context.pool,
    writer,
    compress,
    ...(delta && compress !== false && { bases: context.catalog }),
    signal: job.signal,
    onBytes: (bytes) => progress.add(name, isCut ? bytes / cutGrowth : bytes),
    ...(onStep && { onStep }),
    ...(restored && { restored }),
  };
  const packed = await packImage(source, decision, image);
  const { root, deltas } = packed;
  const plain = (bytes: number) => (isCut ? Math.min(bytes / cutGrowth, logicalBytes) : bytes);
  const bytesRead = plain(packed.bytesRead);
  const written = { ...packed.written, bytesRead: plain(packed.written.bytesRead) };
  const record = { ...draft, root, written, map };
  resume?.finish(record, fingerprint);
  return { record, bytesRead, deltas };
}

/** How the changes are found; an image that was begun goes on only when that stays the same. */
async function continueDecision(
  job: PackJob,
  input: ImageInput,
  found: CheckpointImage | undefined,
): Promise<{ decision: ReadDecision; restored?: CheckpointImage }> {
  if (found?.map.source === 'map-rejected') {
    const { changed: _, ...unmapped } = input;
    const { source, reason } = found.map;
    const decision = await decideFor(job, unmapped);
    return { decision: { ...decision, source, reason }, restored: found };
  }
  const decision = await decideFor(job, input);
  if (found === undefined || found.map.source === decision.source) {
    return found === undefined ? { decision } : { decision, restored: found };
  }
  job.resume?.startAnew(input.name, decision.reason);
  return { decision };
}

async function decideFor(job: PackJob, input: ImageInput): Promise<ReadDecision> {
  const { context, options, parent } = job;
  return await decide({
    image: input.name,
    source: input.source,
    samples: options.samples ?? samplesDefault,
    pool: context.pool,
    fraction: () => context.random.fraction(),
    ...(options.parent !== undefined && { parentId: options.parent }),
    ...(parent && parentOf(job, parent, input)),
    ...(input.changed && { changed: input.changed }),
    ...(input.older && { older: input.older }),
    ...(input.changedOrigin && { changedOrigin: input.changedOrigin }),
    ...(input.noMapReason && { noMapReason: input.noMapReason }),
  });
}

function parentOf({ context, inputs }: PackJob, parent: PinnedPackage, input: ImageInput) {
  return parentImage(context.catalog, parent, input.name, inputs.length === 1, input.chunking);
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
    images: inputs.map((input) => draftImage(input, input.source.sizeBytes)),
    files: (options.files ?? []).map(({ name, mediaType = '', bytes }) => {
      return { name, mediaType, sizeBytes: bytes.length, id: formatId(holeId) };
    }),
  };
}

export function draftImage(input: Omit<ImageInput, 'source'>, logicalBytes: number): ImageRecord {
  const chunking = input.chunking === 'content' ? { chunking: input.chunking } : {};
  return {
    name: input.name,
    role: input.role ?? 'disk',
    format: input.format ?? 'raw',
    logicalBytes,
    blockCount: treeBlockCount({ logicalBytes, ...chunking }),
    ...chunking,
    root: formatId(holeId),
    map: { source: 'full', reason: '' },
    sourceSnapshotId: input.sourceSnapshotId ?? '',
    labels: input.labels ?? {},
    written: { bytesRead: 0, sampledBlocks: 0, newBlocks: 0, newPages: 0, storedBytes: 0 },
  };
}

function toResult(record: ImageRecord, deltas: DeltaCounts): PackedImageResult {
  const { name, logicalBytes, blockCount, map, written } = record;
  const mapping = { mapSource: map.source, mapReason: map.reason };
  return { name, logicalBytes, blocks: blockCount, ...written, ...deltas, ...mapping };
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
    // A last run that is cut by content counts as a whole one.
    const doneBytes = Math.min(this.doneBytes, this.totalBytes);
    const { totalBytes } = this;
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
