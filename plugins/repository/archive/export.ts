import { createHash, randomInt } from 'node:crypto';
import { cancelled, invalidArgument } from '../../../sdk/errors.ts';
import { giveUp } from '../targets/give-up.ts';
import {
  encodeFrame,
  type FrameStart,
  type PlacedBlock,
  type StoredBlock,
} from '../targets/lz4-frame.ts';
import { NewFile } from '../targets/new-file.ts';
import { tagOf } from '../targets/partial-name.ts';
import { imagePath, nameProblem } from './entry-name.ts';
import { formatImageIndex, type IndexedImage, imageIndexPath } from './image-index.ts';
import { imagesMax, readBytes, samplesDefault } from './limits.ts';
import { formatManifest, type Manifest, metadataProblem } from './manifest.ts';
import type { PackageImage, PackageReader } from './package.ts';
import { Prover } from './prover.ts';
import { writeQcow2Image } from './qcow2-image.ts';
import { type Signer, signManifest } from './signature.ts';
import { ZipWriter } from './zip-writer.ts';

export type ExportProgress = {
  /** The file that is being written. */
  file: string;
  /** Of all images, in bytes of the image. */
  doneBytes: number;
  totalBytes: number;
};

export type ExportOptions = {
  /** How images are stored; memory images should stay `raw.lz4`. */
  imageFormat?: (image: PackageImage) => 'raw.lz4' | 'qcow2';
  signer?: Signer;
  /** Blocks of each image that are read back through the independent decoder; `all` proves each. */
  prove?: number | 'all';
  /** Go on with what an interrupted export of the same left. Default true. */
  resume?: boolean;
  /** When interrupted, keep what was written for a repetition to go on with. Default false. */
  keepPartial?: boolean;
  onProgress?: (progress: ExportProgress) => void;
  signal?: AbortSignal;
  /** Chooses the sampled blocks; gives numbers in [0, 1). */
  random?: () => number;
};

export type ExportResult = {
  path: string;
  sizeBytes: number;
  /** Of the whole archive. */
  sha256: string;
  provenBlocks: number;
  /** Bytes of images that an interrupted export had written. */
  resumedBytes: number;
  signed: boolean;
};

const cryptoRandom = () => randomInt(2 ** 47) / 2 ** 47;

/**
 * Writes a package as an archive at `path`, which must not exist and appears only when it is whole,
 * durable and read back. Memory use does not depend on the size of the images. What fails leaves
 * nothing behind, unless it was interrupted and `keepPartial` is set.
 */
export async function exportArchive(
  reader: PackageReader,
  path: string,
  options: ExportOptions = {},
): Promise<ExportResult> {
  checkReader(reader);
  const { resume = true, keepPartial } = options;
  const file = await NewFile.create(path, resume ? archiveTag(reader) : undefined);
  try {
    const run = new Export(reader, file, options);
    const result = await run.write();
    await file.publish();
    return result;
  } catch (error) {
    await giveUp(file, error, keepPartial);
    throw error;
  }
}

/** Archives of the same images in the same order have the same images at the same places. */
function archiveTag({ about, images }: PackageReader): string {
  return tagOf('archive', about.name, ...images.flatMap(({ name, root = '' }) => [name, root]));
}

/** What could not be read again later is refused before anything is written. */
function checkReader({ about, files, images }: PackageReader) {
  const refuse = (field: string, problem: string) =>
    invalidArgument('PACKAGE_NOT_EXPORTABLE', `${field}: ${problem}`, { field, problem });
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(about.name)) {
    throw refuse('name', 'must be letters, digits, ".", "_" and "-", at most 128');
  }
  for (const [key, value] of Object.entries(about.metadata)) {
    const problem = metadataProblem(key, value);
    if (problem !== undefined) throw refuse(`metadata.${key}`, problem);
  }
  const names = new Set([`${about.name}.mf`, imageIndexPath]);
  for (const { path } of files) {
    const problem = nameProblem(path) ?? (names.has(path.toLowerCase()) ? 'twice' : undefined);
    if (problem !== undefined) throw refuse(`files.${path}`, problem);
    if (path.endsWith('.mf') && !path.includes('/')) throw refuse(`files.${path}`, 'a manifest');
    if (path.startsWith('images/')) throw refuse(`files.${path}`, 'images/ is for images');
    names.add(path.toLowerCase());
  }
  if (images.length > imagesMax) throw refuse('images', `more than ${imagesMax}`);
}

class Export {
  readonly #reader: PackageReader;
  readonly #file: NewFile;
  readonly #zip: ZipWriter;
  readonly #options: ExportOptions;
  readonly #manifest: Manifest;
  readonly #prover: Prover;
  readonly #totalBytes: number;
  #doneBytes = 0;
  #resumedBytes = 0;

  constructor(reader: PackageReader, file: NewFile, options: ExportOptions) {
    this.#reader = reader;
    this.#file = file;
    this.#options = options;
    this.#zip = new ZipWriter(file, reader.about.createdAt);
    this.#manifest = { metadata: reader.about.metadata, files: [] };
    const samples = options.prove ?? samplesDefault;
    const read = (position: number, target: Uint8Array) => file.read(position, target);
    this.#prover = new Prover(read, samples, options.random ?? cryptoRandom);
    this.#totalBytes = reader.images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  async write(): Promise<ExportResult> {
    for (const { path } of this.#reader.files) {
      this.#checkCancelled();
      await this.#add(path, [await this.#reader.readFile(path)]);
    }
    const images: IndexedImage[] = [];
    for (const image of this.#reader.images) images.push(await this.#image(image));
    await this.#add(imageIndexPath, [formatImageIndex(images)]);
    const signed = await this.#writeManifest();
    await this.#zip.finish();
    // What an earlier export had written behind this one's end.
    if (this.#file.keptBytes > 0) await this.#file.truncate(this.#zip.sizeBytes);
    await this.#file.sync();
    const { sizeBytes } = this.#zip;
    const sha256 = await this.#digest(sizeBytes);
    const { provenBlocks } = this.#prover;
    const resumedBytes = this.#resumedBytes;
    return { path: this.#file.path, sizeBytes, sha256, provenBlocks, resumedBytes, signed };
  }

  async #image(image: PackageImage): Promise<IndexedImage> {
    const format = this.#options.imageFormat?.(image) ?? 'raw.lz4';
    const file = imagePath(image.name, format);
    if (format === 'qcow2') {
      const blocks = this.#counted(image, file);
      const entry = await writeQcow2Image(this.#zip, file, image.sizeBytes, blocks, this.#prover);
      this.#list(file, entry.sha256);
      await this.#prover.finishImage(image.name, entry.dataStart);
    } else await this.#frame(image, file);
    return { ...image, file, format };
  }

  async #frame(image: PackageImage, file: string): Promise<void> {
    const { name, sizeBytes } = image;
    const prover = this.#prover;
    let from: FrameStart = { blocks: 0, bytes: 0 };
    const pieces = async function* (blocks: (first: number) => AsyncIterable<StoredBlock>) {
      yield* encodeFrame(blocks(from.blocks), sizeBytes, (block) => prover.observe(block), from);
    };
    const entry = await this.#zip.add(
      file,
      pieces((first) => this.#counted(image, file, first)),
      (start, bytes) => {
        this.#checkCancelled();
        return prover.written(name, start, bytes);
      },
      async (dataStart) => {
        from = await this.#keptFrame(name, dataStart);
        this.#resumedBytes += from.blocks * 65536;
        return from.bytes;
      },
    );
    this.#list(file, entry.sha256);
    await prover.finishImage(name, entry.dataStart);
  }

  /** What is kept is proven like what is written. */
  async #keptFrame(name: string, start: number): Promise<FrameStart> {
    const { fd, keptBytes: end } = this.#file;
    const { signal } = this.#options;
    const onBlocks = async (blocks: PlacedBlock[]) => {
      for (const block of blocks) this.#prover.observe(block);
      await this.#prover.written(name, start, Number.POSITIVE_INFINITY);
    };
    if (end <= start || !this.#reader.keptFrame) return { blocks: 0, bytes: 0 };
    return await this.#reader.keptFrame(name, { fd, start, end }, { signal, onBlocks });
  }

  /** The blocks of an image, with progress as they pass. */
  async *#counted(image: PackageImage, file: string, first = 0) {
    const { onProgress, signal } = this.#options;
    const before = this.#doneBytes;
    const totalBytes = this.#totalBytes;
    let reported = before;
    for await (const block of this.#reader.storedBlocks(image.name, signal, first)) {
      this.#checkCancelled();
      yield block;
      this.#doneBytes = before + block.index * 65536;
      if (this.#doneBytes - reported < 16 * readBytes) continue;
      reported = this.#doneBytes;
      onProgress?.({ file, doneBytes: this.#doneBytes, totalBytes });
    }
    this.#doneBytes = before + image.sizeBytes;
    onProgress?.({ file, doneBytes: this.#doneBytes, totalBytes });
  }

  async #add(path: string, pieces: Uint8Array[]): Promise<void> {
    const { sha256 } = await this.#zip.add(path, pieces);
    this.#list(path, sha256);
  }

  #list(path: string, digest: string) {
    this.#manifest.files.push({ path, algorithm: 'SHA-256', digest });
  }

  async #writeManifest(): Promise<boolean> {
    const { signer } = this.#options;
    const content = Buffer.from(formatManifest(this.#manifest));
    const pieces: Uint8Array[] = [content];
    if (signer !== undefined) {
      const { createdAt } = this.#reader.about;
      pieces.push(Buffer.from(await signManifest(content, signer, createdAt)));
    }
    await this.#zip.add(`${this.#reader.about.name}.mf`, pieces);
    return signer !== undefined;
  }

  /**
   * Read from the file: headers are written twice, so a digest taken on the way would be of other
   * bytes.
   */
  async #digest(sizeBytes: number): Promise<string> {
    const hash = createHash('sha256');
    const buffer = new Uint8Array(readBytes);
    for (let at = 0; at < sizeBytes; at += readBytes) {
      this.#checkCancelled();
      const piece = buffer.subarray(0, Math.min(readBytes, sizeBytes - at));
      await this.#file.read(at, piece);
      hash.update(piece);
    }
    return hash.digest('hex');
  }

  #checkCancelled() {
    if (this.#options.signal?.aborted) throw cancelled('CANCELLED', 'the export was cancelled');
  }
}
