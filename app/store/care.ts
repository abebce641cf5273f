/** Looking after a repository without a server: verify, diff, list, delete, collect garbage. */
import type {
  DamagedPackage,
  GcOptions,
  GcReport,
  ImageDiff,
  Manifest,
  VerifyOptions,
  VerifyReport,
} from '../../plugins/repository/store/store.ts';
import { withStore } from './with-store.ts';

export type { ImageDiff };

/** Checks a repository, or one package of it. Damage is in the report. */
export async function verifyStore(folder: string, options: VerifyOptions): Promise<VerifyReport> {
  return await withStore(folder, {}, (store) => store.verify(options));
}

/** What changed from package `a` to package `b`, image by image. Reads no block. */
export async function diffPackages(
  folder: string,
  a: string,
  b: string,
): Promise<{ from: string; to: string; images: ImageDiff[] }> {
  return await withStore(folder, { workBytes: 0 }, async (store) => {
    return { from: a, to: b, images: await store.diff(a, b) };
  });
}

/** All packages, oldest first, and those whose manifest cannot be read. */
export async function listPackages(
  folder: string,
): Promise<{ packages: Manifest[]; damaged: DamagedPackage[] }> {
  return await withStore(folder, { workBytes: 0 }, (store) => store.list());
}

/** Deletes packages; their blocks stay until garbage is collected. */
export async function deletePackages(folder: string, ids: readonly string[]): Promise<void> {
  await withStore(folder, { workBytes: 0 }, async (store) => {
    for (const id of ids) await store.delete(id);
  });
}

/** Frees what no package needs. */
export async function collectGarbage(folder: string, options: GcOptions = {}): Promise<GcReport> {
  return await withStore(folder, { workBytes: 0 }, (store) => store.gc(options));
}
