import test, { type ExecutionContext } from 'ava';
import { OperationState } from '../../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import {
  CancelMode,
  OperationOccurrenceService,
} from '../../../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { createClient } from '../../../../sdk/client.ts';
import { Code, failedPrecondition } from '../../../../sdk/errors.ts';
import type { OperationDefinition } from '../../../../sdk/operations/engine.ts';
import { operationOccurrenceService } from '../../../../sdk/operations/service.ts';
import { inProcessTransport } from '../../../../sdk/transport/in-process.ts';
import { define, gate, openStore, startEngine, World } from '../../../support/operations.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

async function serve(
  t: ExecutionContext,
  definitions: OperationDefinition[],
  limits: { watchersMax?: number } = {},
) {
  const engine = await startEngine(t, await openStore(t), definitions, { limits });
  const transport = inProcessTransport(operationOccurrenceService(engine).handle);
  return { engine, client: createClient(OperationOccurrenceService, transport) };
}

test('operationOccurrenceService: Watch begins with the present state, tells each step and ends after the final state', async (t) => {
  const world = new World();
  const start = gate();
  const { engine, client } = await serve(t, [
    define(() => [world.step('a', { run: () => start.promise }), world.step('b')]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  const states: string[] = [];
  let revision = 0n;
  const request = { lifecycleOperationOccurrenceId: id };
  for await (const { occurrence } of client.watchLifecycleOperationOccurrence(request)) {
    t.true(occurrence!.revision > revision);
    revision = occurrence!.revision;
    states.push(OperationState[occurrence!.operationState]);
    start.open();
  }
  t.is(states.at(-1), 'COMPLETED');
  t.true(states.length >= 2);
  const { occurrence } = await client.getLifecycleOperationOccurrence(request);
  t.is(occurrence?.revision, revision);
  const after: unknown[] = [];
  const later = { ...request, afterRevision: revision };
  for await (const message of client.watchLifecycleOperationOccurrence(later)) after.push(message);
  t.deepEqual(after, []);
});

test('engine: progress reaches watchers without being journaled each time, and never goes back', async (t) => {
  const world = new World();
  const finish = gate();
  const { engine } = await serve(t, [
    define(() => [
      world.step('a', {
        run: async (context) => {
          context.progress(5, 10, 'disk a');
          context.progress(3);
          await finish.promise;
        },
      }),
    ]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  for await (const { steps } of engine.watch(id)) {
    if (steps[0]?.progress?.doneBytes !== 5n) continue;
    t.is(steps[0].progress.totalBytes, 10n);
    finish.open();
  }
  const done = await engine.get(id);
  t.is(done.steps[0]?.progress?.doneBytes, 5n);
  t.is(done.steps[0]?.progress?.activity, 'disk a');
});

test('engine: a slow watcher misses revisions, never the last, and holds no queue', async (t) => {
  const world = new World();
  const names = Array.from({ length: 20 }, (_, at) => `s${at}`);
  const begin = gate();
  const { engine } = await serve(t, [
    define(() => [
      world.step('wait', { run: () => begin.promise }),
      ...names.map((name) => world.step(name)),
    ]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  let seen = 0;
  let last = OperationState.UNSPECIFIED;
  for await (const { operationState } of engine.watch(id)) {
    seen++;
    last = operationState;
    begin.open();
    if (seen > 1) await engine.finished(id);
  }
  t.is(last, OperationState.COMPLETED);
  t.true(seen <= 5, `${seen} messages`);
});

test('engine: more watchers than the limit are refused, and those that leave make room', async (t) => {
  const world = new World();
  const end = gate();
  const { engine } = await serve(t, [define(() => [world.step('a', { run: () => end.promise })])], {
    watchersMax: 1,
  });
  const { id } = await engine.accept({ definition: 'test', input: {} });
  // Before the engine stops, which waits for its steps.
  t.teardown(end.open);
  const first = engine.watch(id)[Symbol.asyncIterator]();
  await first.next();
  const second = engine.watch(id)[Symbol.asyncIterator]();
  await throwsRpc(t, second.next(), {
    code: Code.RESOURCE_EXHAUSTED,
    reason: 'TOO_MANY_WATCHERS',
  });
  await first.return?.();
  const third = engine.watch(id)[Symbol.asyncIterator]();
  t.is((await third.next()).done, false);
  await third.return?.();
});

test('engine: a watch of an operation that goes on ends with UNAVAILABLE when the engine stops', async (t) => {
  const world = new World();
  const { engine } = await serve(t, [
    define(() => [
      world.step('a', {
        run: ({ signal }) =>
          new Promise((_, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason), { once: true });
          }),
      }),
    ]),
  ]);
  const { id } = await engine.accept({ definition: 'test', input: {} });
  const ended = engine.finished(id);
  await Promise.all([
    throwsRpc(t, ended, { code: Code.UNAVAILABLE, reason: 'ENGINE_STOPPED' }),
    engine.stop(),
  ]);
});

test('operationOccurrenceService: List gives pages newest first, filtered, without steps', async (t) => {
  const world = new World();
  const { engine, client } = await serve(t, [define(() => [world.step('a')])]);
  const ids: string[] = [];
  for (let count = 0; count < 6; count++) {
    const vnfInstanceId = count % 2 === 0 ? 'even' : 'odd';
    const { id } = await engine.accept({ definition: 'test', input: {}, vnfInstanceId });
    await engine.finished(id);
    if (vnfInstanceId === 'even') ids.unshift(id);
  }
  const filter = '(eq,vnf_instance_id,even);(eq,operation_state,COMPLETED)';
  const found: string[] = [];
  let pageToken = '';
  do {
    const page = await client.listLifecycleOperationOccurrences({ filter, pageSize: 2, pageToken });
    t.true(page.occurrences.length <= 2);
    found.push(...page.occurrences.map(({ id }) => id));
    t.true(page.occurrences.every(({ steps }) => steps.length === 0));
    pageToken = page.nextPageToken;
    if (pageToken !== '') {
      await throwsRpc(t, client.listLifecycleOperationOccurrences({ pageToken }), {
        code: Code.INVALID_ARGUMENT,
        reason: 'PAGE_TOKEN',
      });
    }
  } while (pageToken !== '');
  t.deepEqual(found, ids);
});

test('operationOccurrenceService: Retry, Rollback, Fail and Cancel steer, and are refused in the wrong state', async (t) => {
  const world = new World();
  const { engine, client } = await serve(t, [
    define(() => [world.step('a'), world.step('b')], { onFailure: 'failed-temp' }),
  ]);
  const fault = () => world.faults.set('run b', failedPrecondition('BROKEN', 'it broke'));
  const accept = async () => {
    fault();
    const { id } = await engine.accept({ definition: 'test', input: {} });
    await engine.finished(id);
    return { lifecycleOperationOccurrenceId: id };
  };
  const state = async (request: { lifecycleOperationOccurrenceId: string }) =>
    OperationState[(await engine.finished(request.lifecycleOperationOccurrenceId)).operationState];

  const first = await accept();
  await throwsRpc(
    t,
    client.cancelLifecycleOperation({ ...first, cancelMode: CancelMode.FORCEFUL }),
    {
      code: Code.FAILED_PRECONDITION,
      reason: 'OPERATION_STATE',
    },
  );
  await client.retryLifecycleOperation(first);
  t.is(await state(first), 'COMPLETED');

  const second = await accept();
  await client.rollbackLifecycleOperation(second);
  t.is(await state(second), 'ROLLED_BACK');

  const third = await accept();
  const { occurrence } = await client.failLifecycleOperation(third);
  t.is(occurrence?.operationState, OperationState.FAILED);
  for (const call of [
    client.retryLifecycleOperation(third),
    client.rollbackLifecycleOperation(third),
    client.failLifecycleOperation(third),
    client.cancelLifecycleOperation(third),
  ]) {
    await throwsRpc(t, call, { code: Code.FAILED_PRECONDITION, reason: 'OPERATION_STATE' });
  }
});

test('operationOccurrenceService: an unknown id is OPERATION_UNKNOWN in every method', async (t) => {
  const { client } = await serve(t, []);
  const request = { lifecycleOperationOccurrenceId: 'nobody' };
  const watch = async () => {
    for await (const _ of client.watchLifecycleOperationOccurrence(request)) t.fail();
  };
  for (const call of [
    client.getLifecycleOperationOccurrence(request),
    client.retryLifecycleOperation(request),
    client.rollbackLifecycleOperation(request),
    client.failLifecycleOperation(request),
    client.cancelLifecycleOperation(request),
    watch(),
  ]) {
    await throwsRpc(t, call, { code: Code.NOT_FOUND, reason: 'OPERATION_UNKNOWN' });
  }
});
