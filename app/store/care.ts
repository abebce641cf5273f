/** Looking after a repository without a server: verify, diff, list, delete, collect garbage. */
import type {
  DamagedPackage,
  ForgetReport,
  GcOptions,
  GcReport,
  ImageDiff,
  Manifest,
  RetentionPolicy,
  Unfinished,
  VerifyOptions,
  VerifyReport,
} from '../../plugins/repository/store/store.ts';
import { secondsSince, withStore } from './with-store.ts';

export type { ImageDiff };

/** Checks a repository, or one package of it. Damage is in the report. */
export async function verifyStore(
  folder: string,
  options: VerifyOptions & { workers?: number },
): Promise<VerifyReport> {
  const { workers, ...verify } = options;
  const resources = workers === undefined ? {} : { workers };
  return await withStore(folder, resources, (store) => store.verify(verify));
}

/** What changed from package `a` to package `b`, image by image. Reads no block. */
export async function diffPackages(
  folder: string,
  a: string,
  b: string,
): Promise<{ from: string; to: string; images: ImageDiff[]; seconds: number }> {
  const startMs = performance.now();
  return await withStore(folder, { workBytes: 0 }, async (store) => {
    const images = await store.diff(a, b);
    return { from: a, to: b, images, seconds: secondsSince(startMs) };
  });
}

/** An image of a package under the names that `mano pack` gives. */
export function describeImage(image: Manifest['images'][number]) {
  const { written, map, blockCount, ...rest } = image;
  return { ...rest, blocks: blockCount, ...written, mapSource: map.source, mapReason: map.reason };
}

/** All packages, oldest first, those whose manifest cannot be read, and unfinished ones. */
export async function listPackages(
  folder: string,
): Promise<{ packages: Manifest[]; damaged: DamagedPackage[]; unfinished: Unfinished[] }> {
  return await withStore(folder, { workBytes: 0 }, async (store) => {
    return { ...(await store.list()), unfinished: await store.listUnfinished() };
  });
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

/** Deletes what a policy does not keep; with `gc` the space is collected at once. */
export async function forgetFromStore(
  folder: string,
  policy: RetentionPolicy,
  options: { dryRun?: boolean; gc?: boolean; signal?: AbortSignal } = {},
): Promise<ForgetReport & { gc?: GcReport }> {
  const { gc = false, ...forget } = options;
  return await withStore(folder, { workBytes: 0 }, async (store) => {
    const report = await store.forget(policy, forget);
    if (!gc || forget.dryRun) return report;
    const { signal } = options;
    return { ...report, gc: await store.gc(signal ? { signal } : {}) };
  });
}
