import test from 'ava';
import { Code } from '../../../sdk/errors.ts';
import { systemClock } from '../../../sdk/ports/clock.ts';
import { type IdempotentRequest, RequestIds } from '../../../sdk/request-ids.ts';
import { openStore } from '../../support/operations.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

function request(id: string, body = 1, method = 'M', caller = ''): IdempotentRequest {
  return { id, method, caller, body: new Uint8Array([body]) };
}

test('requestIds: the same id with the same body gets the first answer, another body is refused', async (t) => {
  const store = await openStore(t);
  const ids = new RequestIds(systemClock);
  await store.transaction((tx) => ids.remember(tx, request('r'), { id: 'x' }));
  t.deepEqual(await store.transaction((tx) => ids.earlier(tx, request('r'))), { id: 'x' });
  const reused = store.transaction((tx) => ids.earlier(tx, request('r', 2)));
  await throwsRpc(t, reused, { code: Code.ALREADY_EXISTS, reason: 'REQUEST_ID_REUSED' });
});

test('requestIds: methods and callers have ids of their own, and an empty id is none', async (t) => {
  const store = await openStore(t);
  const ids = new RequestIds(systemClock);
  await store.transaction(async (tx) => {
    await ids.remember(tx, request('r'), 1);
    await ids.remember(tx, request(''), 2);
    t.is(await ids.earlier(tx, request('r', 2, 'N')), undefined);
    t.is(await ids.earlier(tx, request('r', 2, 'M', 'other')), undefined);
    t.is(await ids.earlier(tx, request('')), undefined);
  });
});

test('requestIds: an answer that was rolled back with its effect is not remembered', async (t) => {
  const store = await openStore(t);
  const ids = new RequestIds(systemClock);
  const failing = store.transaction(async (tx) => {
    await ids.remember(tx, request('r'), 1);
    throw new Error('no');
  });
  await t.throwsAsync(failing, { message: 'no' });
  t.is(await store.transaction((tx) => ids.earlier(tx, request('r'))), undefined);
});

test('requestIds: the oldest are forgotten above the limit, and all after a day', async (t) => {
  const store = await openStore(t);
  let nowMs = 1_000_000_000_000;
  const ids = new RequestIds({ ...systemClock, now: () => new Date(nowMs) }, 3);
  const earlier = (id: string) => store.transaction((tx) => ids.earlier(tx, request(id)));
  for (const id of ['a', 'b', 'c', 'd']) {
    await store.transaction((tx) => ids.remember(tx, request(id), id));
  }
  t.is(await earlier('a'), undefined);
  t.is(await earlier('b'), 'b');
  nowMs += 25 * 3_600_000;
  t.is(await earlier('d'), undefined);
});
