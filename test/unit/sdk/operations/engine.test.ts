import test from 'ava';
import { OperationState } from '../../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { Code, failedPrecondition, unavailable } from '../../../../sdk/errors.ts';
import { parallel } from '../../../../sdk/operations/engine.ts';
import { jsonCollection } from '../../../../sdk/records/record-store.ts';
import {
  define,
  gate,
  openStore,
  startEngine,
  statesOf,
  World,
} from '../../../support/operations.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

const records = jsonCollection<string>('records');
const broken = failedPrecondition('BROKEN', 'it broke');

test('engine: all steps done is COMPLETED, with outputs, times and clause of each step', async (t) => {
  const world = new World();
  const engine = await startEngine(t, await openStore(t), [
    define(() => [
      world.step('a', { clauseStep: '5' }),
      world.step('b', {
        run: async (context) => {
          t.deepEqual(context.output('a'), { by: 'a' });
          context.result('location', 'here');
          context.warn('slow');
          context.note('noted');
        },
      }),
      world.step('c', { run: async (context) => context.skip('not needed') }),
    ]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {}, vnfInstanceId: 'v' });
  const done = await engine.finished(id);
  t.deepEqual(statesOf(done), {
    state: 'COMPLETED',
    steps: { a: 'DONE', b: 'DONE', c: 'SKIPPED' },
  });
  t.deepEqual({ ...done.result }, { location: 'here' });
  t.deepEqual(done.warnings, ['slow']);
  t.deepEqual(
    done.steps.map(({ note }) => note),
    ['', 'noted', 'not needed'],
  );
  t.is(done.steps[0]?.clauseStep, '5');
  t.truthy(done.steps[0]?.startTime && done.steps[0]?.endTime && done.endTime);
  t.is(done.error, undefined);
});

test('engine: a failure is rolled back in reverse order, the failed step included', async (t) => {
  const world = new World();
  world.faults.set('run c', broken);
  const engine = await startEngine(t, await openStore(t), [
    define(() => [world.step('a'), world.step('b'), world.step('c'), world.step('d')]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  const done = await engine.finished(id);
  t.deepEqual(world.log, ['run a', 'run b', 'run c', 'fault run c', 'undo c', 'undo b', 'undo a']);
  t.deepEqual(statesOf(done), {
    state: 'ROLLED_BACK',
    steps: { a: 'COMPENSATED', b: 'COMPENSATED', c: 'COMPENSATED', d: 'PENDING' },
  });
  t.is(done.error?.reason, 'BROKEN');
  t.is(done.error?.metadata.step, 'c');
});

test('engine: a failure of a starting step is ROLLED_BACK without a compensation', async (t) => {
  const world = new World();
  const seen: string[] = [];
  const { compensate: _, ...grant } = world.step('grant', { starting: true });
  const engine = await startEngine(t, await openStore(t), [
    define(() => [{ ...grant, run: async () => Promise.reject(broken) }, world.step('a')], {
      stateChanged: async (_tx, { to }) => void seen.push(OperationState[to]),
    }),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  t.is(statesOf(await engine.finished(id)).state, 'ROLLED_BACK');
  t.deepEqual(seen, ['ROLLED_BACK']);
  t.deepEqual(world.log, []);
});

test('engine: steps planned by a step follow it, and the group waits for all its chains', async (t) => {
  const world = new World();
  const engine = await startEngine(t, await openStore(t), [
    define(() => [
      world.step('plan', {
        run: async () => ['x', 'y'],
        extend: (names) => [
          parallel(
            (names as string[]).map((name) => [world.step(`1${name}`), world.step(`2${name}`)]),
          ),
        ],
      }),
      world.step('end'),
    ]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  const done = await engine.finished(id);
  t.deepEqual(
    done.steps.map(({ name, index }) => [index, name]),
    [
      [1, 'plan'],
      [2, '1x'],
      [3, '2x'],
      [4, '1y'],
      [5, '2y'],
      [6, 'end'],
    ],
  );
  t.is(world.log.at(-1), 'run end');
  t.true(world.log.indexOf('run 1x') < world.log.indexOf('run 2x'));
});

test('engine: FAILED_TEMP keeps effects and the lock; Retry repeats the failed step under the same id', async (t) => {
  const world = new World();
  const ids: string[] = [];
  let fails = true;
  const engine = await startEngine(t, await openStore(t), [
    define(
      () => [
        world.step('a'),
        world.step('b', {
          run: async ({ stepId, resumed, attempt }) => {
            ids.push(`${stepId} ${resumed} ${attempt}`);
            if (fails) throw broken;
          },
        }),
      ],
      { onFailure: 'failed-temp' },
    ),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {}, key: 'v' });
  t.deepEqual(statesOf(await engine.finished(id)), {
    state: 'FAILED_TEMP',
    steps: { a: 'DONE', b: 'FAILED' },
  });
  const other = await throwsRpc(t, engine.accept({ definition: 'test', input: {}, key: 'v' }), {
    code: Code.FAILED_PRECONDITION,
    reason: 'OPERATION_IN_PROGRESS',
  });
  t.is(other.metadata.operation_id, id);
  fails = false;
  await engine.retry(id);
  t.is(statesOf(await engine.finished(id)).state, 'COMPLETED');
  t.deepEqual(ids, ['b false 1', 'b true 2']);
  t.deepEqual(world.log, ['run a']);
  await t.notThrowsAsync(engine.accept({ definition: 'test', input: {}, key: 'v' }));
});

test('engine: a hold is let go at once on failure, and a Retry takes it again and repeats what was done under it', async (t) => {
  const world = new World();
  world.faults.set('run capture b', broken);
  const engine = await startEngine(t, await openStore(t), [
    define(
      () => [
        world.step('prepare'),
        world.step('hold', { hold: true }),
        world.step('capture a'),
        world.step('capture b'),
        world.release('release', ['hold']),
        world.step('end'),
      ],
      { onFailure: 'failed-temp' },
    ),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  t.is(statesOf(await engine.finished(id)).state, 'FAILED_TEMP');
  t.false(world.effects.has('hold'));
  t.deepEqual(world.log.splice(0), [
    'run prepare',
    'run hold',
    'run capture a',
    'run capture b',
    'fault run capture b',
    'run release',
  ]);
  await engine.retry(id);
  t.is(statesOf(await engine.finished(id)).state, 'COMPLETED');
  t.deepEqual(world.log, [
    'undo capture b',
    'undo capture a',
    'run hold',
    'run capture a',
    'run capture b',
    'run release',
    'run end',
  ]);
});

test('engine: when the release fails, the compensation of the hold lets go', async (t) => {
  const world = new World();
  world.faults.set('run capture', broken);
  world.faults.set('run release', broken);
  const engine = await startEngine(t, await openStore(t), [
    define(() => [
      world.step('hold', { hold: true }),
      world.step('capture'),
      world.release('release', ['hold']),
    ]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  const done = await engine.finished(id);
  t.is(statesOf(done).state, 'ROLLED_BACK');
  t.deepEqual([...world.effects], []);
  t.true(done.warnings.some((text) => text.includes('release')));
});

test('engine: a compensation that fails ends in FAILED_TEMP; Rollback tries again', async (t) => {
  const world = new World();
  world.faults.set('run b', broken);
  world.faults.set('undo a', broken);
  const engine = await startEngine(t, await openStore(t), [
    define(() => [world.step('a'), world.step('b')]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  t.is(statesOf(await engine.finished(id)).state, 'FAILED_TEMP');
  await engine.rollBack(id);
  t.is(statesOf(await engine.finished(id)).state, 'ROLLED_BACK');
  t.deepEqual([...world.effects], []);
});

test('engine: Fail gives up, names what may remain and frees the key', async (t) => {
  const world = new World();
  world.faults.set('run b', broken);
  const engine = await startEngine(t, await openStore(t), [
    define(() => [world.step('a'), world.step('b')], { onFailure: 'failed-temp' }),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {}, key: 'v' });
  await engine.finished(id);
  const failed = await engine.fail(id);
  t.is(failed.operationState, OperationState.FAILED);
  t.deepEqual(failed.warnings, ['effects of these steps may remain: "a", "b"']);
  await throwsRpc(t, engine.retry(id), {
    code: Code.FAILED_PRECONDITION,
    reason: 'OPERATION_STATE',
  });
  await t.notThrowsAsync(engine.accept({ definition: 'test', input: {}, key: 'v' }));
});

for (const mode of ['graceful', 'forceful'] as const) {
  test(`engine: a ${mode} cancel undoes everything`, async (t) => {
    const world = new World();
    const reached = gate();
    const goOn = gate();
    const engine = await startEngine(t, await openStore(t), [
      define(() => [
        world.step('a'),
        world.step('b', {
          run: async ({ signal }) => {
            reached.open();
            const aborted = new Promise<never>((_, reject) => {
              signal.addEventListener('abort', () => reject(signal.reason), { once: true });
            });
            await Promise.race([goOn.promise, aborted]);
            world.effects.add('b');
          },
        }),
        world.step('c'),
      ]),
    ]);
    const { id } = await engine.accept({ definition: 'test', input: {} });
    await reached.promise;
    await engine.cancel(id, mode);
    if (mode === 'graceful') {
      t.true((await engine.get(id)).isCancelPending);
      goOn.open();
    }
    const done = await engine.finished(id);
    t.is(statesOf(done).state, 'ROLLED_BACK');
    t.is(done.error?.reason, 'OPERATION_CANCELLED');
    t.false(done.isCancelPending);
    t.deepEqual([...world.effects], []);
    t.false(world.log.includes('run c'));
  });
}

test('engine: after an irreversible step a failure is FAILED_TEMP and Rollback is refused', async (t) => {
  const world = new World();
  world.faults.set('run b', broken);
  const engine = await startEngine(t, await openStore(t), [
    define(() => [world.step('a', { irreversible: true }), world.step('b')]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  t.is(statesOf(await engine.finished(id)).state, 'FAILED_TEMP');
  await throwsRpc(t, engine.rollBack(id), {
    code: Code.FAILED_PRECONDITION,
    reason: 'ROLLBACK_IMPOSSIBLE',
  });
});

test('engine: a step that is retryable is repeated after UNAVAILABLE, with resumed', async (t) => {
  const world = new World();
  const seen: string[] = [];
  const engine = await startEngine(t, await openStore(t), [
    define(() => [
      world.step('a', {
        retryable: { attemptsMax: 3, delayMs: 1, delayMsMax: 1 },
        run: async ({ attempt, resumed }) => {
          seen.push(`${attempt} ${resumed}`);
          if (attempt < 3) throw unavailable('AWAY', 'not there');
        },
      }),
    ]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  const done = await engine.finished(id);
  t.is(statesOf(done).state, 'COMPLETED');
  t.deepEqual(seen, ['1 false', '2 true', '3 true']);
  t.is(done.steps[0]?.attempts, 3);
});

test('engine: a step over its deadline fails with STEP_DEADLINE', async (t) => {
  const world = new World();
  const engine = await startEngine(t, await openStore(t), [
    define(() => [
      world.step('a', {
        deadlineMs: 5,
        run: ({ signal }) =>
          new Promise((_, reject) => {
            signal.addEventListener('abort', () => reject(new Error('other')), { once: true });
          }),
      }),
    ]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  const done = await engine.finished(id);
  t.is(done.error?.reason, 'STEP_DEADLINE');
  t.is(done.error?.code, Code.DEADLINE_EXCEEDED);
});

test('engine: a request id gives the first operation again, and refuses another body', async (t) => {
  const world = new World();
  const store = await openStore(t);
  const engine = await startEngine(t, store, [define(() => [world.step('a')])]);
  const request = { id: 'r', method: 'M', body: new Uint8Array([1]) };
  const accept = (body: Uint8Array) =>
    engine.accept({
      definition: 'test',
      input: {},
      request: { ...request, body },
      record: async (tx, id) => void (await tx.collection(records).insert(id, 'x')),
    });
  const first = await accept(request.body);
  t.deepEqual(await accept(request.body), { id: first.id, repeated: true });
  await throwsRpc(t, accept(new Uint8Array([2])), {
    code: Code.ALREADY_EXISTS,
    reason: 'REQUEST_ID_REUSED',
  });
  t.is(await store.collection(records).count(), 1);
});

test('engine: when the own records of the caller refuse, nothing was accepted', async (t) => {
  const world = new World();
  const engine = await startEngine(t, await openStore(t), [define(() => [world.step('a')])]);
  const refused = engine.accept({
    definition: 'test',
    input: {},
    key: 'v',
    id: 'mine',
    record: () => Promise.reject(broken),
  });
  await throwsRpc(t, refused, { code: Code.FAILED_PRECONDITION, reason: 'BROKEN' });
  await throwsRpc(t, engine.get('mine'), { code: Code.NOT_FOUND, reason: 'OPERATION_UNKNOWN' });
  await t.notThrowsAsync(engine.accept({ definition: 'test', input: {}, key: 'v' }));
});

test('engine: own records change with the state, or the operation is not COMPLETED', async (t) => {
  const world = new World();
  const store = await openStore(t);
  let refuse = true;
  const engine = await startEngine(t, store, [
    define(() => [world.step('a')], {
      stateChanged: async (tx, { to }) => {
        if (to !== OperationState.COMPLETED) return;
        await tx.collection(records).insert('done', 'x');
        if (refuse) throw broken;
      },
    }),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  const failed = await engine.finished(id);
  t.is(statesOf(failed).state, 'FAILED_TEMP');
  t.is(failed.error?.reason, 'BROKEN');
  t.is(await store.collection(records).count(), 0);
  refuse = false;
  await engine.retry(id);
  t.is(statesOf(await engine.finished(id)).state, 'COMPLETED');
  t.is(await store.collection(records).count(), 1);
});

test('engine: a hold that a Retry took again is let go again when the operation fails again', async (t) => {
  const world = new World();
  world.faults.set('run capture', broken);
  const engine = await startEngine(t, await openStore(t), [
    define(() => [world.step('hold', { hold: true }), world.step('capture')], {
      onFailure: 'failed-temp',
    }),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  await engine.finished(id);
  world.faults.set('run capture', broken);
  await engine.retry(id);
  t.is(statesOf(await engine.finished(id)).state, 'FAILED_TEMP');
  t.is(world.log.filter((line) => line === 'run hold').length, 2);
  t.false(world.effects.has('hold'));
});

test('engine: a step that was undone and is repeated has a new step id', async (t) => {
  const world = new World();
  const ids: string[] = [];
  world.faults.set('run capture b', broken);
  const engine = await startEngine(t, await openStore(t), [
    define(
      () => [
        world.step('hold', { hold: true }),
        world.step('capture a', { run: async ({ stepId }) => void ids.push(stepId) }),
        world.step('capture b'),
        world.release('release', ['hold']),
      ],
      { onFailure: 'failed-temp' },
    ),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  await engine.finished(id);
  await engine.retry(id);
  await engine.finished(id);
  t.deepEqual(ids, ['capture a', 'capture a#1']);
});

test('engine: the steps of a chain are undone last first', async (t) => {
  const world = new World();
  world.faults.set('run end', broken);
  const engine = await startEngine(t, await openStore(t), [
    define(() => [
      parallel([[world.step('1'), world.step('2'), world.step('3')]]),
      world.step('end'),
    ]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  await engine.finished(id);
  const undone = world.log.filter((line) => line.startsWith('undo'));
  t.deepEqual(undone, ['undo end', 'undo 3', 'undo 2', 'undo 1']);
});

test('engine: a step that fails interrupts those beside it, and its error is the one of the operation', async (t) => {
  const world = new World();
  const engine = await startEngine(t, await openStore(t), [
    define(() => [
      parallel([
        world.step('waits', {
          run: ({ signal }) =>
            new Promise((_, reject) => {
              signal.addEventListener('abort', () => reject(signal.reason), { once: true });
            }),
        }),
        world.step('fails', { run: () => Promise.reject(broken) }),
      ]),
    ]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  const done = await engine.finished(id);
  t.is(done.error?.reason, 'BROKEN');
  t.is(done.steps[0]?.error?.reason, 'STEP_INTERRUPTED');
});
