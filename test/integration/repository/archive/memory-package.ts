import { createHash } from 'node:crypto';
import type {
  PackageImage,
  PackageReader,
  PackageWriter,
} from '../../../../plugins/repository/archive/package.ts';
import type { StoredBlock } from '../../../../plugins/repository/targets/lz4-frame.ts';
import { readByExtents } from '../sources/images.ts';
import { plainImage, storedBlocks } from '../targets/stored-blocks.ts';

export type MemoryPackage = PackageReader & {
  plain: Map<string, Uint8Array>;
  contents: Map<string, Uint8Array>;
};

/** Stands for the root of a tree: equal images have equal ones. */
export const rootOf = (plain: Uint8Array) => createHash('sha256').update(plain).digest('hex');

export const vnfd = Buffer.from('a descriptor as a nested archive');
export const record = Buffer.from(JSON.stringify({ id: 'snapshot-1', note: 'Zürich' }));

/** A package as a store would show it. */
export function memoryPackage(sizes: Record<string, number>): MemoryPackage {
  const plain = new Map<string, Uint8Array>();
  const images: PackageImage[] = [];
  for (const [index, [name, sizeBytes]] of Object.entries(sizes).entries()) {
    const bytes = plainImage(index + 70, sizeBytes);
    plain.set(name, bytes);
    images.push({ name, sizeBytes, root: rootOf(bytes), attributes: { role: 'disk' } });
  }
  const contents = new Map<string, Uint8Array>([
    ['VNFD/vnfd.zip', vnfd],
    ['VNFSR/record.json', record],
  ]);
  return {
    plain,
    contents,
    images,
    about: {
      name: 'snapshot-1',
      createdAt: new Date('2026-03-04T05:06:08Z'),
      metadata: { vnf_snapshot_pkg_unique_id: 'pkg-1', name: 'before the upgrade: Zürich' },
    },
    files: [...contents].map(([path, bytes]) => ({ path, sizeBytes: bytes.length })),
    readFile: async (path) => contents.get(path)!,
    storedBlocks: (name): AsyncIterable<StoredBlock> => storedBlocks(plain.get(name)!),
  };
}

/** The other end: keeps what an import brings, and knows whether it was published. */
export class MemoryWriter implements PackageWriter {
  readonly files = new Map<string, Uint8Array>();
  readonly images = new Map<string, { image: PackageImage; plain: Uint8Array }>();
  state: 'open' | 'published' | 'aborted' = 'open';

  async addFile(path: string, bytes: Uint8Array) {
    this.files.set(path, bytes);
  }

  async addImage(image: PackageImage, source: Parameters<PackageWriter['addImage']>[1]) {
    const plain = await readByExtents(source);
    this.images.set(image.name, { image, plain });
    return { root: rootOf(plain) };
  }

  async publish() {
    this.state = 'published';
    return 'imported-1';
  }

  async abort() {
    this.state = 'aborted';
  }
}
