import test, { type ExecutionContext } from 'ava';
import { type DemoResult, runDemo } from '../../../app/demo/demo.ts';
import { ConsistencyPolicy } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';

const runMsMax = 300_000;

function demo(seed?: number, consistency?: ConsistencyPolicy): Promise<DemoResult> {
  return runDemo({
    driver: 'wasmvm',
    print: () => {},
    ...(consistency !== undefined && { consistency }),
    ...(seed !== undefined && { configuration: { wasmvm: { schedule: { seed } } } }),
  });
}

/** Every part of the result, not only its own word for it. */
function assertWhole(t: ExecutionContext, result: DemoResult): void {
  t.deepEqual(result.failures, []);
  t.true(result.ok);
  const { memory, disks, sizes, consistency } = result;
  t.true(memory.atSnapshot > 0);
  t.is(memory.afterRevert, memory.atSnapshot);
  t.true(memory.later > memory.afterRevert);
  t.is(disks.length, 2);
  for (const { name, sha256AtSnapshot, sha256AfterRevert } of disks) {
    t.regex(sha256AtSnapshot, /^[0-9a-f]{64}$/, name);
    t.is(sha256AfterRevert, sha256AtSnapshot, name);
  }
  t.not(disks[0]!.sha256AtSnapshot, disks[1]!.sha256AtSnapshot);
  t.is(consistency.level, 'VNF_CONFIRMED');
  t.is(new Set(result.snapshots).size, 2);
  t.is(new Set(result.packages).size, 2);
  t.true(sizes.storedBytes > 0 && sizes.storedBytes < sizes.logicalBytes);
  t.true(sizes.incrementalStoredBytes > 0, 'the traffic changed something');
  t.true(sizes.incrementalStoredBytes < sizes.storedBytes, 'most is shared with the parent');
}

test.serial(
  'demo: a VNF goes back in time over two sites, and everything that is checked is equal',
  async (t) => {
    t.timeout(runMsMax);
    assertWhole(t, await demo());
  },
);

for (const seed of [1, 2, 3]) {
  test.serial(
    `demo: whatever the interleaving (seed ${seed}), a consistent snapshot keeps the invariant`,
    async (t) => {
      t.timeout(runMsMax);
      assertWhole(t, await demo(seed));
    },
  );
}

for (const seed of [1, 2]) {
  test.serial(
    `demo: without the consistency steps the same check fails (seed ${seed}): the components do not fit`,
    async (t) => {
      t.timeout(runMsMax);
      const { ok, failures, consistency } = await demo(seed, ConsistencyPolicy.NONE);
      t.false(ok);
      t.is(consistency.level, 'CRASH');
      // The gateway was captured first: the database knows numbers that the gateway has not issued.
      const noticed = failures.filter((text) => /reports: sequence (from the|issued)/.test(text));
      t.true(noticed.length > 0, failures.join('; '));
      t.false(
        failures.some((text) => text.startsWith('disk ')),
        'each disk by itself is whole',
      );
    },
  );
}
