import { setTimeout } from 'node:timers/promises';
import test from 'ava';
import { OperationState } from '../../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { Code } from '../../../../sdk/errors.ts';
import { parallel, type Step } from '../../../../sdk/operations/engine.ts';
import {
  define,
  gate,
  openStore,
  startEngine,
  statesOf,
  World,
} from '../../../support/operations.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

test('engine: a stop interrupts steps and lets go; the next start rolls back what was held', async (t) => {
  const world = new World();
  const store = await openStore(t);
  const reached = gate();
  const definition = define(() => [
    world.step('hold', { hold: true }),
    world.step('capture', {
      run: ({ signal }) =>
        new Promise((_, reject) => {
          reached.open();
          signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        }),
    }),
    world.release('release', ['hold']),
  ]);
  const limits = { holdPatienceMs: 0 };
  const first = await startEngine(t, store, [definition], { limits });
  const { id } = await first.accept({ definition: 'test', input: {} });
  await reached.promise;
  await first.stop();
  t.false(world.effects.has('hold'));
  const second = await startEngine(t, store, [definition]);
  const done = await second.finished(id);
  t.is(statesOf(done).state, 'ROLLED_BACK');
  t.is(done.error?.reason, 'INTERRUPTED');
});

test('engine: a stop lets go in reverse, so that what is paused runs before it thaws', async (t) => {
  const world = new World();
  const reached = gate();
  const letGo = (name: string): Partial<Step> => ({
    hold: true,
    compensate: async () => {
      world.log.push(`begin ${name}`);
      await setTimeout(20);
      world.log.push(`end ${name}`);
    },
  });
  const definition = define(() => [
    parallel([[world.step('freeze a', letGo('thaw a'))], [world.step('freeze b')]]),
    world.step('hold a', letGo('release a')),
    world.step('capture', {
      run: ({ signal }) =>
        new Promise((_, reject) => {
          reached.open();
          signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        }),
    }),
  ]);
  const limits = { holdPatienceMs: 0 };
  const engine = await startEngine(t, await openStore(t), [definition], { limits });
  await engine.accept({ definition: 'test', input: {} });
  await reached.promise;
  await engine.stop();
  t.deepEqual(
    world.log.filter((line) => !line.startsWith('run')),
    ['begin release a', 'end release a', 'begin thaw a', 'end thaw a'],
  );
});

test('engine: a stop waits for what is held to be let go, and the next start goes on there', async (t) => {
  const world = new World();
  const store = await openStore(t);
  const reached = gate();
  const capture = gate();
  const definition = define(() => [
    world.step('hold', { hold: true }),
    world.step('capture', {
      run: () => {
        reached.open();
        return capture.promise;
      },
    }),
    world.release('release', ['hold']),
    world.step('save', {
      run: ({ signal, resumed }) =>
        resumed
          ? Promise.resolve()
          : new Promise((_, reject) => {
              signal.addEventListener('abort', () => reject(signal.reason), { once: true });
            }),
    }),
  ]);
  const first = await startEngine(t, store, [definition]);
  const { id } = await first.accept({ definition: 'test', input: {} });
  await reached.promise;
  const stopped = first.stop();
  await setTimeout(100);
  t.true(world.effects.has('hold'));
  capture.open();
  await stopped;
  t.false(world.effects.has('hold'));
  const second = await startEngine(t, store, [definition]);
  t.is(statesOf(await second.finished(id)).state, 'COMPLETED');
  t.deepEqual(world.log, ['run hold', 'run release']);
});

test('engine: a stop without a hold leaves the step open; the next start resumes it', async (t) => {
  const world = new World();
  const store = await openStore(t);
  const reached = gate();
  let block = true;
  const definition = define(() => [
    world.step('a'),
    world.step('b', {
      run: ({ signal, resumed }) => {
        world.log.push(`b ${resumed}`);
        if (!block) return Promise.resolve();
        return new Promise((_, reject) => {
          reached.open();
          signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        });
      },
    }),
  ]);
  const first = await startEngine(t, store, [definition]);
  const { id } = await first.accept({ definition: 'test', input: {} });
  await reached.promise;
  await first.stop();
  block = false;
  const second = await startEngine(t, store, [definition]);
  t.is(statesOf(await second.finished(id)).state, 'COMPLETED');
  t.deepEqual(world.log, ['run a', 'b false', 'b true']);
});

test('engine: an operation whose definition is gone comes to rest and can be failed, not rolled back', async (t) => {
  const world = new World();
  const store = await openStore(t);
  const reached = gate();
  const first = await startEngine(t, store, [
    define(() => [
      world.step('a', {
        run: ({ signal }) =>
          new Promise((_, reject) => {
            reached.open();
            signal.addEventListener('abort', () => reject(signal.reason), { once: true });
          }),
      }),
    ]),
  ]);
  const { id } = await first.accept({ definition: 'test', input: {} });
  await reached.promise;
  await first.stop();
  const second = await startEngine(t, store, []);
  const done = await second.finished(id);
  t.is(statesOf(done).state, 'FAILED_TEMP');
  t.is(done.error?.reason, 'OPERATION_DEFINITION_CHANGED');
  await throwsRpc(t, second.rollBack(id), {
    code: Code.FAILED_PRECONDITION,
    reason: 'ROLLBACK_IMPOSSIBLE',
  });
  t.is((await second.fail(id)).operationState, OperationState.FAILED);
});

test('engine: the oldest finished occurrences go when there are too many', async (t) => {
  const world = new World();
  const engine = await startEngine(t, await openStore(t), [define(() => [world.step('a')])], {
    limits: { retainedFinishedMax: 2 },
  });
  const ids: string[] = [];
  for (let count = 0; count < 4; count++) {
    const { id } = await engine.accept({ definition: 'test', input: {} });
    await engine.finished(id);
    ids.push(id);
  }
  const { records: left } = await engine.list();
  t.deepEqual(
    left.map(({ id }) => id),
    [ids[3], ids[2]],
  );
});

test('engine: more unfinished operations than the limit are refused', async (t) => {
  const world = new World();
  const wait = gate();
  const engine = await startEngine(
    t,
    await openStore(t),
    [define(() => [world.step('a', { run: () => wait.promise })])],
    { limits: { unfinishedMax: 1 } },
  );
  const { id } = await engine.accept({ definition: 'test', input: {} });
  await throwsRpc(t, engine.accept({ definition: 'test', input: {} }), {
    code: Code.RESOURCE_EXHAUSTED,
    reason: 'TOO_MANY_OPERATIONS',
  });
  wait.open();
  await engine.finished(id);
  await t.notThrowsAsync(engine.accept({ definition: 'test', input: {} }));
});
