/** Manifests as objects of the repository. */
import { formatFramed, parseFramed } from './framed-text.ts';
import type { Manifest } from './manifest.ts';
import { checkManifest } from './manifest-rules.ts';

/** Renders the object. */
export function formatManifest(manifest: Manifest): Uint8Array {
  const isCut = manifest.images.some(({ chunking }) => chunking !== undefined);
  return formatFramed('package', manifest, isCut ? 2 : 1);
}

/**
 * Reads a manifest object. Throws OBJECT_DAMAGED (DATA_LOSS) or FORMAT_TOO_NEW
 * (FAILED_PRECONDITION).
 */
export function parseManifest(bytes: Uint8Array, packageId: string, path: string): Manifest {
  return checkManifest(parseFramed('package', bytes, path), packageId, path);
}
