/** What an unfinished package is found again by; docs/storage-format.md 2.8. */
import { createHash } from 'node:crypto';
import type { Manifest } from './manifest.ts';
import type { ImageInput, PackOptions } from './pack.ts';
import type { Identity } from './pack-resume.ts';

/** The identity of a pack. Where it is read from counts only when there is no id. */
export function packIdentity(
  inputs: readonly ImageInput[],
  options: PackOptions,
  parent: Manifest | undefined,
): Identity {
  const { onProgress: _, signal: __, resume: ___, files: ____, packageId, ...rest } = options;
  const images = inputs.map(({ source, fingerprint: _____, labels: ______, ...input }) => {
    return { ...input, sizeBytes: source.sizeBytes };
  });
  const roots = parent?.images.map(({ name, root }) => [name, root]);
  const request = digest(JSON.stringify([images, rest, roots]));
  if (packageId !== undefined) return { key: keyOf(packageId), request };
  const names = inputs.map(({ source }) => source.name);
  const key = `request-${digest(JSON.stringify([request, names])).slice(0, 32)}`;
  return { key, request };
}

/** The key of a package whose id the caller gave. */
export function keyOf(packageId: string): string {
  return `id-${packageId}`;
}

export function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
