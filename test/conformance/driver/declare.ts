import type { ExecutionContext, TestFn } from 'ava';
import { Kit } from './kit.ts';
import type { ConformanceOptions } from './profile.ts';
import { driverChecks, runCheck } from './run.ts';

/** Checks that kill the driver; all of `declareDriverConformance` without `killAndReopen` skip them. */
export const killingChecks: readonly string[] = driverChecks
  .filter(({ kills }) => kills)
  .map(({ title }) => title);

/**
 * Declares one serial test for each check of the kit, and one that exactly the checks in `skipped`
 * were skipped. `open` is called once, before the first; what it returns is closed after the last.
 * `isReady` logs by name what is missing on this host.
 */
export function declareDriverConformance(
  test: TestFn,
  name: string,
  open: () => Promise<ConformanceOptions & { close(): Promise<void> }>,
  expected: { skipped: readonly string[]; isReady?: (t: ExecutionContext) => boolean },
): void {
  const { skipped, isReady = () => true } = expected;
  let opened: Promise<{ kit: Kit; close(): Promise<void> }> | undefined;
  const openOnce = () => {
    opened ??= open().then(async (options) => ({
      kit: await Kit.open(options),
      close: () => options.close(),
    }));
    return opened;
  };
  const found: string[] = [];
  test.after.always(async () => (await opened?.catch(() => undefined))?.close());
  for (const check of driverChecks) {
    test.serial(`${name}: ${check.title}`, async (t) => {
      if (!isReady(t)) return;
      const { kit } = await openOnce();
      const result = await runCheck(kit, check);
      if (result.outcome === 'failed') throw result.error;
      if (result.outcome === 'skipped') {
        found.push(check.title);
        t.log(`skipped: ${t.title}: ${result.reason}`);
      }
      t.pass();
    });
  }
  test.serial(`${name}: nothing is skipped but what is known`, (t) => {
    if (isReady(t)) t.deepEqual(found, [...skipped]);
  });
}
