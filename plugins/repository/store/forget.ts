/** Deletes the packages that a retention policy does not keep. */
import { failpoint } from '../../../sdk/failpoint.ts';
import { mark } from './gc-mark.ts';
import type { Manifest } from './manifest.ts';
import { manifestName, packagesPrefix } from './object-names.ts';
import { planRetention, type RetentionPolicy, type Verdict } from './retention.ts';
import type { StoreContext } from './store-context.ts';

export type ForgetOptions = {
  /** Deletes nothing; the report is the same. */
  dryRun?: boolean;
  signal?: AbortSignal;
};

export type ForgetReport = {
  kept: Verdict[];
  /** Those deleted, or that would be. */
  forgotten: Verdict[];
  /**
   * Stored bytes that only the forgotten packages need. A collection brings them back, whole
   * segments at once and mixed ones when they are worn enough.
   */
  uniqueBytes: number;
};

/**
 * Plans over these packages of images (not of VNFs), computes what they alone need, then deletes. A package is independent
 * of its parent and its increments, so any of them may go.
 */
export async function forgetPackages(
  context: StoreContext,
  packages: readonly Manifest[],
  policy: RetentionPolicy,
  options: ForgetOptions,
): Promise<ForgetReport> {
  const { backend } = context;
  // Those of VNFs belong to a VNFM, which keeps records of them and deletes them itself.
  const verdicts = planRetention(
    packages.filter(({ kind }) => kind === 'IMAGE'),
    policy,
  );
  const kept = verdicts.filter(({ reasons }) => reasons.length > 0);
  const forgotten = verdicts.filter(({ reasons }) => reasons.length === 0);
  const ids = new Set(forgotten.map((verdict) => verdict.package));
  const uniqueBytes = ids.size === 0 ? 0 : await bytesOfOnly(context, ids, options.signal);
  if (options.dryRun) return { kept, forgotten, uniqueBytes };
  for (const id of ids) {
    options.signal?.throwIfAborted();
    // One that is gone already was deleted by somebody else meanwhile.
    await backend.delete(manifestName(id));
    await failpoint('store.after-delete');
  }
  if (ids.size > 0) await backend.sync(packagesPrefix);
  return { kept, forgotten, uniqueBytes };
}

// What is alive now and would not be without these packages.
async function bytesOfOnly(
  context: StoreContext,
  ids: ReadonlySet<string>,
  signal: AbortSignal | undefined,
): Promise<number> {
  const liveBytes = async (without?: ReadonlySet<string>) => {
    const { catalog, uses } = await mark(context, signal, without);
    await catalog.close();
    return uses.reduce((sum, use) => sum + use.liveBytes, 0);
  };
  return (await liveBytes()) - (await liveBytes(ids));
}
