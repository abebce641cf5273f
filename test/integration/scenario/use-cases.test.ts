import test, { type ExecutionContext } from 'ava';
import { runScenario } from '../../../app/scenario/all.ts';
import type { FailureKind } from '../../../app/scenario/failure.ts';
import type { ScenarioResult } from '../../../app/scenario/scenario.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { buildGuestImage, tools } from '../drivers/qemu/lab.ts';

const runMsMax = 600_000;

type How = { driver: string; indirect?: boolean; failure?: FailureKind };

async function run(
  t: ExecutionContext,
  name: string,
  { driver, indirect = false, failure = 'stop' }: How,
): Promise<ScenarioResult> {
  t.timeout(runMsMax);
  if (driver === 'qemu') await buildGuestImage();
  const lines: string[] = [];
  try {
    const result = await runScenario(name, {
      ...{ driver, failure, print: (line) => lines.push(line) },
      ...(indirect && { configuration: { vnfm: { resourceManagement: 'indirect' } } }),
    });
    t.deepEqual(result.failures, []);
    t.true(result.ok);
    if (indirect)
      t.true(
        lines.some((line) => line.includes('nfvo')),
        'the NFVO passes calls on',
      );
    return result;
  } catch (error) {
    t.log(lines.slice(-40).join('\n'));
    throw error;
  }
}

/** The steps that were told, in order. */
function stepsOf({ steps }: ScenarioResult): string {
  return steps.map(({ step }) => step).join(' ');
}

/** Where QEMU can be had the tests of it run; elsewhere they say why not. */
function canRun(t: ExecutionContext, driver: string): boolean {
  return driver !== 'qemu' || skipUnless(t, ...tools);
}

for (const [driver, indirect] of [
  ['wasmvm', true],
  ['qemu', false],
] as const) {
  test.serial(
    `online testing on ${driver}: a component is stopped, a restart does not help, the service goes on from snapshots [4.1.1/1 4.1.1/2 4.1.1/3 4.1.1/4 4.1.1/5 4.1.1/6 4.1.1/7 4.1.1/8 5.2.1/online-testing]`,
    async (t) => {
      if (!canRun(t, driver)) return;
      const result = await run(t, 'online-testing', { driver, indirect });
      t.is(result.verdict, 'failed');
      t.is(stepsOf(result), '1 2 3 4 5 6 7 8');
      t.is(new Set(result.snapshots).size, 2);
      t.is(new Set(result.packages).size, 2);
    },
  );
}

for (const [driver, indirect, failure] of [
  ['wasmvm', false, 'stall'],
  ['wasmvm', true, 'network-cut'],
  ['qemu', true, 'network-cut'],
] as const) {
  test.serial(
    `online testing on ${driver}: the service gets over a ${failure} by itself, and the test ends at step 7`,
    async (t) => {
      if (!canRun(t, driver)) return;
      const result = await run(t, 'online-testing', { driver, indirect, failure });
      t.is(result.verdict, 'passed');
      t.is(stepsOf(result), '1 2 3 4 5 6 7');
      t.is(result.packages.length, 1);
    },
  );
}

for (const [driver, indirect] of [
  ['wasmvm', false],
  ['qemu', true],
] as const) {
  test.serial(
    `root cause analysis on ${driver}: what has crashed is captured by the VNFM itself, with what it knows [4.2.1/1 4.2.1/2 4.2.1/3 4.2.1/4 4.2.1/5 5.2.1/root-cause-analysis]`,
    async (t) => {
      if (!canRun(t, driver)) return;
      const result = await run(t, 'root-cause-analysis', { driver, indirect });
      t.is(stepsOf(result), '1 2 3 4 5');
      t.is(result.packages.length, 1);
    },
  );
  test.serial(
    `lifecycle procedure on ${driver}: a restart that goes wrong falls back to the snapshot before it [4.3.1/1 4.3.1/2 4.3.1/3 4.3.1/4 4.3.1/5 5.2.1/lifecycle-procedure]`,
    async (t) => {
      if (!canRun(t, driver)) return;
      t.is(stepsOf(await run(t, 'lifecycle-procedure', { driver, indirect })), '1 2 3 4 5');
    },
  );
  test.serial(
    `quick recovery on ${driver}: a wrecked VNF is brought back through the NFVO [5.2.1/quick-recovery]`,
    async (t) => {
      if (!canRun(t, driver)) return;
      t.is(stepsOf(await run(t, 'quick-recovery', { driver, indirect })), '1 2 3 4 5 6');
    },
  );
}
