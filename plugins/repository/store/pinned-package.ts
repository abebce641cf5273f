import { RpcError } from '../../../sdk/errors.ts';
import type { Backend } from './backend.ts';
import type { Catalog } from './catalog.ts';
import { packageNotFound } from './faults.ts';
import { parseId } from './ids.ts';
import type { Lease } from './lease.ts';
import { framedTextBytesMax } from './limits.ts';
import type { Chunking, ImageRecord, Manifest } from './manifest.ts';
import { parseManifest } from './manifest-codec.ts';
import { manifestName } from './object-names.ts';
import { Tree } from './tree-reader.ts';

/** A package that is pinned by a lease. */
export type PinnedPackage = { manifest: Manifest };

/** Reads a manifest. PACKAGE_UNKNOWN (NOT_FOUND), OBJECT_DAMAGED (DATA_LOSS) or FORMAT_TOO_NEW. */
export async function readManifest(
  backend: Backend,
  packageId: string,
): Promise<{ manifest: Manifest; bytes: Uint8Array }> {
  const name = manifestName(packageId);
  const bytes = await backend.readAll(name, framedTextBytesMax);
  if (bytes === undefined) throw packageNotFound(packageId);
  return { manifest: parseManifest(bytes, packageId, backend.path(name)), bytes };
}

/**
 * Reads a manifest and keeps all that it reaches for as long as the lease lives, even when the
 * package is deleted meanwhile. The catalog must be refreshed afterwards.
 */
export async function pinPackage(
  backend: Backend,
  lease: Lease,
  packageId: string,
): Promise<Manifest> {
  const { manifest, bytes } = await readManifest(backend, packageId);
  await lease.pin(packageId, bytes);
  // A deletion before the pin was there may have been followed by a collection that did not see it.
  if ((await backend.size(manifestName(packageId))) === undefined) throw packageNotFound(packageId);
  return manifest;
}

/** The tree of an image. */
export function treeOf(catalog: Catalog, image: ImageRecord): Tree {
  return new Tree(catalog, parseId(image.root)!, image.blockCount);
}

/**
 * The parent's image of that name, as part of a request for a decision. Where both packages have
 * one image, it is the one meant whatever the files are called: "v2.img" is a version of "v1.img".
 */
export function parentImage(
  catalog: Catalog,
  parent: PinnedPackage,
  name: string,
  isOnlyImage: boolean,
  chunking: Chunking = 'fixed',
): { parent?: { record: ImageRecord; tree: Tree } } {
  const { images } = parent.manifest;
  const named = images.find((image) => image.name === name);
  const record = named ?? (isOnlyImage && images.length === 1 ? images[0] : undefined);
  // Blocks of images that are cut otherwise lie at other places.
  if (record !== undefined && (record.chunking ?? 'fixed') !== chunking) return {};
  return record === undefined ? {} : { parent: { record, tree: treeOf(catalog, record) } };
}

/** A package is no parent while an index is damaged: nobody knows whether it needs that. */
export function refuseDamagedParent(catalog: Catalog, parent: string): void {
  const damaged = catalog.damaged[0];
  if (damaged === undefined) return;
  const text = `${damaged.error.message}: package "${parent}" may need it; repair, or pack without a parent`;
  throw new RpcError(damaged.error.code, 'REPOSITORY_DAMAGED', text, {
    ...damaged.error.metadata,
  });
}
