import { computeChecks } from './compute.ts';
import { dataChecks } from './data.ts';
import { errorChecks } from './errors.ts';
import { holdChecks } from './hold.ts';
import { idempotencyChecks } from './idempotency.ts';
import { identityChecks } from './identity.ts';
import { type Check, capabilityText, Kit } from './kit.ts';
import type { ConformanceOptions } from './profile.ts';
import { recoveryChecks } from './recovery.ts';
import { snapshotChecks } from './snapshot.ts';
import { volumeChecks } from './volumes.ts';

export type { ConformanceOptions } from './profile.ts';

/** All checks, in an order in which each can rely on those before it. */
export const driverChecks: readonly Check[] = [
  ...identityChecks,
  ...errorChecks,
  ...volumeChecks,
  ...computeChecks,
  ...idempotencyChecks,
  ...holdChecks,
  ...snapshotChecks,
  ...dataChecks,
  ...recoveryChecks,
];

/** What a check came to. A skip names the capability that the driver does not claim. */
export type CheckResult = {
  title: string;
  outcome: 'passed' | 'failed' | 'skipped';
  reason: string;
  error?: unknown;
};

export type RunOptions = {
  /** Only checks whose title contains this. */
  only?: string | undefined;
  /** Hears each result as it comes. */
  onResult?: (result: CheckResult) => void;
};

/**
 * Checks a driver, whatever it is written in and wherever it runs. Everything that the checks make
 * is deleted, also when they fail; what cannot be deleted fails its check.
 */
export async function runDriverConformance(
  options: ConformanceOptions,
  { only = '', onResult = () => {} }: RunOptions = {},
): Promise<CheckResult[]> {
  const kit = await Kit.open(options);
  const results: CheckResult[] = [];
  for (const check of driverChecks.filter(({ title }) => title.includes(only))) {
    const result = await runCheck(kit, check);
    results.push(result);
    onResult(result);
  }
  return results;
}

/** Runs one check and cleans up after it. */
export async function runCheck(kit: Kit, check: Check): Promise<CheckResult> {
  const { title } = check;
  const missing = (check.needs ?? []).filter((capability) => !kit.can(capability));
  if (missing.length > 0) {
    return { title, outcome: 'skipped', reason: `needs ${missing.map(capabilityText).join(', ')}` };
  }
  if (check.kills && !kit.options.killAndReopen) {
    return { title, outcome: 'skipped', reason: 'needs a driver that may be killed' };
  }
  let failure: unknown;
  try {
    await check.run(kit);
  } catch (error) {
    failure = error;
  }
  const left = await kit.tracker.clean();
  if (failure === undefined && left.length === 0) return { title, outcome: 'passed', reason: '' };
  const error = failure ?? new Error(`not deleted: ${left.join('; ')}`);
  return { title, outcome: 'failed', reason: String((error as Error).message ?? error), error };
}
