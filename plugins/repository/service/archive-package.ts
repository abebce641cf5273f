import { dataLoss, failedPrecondition } from '../../../sdk/errors.ts';
import type { ArchiveAbout } from '../archive/import.ts';
import type {
  PackageReader as ArchiveReader,
  PackageWriter as ArchiveWriter,
  PackageImage,
} from '../archive/package.ts';
import { countKeptFrame } from '../store/frame-kept.ts';
import type { Composition, ImageRecord, PackageReader, Store } from '../store/store.ts';
import { archivePath, fromArchive, packageFileName, toArchive } from './archive-files.ts';

/** Keys of the manifest's metadata block; a label "x" is kept as "label_<hex of x>", because keys there are plain. */
const labelPrefix = 'label_';

/** A package of the store as an export reads it. `more`: what the archive shall say besides. */
export async function archiveReader(
  reader: PackageReader,
  more: Record<string, string> = {},
): Promise<ArchiveReader> {
  const { manifest } = reader;
  const files = await Promise.all(
    manifest.files.map(async ({ name }) => {
      const bytes = await toArchive(name, await reader.file(name));
      return { path: archivePath(name), bytes };
    }),
  );
  const bytesOf = new Map(files.map(({ path, bytes }) => [path, bytes]));
  return {
    about: {
      name: manifest.id,
      createdAt: new Date(manifest.createdAt),
      metadata: { ...metadataOf(manifest), ...more },
    },
    images: manifest.images.map(archiveImage),
    files: files.map(({ path, bytes }) => ({ path, sizeBytes: bytes.length })),
    readFile: async (path) => bytesOf.get(path)!,
    // Checked against their ids: an archive must not carry on what the store has lost.
    storedBlocks: (name, _signal, first) => reader.image(name).checkedBlocks(first),
    keptFrame: (name, part, options) => countKeptFrame(reader.image(name), part, options),
  };
}

function metadataOf(manifest: PackageReader['manifest']): Record<string, string> {
  const labels = Object.entries(manifest.labels).map(([key, value]) => [
    labelPrefix + Buffer.from(key).toString('hex'),
    value,
  ]);
  return {
    vnf_snapshot_pkg_unique_id: manifest.id,
    kind: manifest.kind,
    name: manifest.name,
    created_at: manifest.createdAt,
    ...Object.fromEntries(labels),
  };
}

function archiveImage(image: ImageRecord): PackageImage {
  return {
    name: image.name,
    sizeBytes: image.logicalBytes,
    root: image.root,
    attributes: {
      role: image.role,
      sourceSnapshotId: image.sourceSnapshotId,
      ...(image.chunking && { chunking: image.chunking }),
      ...Object.fromEntries(
        Object.entries(image.labels).map(([key, value]) => [`label.${key}`, value]),
      ),
    },
  };
}

/** Begins the package that an import fills. Its id, name and kind are those of the archive. */
export async function archiveWriter(
  store: Store,
  about: ArchiveAbout,
  signal: AbortSignal,
  resume = true,
): Promise<ImportedPackage> {
  const { metadata } = about;
  const kind = metadata.kind;
  const labels = Object.entries(metadata).flatMap(([key, value]) =>
    key.startsWith(labelPrefix)
      ? [[Buffer.from(key.slice(labelPrefix.length), 'hex').toString(), value]]
      : [],
  );
  const createdAt = new Date(metadata.created_at ?? '');
  const composition = await store.compose({
    packageId: metadata.vnf_snapshot_pkg_unique_id ?? about.name,
    name: metadata.name ?? '',
    kind: kind === 'VNF' || kind === 'VNFC' ? kind : 'IMAGE',
    labels: Object.fromEntries(labels),
    ...(!Number.isNaN(createdAt.getTime()) && { createdAt }),
    identity: about.fingerprint ?? '',
    resume: resume && about.fingerprint !== undefined,
    signal,
  });
  return new ImportedPackage(composition);
}

/** A package that an import fills. */
export class ImportedPackage implements ArchiveWriter {
  private readonly composition: Composition;

  constructor(composition: Composition) {
    this.composition = composition;
  }

  async addFile(path: string, bytes: Uint8Array): Promise<void> {
    const name = packageFileName(path);
    await this.composition.addFile({ name, bytes: await fromArchive(name, bytes) });
  }

  /** Bytes of images that an interrupted import had stored. */
  get resumedBytes(): number {
    return this.composition.resumedBytes;
  }

  /** Why something that an interrupted import had stored was read again. */
  get restartReason(): string | undefined {
    return this.composition.restartReason;
  }

  async takeImage(image: PackageImage): Promise<{ root: string } | undefined> {
    return await this.composition.addDone(described(image));
  }

  async addImage(image: PackageImage, source: Parameters<ArchiveWriter['addImage']>[1]) {
    const { root } = await this.composition.addImage({ ...described(image), source });
    if (image.root !== undefined && image.root !== root) {
      const text = `image "${image.name}" is not the one that was exported: its root is ${root}, not ${image.root}`;
      throw dataLoss('ARCHIVE_DAMAGED', text, { image: image.name, root });
    }
    return { root };
  }

  async publish(): Promise<string> {
    return (await this.composition.publish()).id;
  }

  abort(error?: unknown): Promise<void> {
    return this.composition.abort(error);
  }
}

function described({ name, attributes = {} }: PackageImage) {
  const { role = 'disk', sourceSnapshotId = '', chunking, ...others } = attributes;
  const labels = Object.entries(others).flatMap(([key, value]) =>
    key.startsWith('label.') ? [[key.slice('label.'.length), value]] : [],
  );
  const isCut = chunking === 'content';
  if (chunking !== undefined && !isCut) {
    const text = `image "${name}" is cut by "${chunking}", which only newer programs know`;
    throw failedPrecondition('FORMAT_TOO_NEW', text, { image: name, chunking });
  }
  const about = { name, role, sourceSnapshotId, labels: Object.fromEntries(labels) };
  return { ...about, ...(isCut && { chunking: 'content' as const }) };
}
