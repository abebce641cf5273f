/** What a package is; docs/storage-format.md 2.6. The checks are in manifest-rules.ts. */
export const packageKinds = ['VNF', 'VNFC', 'IMAGE'] as const;
export type PackageKind = (typeof packageKinds)[number];

export const mapSources = ['full', 'hash-scan', 'map', 'map-rejected', 'parent-image'] as const;
/** How the blocks that changed were found. */
export type MapSource = (typeof mapSources)[number];

/** What the run that made the image did. Bytes and counts; informative. */
export type Written = {
  /** Bytes of the source that were read, without those of samples. */
  bytesRead: number;
  sampledBlocks: number;
  /** Blocks that this run stored. */
  newBlocks: number;
  /** Pages of the tree that this run stored. */
  newPages: number;
  /** Bytes that blocks and pages take. */
  storedBytes: number;
};

/** How an image is cut into blocks: at every 64 KiB, or by its content. */
export type Chunking = 'fixed' | 'content';

export type ImageRecord = {
  name: string;
  /** `disk`, `memory`, `device-state` or another word. */
  role: string;
  /** The format it came from; a hint. */
  format: string;
  logicalBytes: number;
  /** Of an image cut by content: places for chunks, 128 for each 4 MiB. */
  blockCount: number;
  /** Absent: at every 64 KiB. */
  chunking?: 'content';
  /** Id of the root page, 64 hexadecimal digits, all 0 for an image of holes. */
  root: string;
  map: { source: MapSource; reason: string };
  sourceSnapshotId: string;
  labels: Record<string, string>;
  written: Written;
};

/** A small file; its bytes are stored under `id`, 64 hexadecimal digits. */
export type FileRecord = { name: string; mediaType: string; sizeBytes: number; id: string };

export type Manifest = {
  id: string;
  name: string;
  /** RFC 3339, UTC. */
  createdAt: string;
  kind: PackageKind;
  labels: Record<string, string>;
  /** Ids of packages that this one was made from; informative, they may be gone. */
  parents: string[];
  images: ImageRecord[];
  files: FileRecord[];
};

/**
 * True when two manifests mean the same content, whoever wrote them and however the changes were
 * found.
 */
export function isSameContent(a: Manifest, b: Manifest): boolean {
  return contentOf(a) === contentOf(b);
}

function contentOf(manifest: Manifest): string {
  // Parents are no content: they say what it was compared with, and an archive does not carry them.
  const { id, name, kind, files } = manifest;
  const images = manifest.images.map((image) => [
    image.name,
    image.role,
    image.format,
    image.logicalBytes,
    image.root,
    image.chunking ?? 'fixed',
    image.sourceSnapshotId,
    sorted(image.labels),
  ]);
  const named = files.map((file) => [file.name, file.mediaType, file.id]);
  return JSON.stringify([id, name, kind, sorted(manifest.labels), images, named]);
}

function sorted(labels: Record<string, string>): [string, string][] {
  return Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
}
