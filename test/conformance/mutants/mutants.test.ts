import test from 'ava';
import { tempFolder } from '../../support/temp-folder.ts';
import { wasmvmGuests, wasmvmSilenceMs } from '../../support/wasmvm/conformance-options.ts';
import { openDriver } from '../../support/wasmvm/open-driver.ts';
import { type CheckResult, runDriverConformance } from '../driver/run.ts';
import { mutants } from './mutants.ts';
import { type Mutation, mutate } from './mutate.ts';

async function runOne(folder: string, mutation: Mutation, only: string): Promise<CheckResult[]> {
  const driver = await openDriver(folder);
  try {
    return await runDriverConformance(
      {
        transport: mutate(driver.transport, mutation),
        guests: wasmvmGuests,
        silenceMs: wasmvmSilenceMs,
      },
      { only },
    );
  } finally {
    await driver.close();
  }
}

for (const { fault, caughtBy, mutation } of mutants) {
  test.serial(`conformance kit: it finds a driver in which ${fault}`, async (t) => {
    const results = await runOne(await tempFolder(t), mutation, caughtBy);
    t.deepEqual(
      results.map(({ outcome }) => outcome),
      ['failed'],
      results[0]?.reason,
    );
    t.log(`found: ${results[0]?.reason}`);
  });
}

test.serial('conformance kit: handing calls on is not a fault by itself', async (t) => {
  for (const { caughtBy } of mutants.slice(0, 4)) {
    const results = await runOne(await tempFolder(t), () => ({}), caughtBy);
    t.deepEqual(
      results.map(({ outcome }) => outcome),
      ['passed'],
      results[0]?.reason,
    );
  }
});
