import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Code } from '../../../../gen/google/rpc/code_pb.js';
import {
  NotificationResult,
  NotificationType,
} from '../../../../gen/nfv/vnf_snapshot_notification/v1/vnf_snapshot_notification_pb.js';
import { NotificationHub, timeOf } from '../../../../plugins/vnfm/notification/hub.ts';
import { systemClock } from '../../../../sdk/ports/clock.ts';
import { openSqliteStore } from '../../../../sdk/records/sqlite-store.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

const { CONTINUE, ABORT } = NotificationResult;
const never = new AbortController().signal;

async function hubs(t: ExecutionContext) {
  const store = openSqliteStore({ path: join(await tempFolder(t), 's.db'), clock: systemClock });
  t.teardown(() => store.close());
  return {
    hub: new NotificationHub(store, systemClock),
    after: () => new NotificationHub(store, systemClock),
  };
}

const start = (answerMs: number) => ({
  notificationId: 'n',
  vnfInstanceId: 'vnf',
  type: NotificationType.SNAPSHOT_CREATION_START,
  responseDeadline: timeOf(Date.now() + answerMs),
});

test('NotificationHub: a VNF is reachable as long as a stream is open', async (t) => {
  const { hub } = await hubs(t);
  t.false(hub.isReachable('vnf'));
  const stream = await hub.open('vnf');
  t.true(hub.isReachable('vnf'));
  stream.end();
  t.false(hub.isReachable('vnf'));
});

test('NotificationHub: every stream of a VNF gets a notification, others none', async (t) => {
  const { hub } = await hubs(t);
  const [one, two, other] = [await hub.open('vnf'), await hub.open('vnf'), await hub.open('other')];
  await hub.send(start(1000));
  other.end();
  for (const stream of [one, two]) {
    const { value } = await stream[Symbol.asyncIterator]().next();
    t.is(value?.notificationId, 'n');
  }
  t.true((await other[Symbol.asyncIterator]().next()).done);
});

test('NotificationHub: what waits for an answer comes to a stream that is opened later, even after a restart', async (t) => {
  const { hub, after } = await hubs(t);
  await hub.send(start(1000));
  const stream = await after().open('vnf');
  const { value } = await stream[Symbol.asyncIterator]().next();
  t.is(value?.notificationId, 'n');
});

test('NotificationHub: an answer ends the wait, and is kept over a restart', async (t) => {
  const { hub, after } = await hubs(t);
  const sent = await hub.send(start(10_000));
  const waiting = hub.answerTo(sent, never);
  await hub.answer('n', CONTINUE, 'ready');
  t.deepEqual(await waiting, { result: 'continue', detail: 'ready' });
  t.deepEqual(await after().answerTo(sent, never), { result: 'continue', detail: 'ready' });
});

test('NotificationHub: nobody answers, so the deadline ends the wait', async (t) => {
  const { hub } = await hubs(t);
  const sent = await hub.send(start(30));
  t.is(await hub.answerTo(sent, never), undefined);
});

test('NotificationHub: a veto wins over an answer before it and after it', async (t) => {
  const { hub } = await hubs(t);
  await hub.send(start(10_000));
  await hub.answer('n', CONTINUE, '');
  await hub.answer('n', ABORT, 'no');
  await hub.answer('n', CONTINUE, '');
  t.deepEqual(await hub.given('n'), { result: 'abort', detail: 'no' });
});

test('NotificationHub: after it is closed no answer is taken', async (t) => {
  const { hub } = await hubs(t);
  await hub.send(start(10_000));
  await hub.close('n');
  await throwsRpc(t, hub.answer('n', CONTINUE, ''), {
    code: Code.FAILED_PRECONDITION,
    reason: 'NOTIFICATION_CLOSED',
  });
});

test('NotificationHub: a repeat of a notification is the first one, with its deadline', async (t) => {
  const { hub } = await hubs(t);
  const first = await hub.send(start(10_000));
  const second = await hub.send(start(90_000));
  t.deepEqual(second.responseDeadline, first.responseDeadline);
});

test('NotificationHub: streams of one VNF are limited', async (t) => {
  const { hub } = await hubs(t);
  for (let count = 0; count < 16; count++) await hub.open('vnf');
  await throwsRpc(t, hub.open('vnf'), {
    code: Code.RESOURCE_EXHAUSTED,
    reason: 'TOO_MANY_STREAMS',
  });
  t.notThrows(() => hub.stop());
});
