import { dataLoss } from '../../../sdk/errors.ts';
import type { ArchiveAbout } from '../archive/import.ts';
import type {
  PackageReader as ArchiveReader,
  PackageWriter as ArchiveWriter,
  PackageImage,
} from '../archive/package.ts';
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
    storedBlocks: (name) => reader.image(name).checkedBlocks(),
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
): Promise<ArchiveWriter> {
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
    signal,
  });
  return new ImportedPackage(composition);
}

class ImportedPackage implements ArchiveWriter {
  private readonly composition: Composition;

  constructor(composition: Composition) {
    this.composition = composition;
  }

  async addFile(path: string, bytes: Uint8Array): Promise<void> {
    const name = packageFileName(path);
    await this.composition.addFile({ name, bytes: await fromArchive(name, bytes) });
  }

  async addImage(image: PackageImage, source: Parameters<ArchiveWriter['addImage']>[1]) {
    const { role = 'disk', sourceSnapshotId = '', ...others } = image.attributes ?? {};
    const labels = Object.entries(others).flatMap(([key, value]) =>
      key.startsWith('label.') ? [[key.slice('label.'.length), value]] : [],
    );
    const { root } = await this.composition.addImage({
      name: image.name,
      source,
      role,
      sourceSnapshotId,
      labels: Object.fromEntries(labels),
    });
    if (image.root !== undefined && image.root !== root) {
      const text = `image "${image.name}" is not the one that was exported: its root is ${root}, not ${image.root}`;
      throw dataLoss('ARCHIVE_DAMAGED', text, { image: image.name, root });
    }
    return { root };
  }

  async publish(): Promise<string> {
    return (await this.composition.publish()).id;
  }

  abort(): Promise<void> {
    return this.composition.abort();
  }
}
