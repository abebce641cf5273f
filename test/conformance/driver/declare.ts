import type { TestFn } from 'ava';
import { Kit } from './kit.ts';
import type { ConformanceOptions } from './profile.ts';
import { driverChecks, runCheck } from './run.ts';

/**
 * Declares one serial test for each check of the kit. `open` is called once, before the first; what
 * it returns is closed after the last. Skips are logged by name.
 */
export function declareDriverConformance(
  test: TestFn,
  name: string,
  open: () => Promise<ConformanceOptions & { close(): Promise<void> }>,
): void {
  let opened: Promise<{ kit: Kit; close(): Promise<void> }> | undefined;
  const openOnce = () => {
    opened ??= open().then(async (options) => ({
      kit: await Kit.open(options),
      close: () => options.close(),
    }));
    return opened;
  };
  test.after.always(async () => (await opened?.catch(() => undefined))?.close());
  for (const check of driverChecks) {
    test.serial(`${name}: ${check.title}`, async (t) => {
      const { kit } = await openOnce();
      const result = await runCheck(kit, check);
      if (result.outcome === 'failed') throw result.error;
      if (result.outcome === 'skipped') t.log(`skipped: ${t.title}: ${result.reason}`);
      t.pass();
    });
  }
}
