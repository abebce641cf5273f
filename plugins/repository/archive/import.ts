import { createHash, type Hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { cancelled, isRpcError, type RpcError } from '../../../sdk/errors.ts';
import type { BlockSource } from '../sources/source.ts';
import { archiveDamaged, archiveInvalid, archiveTooLarge } from './faults.ts';
import { openImage } from './image-file.ts';
import {
  type ImageFileFormat,
  type IndexedImage,
  imageIndexPath,
  parseImageIndex,
} from './image-index.ts';
import { type ArchiveLimits, defaultArchiveLimits } from './limits.ts';
import { type Manifest, type ManifestFile, parseManifest, splitManifest } from './manifest.ts';
import type { PackageWriter } from './package.ts';
import { checkSignature, type SignatureCheck, type TrustOptions } from './signature.ts';
import { filePieces, type OpenZip, openZip, storedPieces, type ZipEntry } from './zip-reader.ts';

/** What an archive says about itself before anything of it is stored. */
export type ArchiveAbout = {
  /** The base name of the manifest. */
  name: string;
  metadata: Record<string, string>;
  signature: SignatureCheck;
  images: readonly IndexedImage[];
  totalImageBytes: number;
  /**
   * Made elsewhere: there is no index, and the sizes of the images are not known before they are
   * read.
   */
  foreign: boolean;
  /**
   * Tells the file from any other and from a changed one, its manifest included; undefined where
   * the file system cannot say.
   */
  fingerprint?: string;
};

export type ImportOptions = {
  limits?: Partial<ArchiveLimits>;
  trust?: TrustOptions;
  /**
   * Where images that are not `.raw.lz4` are unpacked for reading; emptied again. Absent: such are
   * refused.
   */
  scratchFolder?: string;
  onProgress?: (progress: { file: string; doneBytes: number; totalBytes: number }) => void;
  signal?: AbortSignal;
};

export type ImportResult = { packageId: string; about: ArchiveAbout };

/**
 * Reads an archive into a package. `open` gets what the archive claims and gives the writer of the
 * new package; it is published only after every file and image was read and every digest was right,
 * else aborted.
 */
export async function importArchive(
  path: string,
  open: (about: ArchiveAbout) => Promise<PackageWriter>,
  options: ImportOptions = {},
): Promise<ImportResult> {
  const limits = { ...defaultArchiveLimits, ...options.limits };
  const zip = await openZip(path, limits);
  try {
    const run = await Import.prepare(zip, limits, options);
    const writer = await open(run.about);
    try {
      await run.store(writer);
      return { packageId: await writer.publish(), about: run.about };
    } catch (error) {
      await writer.abort(error);
      throw error;
    }
  } finally {
    await zip.close();
  }
}

/** What an archive says about itself; nothing of its images is read. */
export async function describeArchive(path: string): Promise<ArchiveAbout> {
  const zip = await openZip(path, defaultArchiveLimits);
  try {
    return (await Import.prepare(zip, defaultArchiveLimits, {})).about;
  } finally {
    await zip.close();
  }
}

type Listed = { entry: ZipEntry; listed: ManifestFile };

class Import {
  readonly about: ArchiveAbout;
  readonly #zip: OpenZip;
  readonly #limits: ArchiveLimits;
  readonly #options: ImportOptions;
  readonly #files: Listed[];
  readonly #images: (Listed & { image: IndexedImage })[];

  private constructor(
    zip: OpenZip,
    limits: ArchiveLimits,
    options: ImportOptions,
    about: ArchiveAbout,
    listed: Map<string, Listed>,
  ) {
    this.#zip = zip;
    this.#limits = limits;
    this.#options = options;
    this.about = about;
    this.#images = about.images.map((image) => ({ image, ...listed.get(image.file)! }));
    const imageFiles = new Set([imageIndexPath, ...about.images.map(({ file }) => file)]);
    this.#files = [...listed.values()].filter(({ entry }) => !imageFiles.has(entry.name));
  }

  /** Manifest, signature and the list of images; the large files are not read. */
  static async prepare(zip: OpenZip, limits: ArchiveLimits, options: ImportOptions) {
    const manifestEntry = findManifest(zip);
    if (manifestEntry.sizeBytes > limits.manifestMaxBytes) {
      const { name, sizeBytes } = manifestEntry;
      throw archiveTooLarge(name, 'the size of the manifest', limits.manifestMaxBytes, sizeBytes);
    }
    const bytes = await readSmall(zip, manifestEntry, options.signal);
    const { signed, cms } = splitManifest(bytes, manifestEntry.name);
    const signature = await checkSignature(signed, cms, manifestEntry.name, options.trust);
    const manifest = parseManifest(signed, manifestEntry.name);
    const listed = matchFiles(zip, manifest, manifestEntry.name);
    const images = await listImages(zip, listed, limits, options.signal);
    const fingerprint = await zip.file.fingerprint();
    const digest = createHash('sha256').update(bytes).digest('hex');
    const about: ArchiveAbout = {
      ...(fingerprint !== undefined && { fingerprint: `${fingerprint} ${digest}` }),
      name: manifestEntry.name.slice(0, -'.mf'.length),
      metadata: manifest.metadata,
      signature,
      images,
      foreign: !listed.has(imageIndexPath),
      totalImageBytes: images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    };
    checkImageSizes(about, limits);
    const run = new Import(zip, limits, options, about, listed);
    run.#checkFileSizes();
    return run;
  }

  #checkFileSizes() {
    const { filesTotalMaxBytes } = this.#limits;
    let total = 0;
    for (const { entry } of this.#files) {
      checkFileSize(entry, this.#limits);
      total += entry.sizeBytes;
    }
    if (total > filesTotalMaxBytes) {
      throw archiveTooLarge('', 'the size of all files', filesTotalMaxBytes, total);
    }
  }

  async store(writer: PackageWriter): Promise<void> {
    for (const { entry, listed } of this.#files) {
      const bytes = await readSmall(this.#zip, entry, this.#options.signal, listed);
      await writer.addFile(entry.name, bytes);
    }
    let doneBytes = 0;
    const { totalImageBytes: totalBytes } = this.about;
    for (const { entry, listed, image } of this.#images) {
      await this.#storeImage(writer, entry, listed, image);
      doneBytes += image.sizeBytes;
      this.#options.onProgress?.({ file: entry.name, doneBytes, totalBytes });
    }
  }

  async #storeImage(
    writer: PackageWriter,
    entry: ZipEntry,
    listed: ManifestFile,
    image: IndexedImage,
  ): Promise<void> {
    const { signal } = this.#options;
    const { file: _, format: __, ...described } = image;
    const taken = await writer.takeImage?.(described);
    if (taken !== undefined) return this.#checkRoot(entry, image, taken.root);
    const source = await this.#openVerified(entry, listed, image);
    try {
      const sizeBytes = this.about.foreign ? source.sizeBytes : image.sizeBytes;
      if (source.sizeBytes !== sizeBytes) {
        const what = `the image has ${source.sizeBytes} bytes, its index says ${sizeBytes}`;
        throw archiveDamaged('image', entry.name, what);
      }
      const { root } = await writer.addImage({ ...described, sizeBytes }, source, signal);
      this.#checkRoot(entry, image, root);
    } finally {
      await source.close();
    }
  }

  #checkRoot(entry: ZipEntry, image: IndexedImage, root: string | undefined) {
    if (root === undefined || image.root === undefined || root === image.root) return;
    const what = 'the image is not the one that was exported';
    throw archiveDamaged('image', entry.name, what, { expected: image.root, actual: root });
  }

  /** Opens an image after its digest and checksum were found right. */
  async #openVerified(entry: ZipEntry, listed: ManifestFile, image: IndexedImage) {
    const check = new Check(entry, listed);
    let source: BlockSource | undefined;
    try {
      source = await openImage(this.#zip, entry, image.format, {
        onBytes: (bytes) => check.update(bytes),
        imageMaxBytes: this.#limits.imageMaxBytes,
        scratchFolder: this.#options.scratchFolder,
        signal: this.#options.signal,
      });
      check.finish();
      return source;
    } catch (error) {
      await source?.close();
      throw await this.#moreTelling(error, entry, listed);
    }
  }

  /** What a damaged frame says is less than that its digest is wrong: then say that. */
  async #moreTelling(error: unknown, entry: ZipEntry, listed: ManifestFile): Promise<unknown> {
    if (!isRpcError(error, 'SOURCE_CORRUPT') || entry.compressed) return error;
    const check = new Check(entry, listed);
    for await (const piece of storedPieces(this.#zip, entry, this.#options.signal)) {
      check.update(piece);
    }
    try {
      check.finish();
    } catch (wrongDigest) {
      return wrongDigest;
    }
    const { message } = error as RpcError;
    return archiveDamaged('image', entry.name, `it is no whole image: ${message}`);
  }
}

/** Digest and checksum of a file while it is read. */
class Check {
  readonly #entry: ZipEntry;
  readonly #listed: ManifestFile;
  readonly #hash: Hash;
  #crc = 0;

  constructor(entry: ZipEntry, listed: ManifestFile) {
    this.#entry = entry;
    this.#listed = listed;
    this.#hash = createHash(listed.algorithm === 'SHA-256' ? 'sha256' : 'sha512');
  }

  update(bytes: Uint8Array) {
    this.#hash.update(bytes);
    this.#crc = crc32(bytes, this.#crc);
  }

  finish() {
    const { name, crc } = this.#entry;
    const { digest: expected, algorithm } = this.#listed;
    const actual = this.#hash.digest('hex');
    if (actual !== expected) {
      const what = `its ${algorithm} digest is not the one in the manifest`;
      throw archiveDamaged('digest', name, what, { expected, actual });
    }
    if (this.#crc !== crc) throw archiveDamaged('crc', name, 'its CRC-32 is wrong');
  }
}

async function readSmall(
  zip: OpenZip,
  entry: ZipEntry,
  signal?: AbortSignal,
  listed?: ManifestFile,
): Promise<Uint8Array> {
  if (signal?.aborted) throw cancelled('CANCELLED', 'the import was cancelled');
  const pieces: Uint8Array[] = [];
  for await (const piece of filePieces(zip, entry, signal)) pieces.push(piece);
  const bytes = Buffer.concat(pieces);
  if (listed !== undefined) {
    const check = new Check(entry, listed);
    check.update(bytes);
    check.finish();
  } else if (crc32(bytes) !== entry.crc) {
    throw archiveDamaged('crc', entry.name, 'its CRC-32 is wrong');
  }
  return bytes;
}

function checkFileSize({ name, sizeBytes }: ZipEntry, { fileMaxBytes }: ArchiveLimits) {
  if (sizeBytes <= fileMaxBytes) return;
  throw archiveTooLarge(name, 'the size of a file', fileMaxBytes, sizeBytes);
}

function findManifest(zip: OpenZip): ZipEntry {
  const found = [...zip.entries.values()].filter(({ name }) => /^[^/]+\.mf$/.test(name));
  if (found.length === 1) return found[0]!;
  const what = found.length === 0 ? 'no *.mf at the top' : `${found.length} manifests at the top`;
  throw archiveInvalid('manifest-missing', '', what);
}

/** Every file is listed and every listed file is there. */
function matchFiles(zip: OpenZip, manifest: Manifest, manifestName: string): Map<string, Listed> {
  const listed = new Map<string, Listed>();
  for (const file of manifest.files) {
    const entry = zip.entries.get(file.path);
    if (entry === undefined || file.path === manifestName) {
      throw archiveInvalid(
        'missing-file',
        file.path,
        'the manifest lists it, the archive lacks it',
      );
    }
    listed.set(file.path, { entry, listed: file });
  }
  for (const name of zip.entries.keys()) {
    if (name === manifestName || listed.has(name)) continue;
    throw archiveInvalid('unlisted-file', name, 'the manifest does not list it');
  }
  return listed;
}

const extensions: [string, ImageFileFormat][] = [
  ['.raw.lz4', 'raw.lz4'],
  ['.qcow2', 'qcow2'],
  ['.raw', 'raw'],
];

async function listImages(
  zip: OpenZip,
  listed: Map<string, Listed>,
  limits: ArchiveLimits,
  signal?: AbortSignal,
): Promise<IndexedImage[]> {
  const index = listed.get(imageIndexPath);
  if (index === undefined) return foreignImages([...listed.keys()]);
  checkFileSize(index.entry, limits);
  const bytes = await readSmall(zip, index.entry, signal, index.listed);
  const images = parseImageIndex(bytes);
  for (const { file, name } of images) {
    if (listed.has(file) && file !== imageIndexPath) continue;
    throw archiveInvalid('index-invalid', imageIndexPath, `there is no file ${file} for ${name}`);
  }
  return images;
}

/** Images of a package that somebody else made: by the endings of their names. */
function foreignImages(paths: string[]): IndexedImage[] {
  return paths.flatMap((file) => {
    const known = extensions.find(([ending]) => file.toLowerCase().endsWith(ending));
    if (known === undefined) return [];
    const name = file.slice(file.lastIndexOf('/') + 1, -known[0].length);
    return [{ name, sizeBytes: 0, file, format: known[1] }];
  });
}

function checkImageSizes(about: ArchiveAbout, limits: ArchiveLimits) {
  const { imageMaxBytes, imagesTotalMaxBytes } = limits;
  for (const { file, sizeBytes } of about.images) {
    if (sizeBytes <= imageMaxBytes) continue;
    throw archiveTooLarge(file, 'the size of an image', imageMaxBytes, sizeBytes);
  }
  if (about.totalImageBytes > imagesTotalMaxBytes) {
    const { totalImageBytes } = about;
    throw archiveTooLarge('', 'the size of all images', imagesTotalMaxBytes, totalImageBytes);
  }
}
