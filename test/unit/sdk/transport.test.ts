import { setImmediate } from 'node:timers/promises';
import test from 'ava';
import { Code } from '../../../sdk/errors.ts';
import { openChannel } from '../../../sdk/transport/grpc-channel.ts';
import { inProcessTransport } from '../../../sdk/transport/in-process.ts';
import { CallMetadata } from '../../../sdk/transport/metadata.ts';
import { BoundedQueue } from '../../../sdk/transport/queue.ts';
import { okStatus } from '../../../sdk/transport/status.ts';
import { queuedMessagesMax } from '../../../sdk/transport/transport.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

/** Lets everything run that can run without outside help. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate();
}

function soon(ms = 60_000): Date {
  return new Date(Date.now() + ms);
}

test('queue: a writer waits while it is full', async (t) => {
  const queue = new BoundedQueue<number>(2);
  let pushed = 0;
  const writing = (async () => {
    for (let item = 0; item < 5; item++) {
      await queue.push(item);
      pushed++;
    }
    queue.end();
  })();
  await settle();
  t.is(pushed, 1);
  const items: number[] = [];
  for await (const item of queue) items.push(item);
  await writing;
  t.deepEqual(items, [0, 1, 2, 3, 4]);
});

test('queue: an end keeps what is queued, an abort drops it', async (t) => {
  const ended = new BoundedQueue<number>(4);
  const aborted = new BoundedQueue<number>(4);
  for (const queue of [ended, aborted]) for (const item of [1, 2]) await queue.push(item);
  ended.end();
  aborted.abort();
  t.deepEqual(await Array.fromAsync(ended), [1, 2]);
  t.deepEqual(await Array.fromAsync(aborted), []);
});

test('queue: an abort frees a waiting writer and a waiting reader', async (t) => {
  const full = new BoundedQueue<number>(1);
  const writing = full.push(1);
  const empty = new BoundedQueue<number>(1);
  const reading = Array.fromAsync(empty);
  full.abort();
  empty.abort();
  await writing;
  t.deepEqual(await reading, []);
});

test('queue: a reader that leaves early is noticed', async (t) => {
  let left = 0;
  const queue = new BoundedQueue<number>(4, () => left++);
  await queue.push(1);
  for await (const _ of queue) break;
  t.is(left, 1);
});

test('inProcess: a sender waits for a handler that does not read', async (t) => {
  const transport = inProcessTransport(async (call) => {
    await new Promise((resolve) => call.signal.addEventListener('abort', resolve));
    return okStatus();
  });
  const call = transport.start({ path: '/x/y', metadata: new CallMetadata(), deadline: soon() });
  let sent = 0;
  const sending = (async () => {
    for (let message = 0; message < 100; message++) {
      await call.send(new Uint8Array(1));
      sent++;
    }
  })();
  await settle();
  t.is(sent, queuedMessagesMax - 1);
  call.cancel();
  await sending;
  t.is((await call.status).code, Code.CANCELLED);
});

test('inProcess: a handler waits for a caller that does not read', async (t) => {
  let sent = 0;
  const transport = inProcessTransport(async (call) => {
    for (; sent < 100; sent++) await call.send(new Uint8Array(1));
    return okStatus();
  });
  const call = transport.start({ path: '/x/y', metadata: new CallMetadata(), deadline: soon() });
  await settle();
  t.is(sent, queuedMessagesMax - 1);
  t.is((await Array.fromAsync(call.responses)).length, 100);
  t.is((await call.status).code, Code.OK);
});

test('inProcess: a deadline that has passed ends the call before its handler', async (t) => {
  let served = false;
  const transport = inProcessTransport(async () => {
    served = true;
    return okStatus();
  });
  const call = transport.start({ path: '/x/y', metadata: new CallMetadata(), deadline: soon(-1) });
  t.is((await call.status).code, Code.DEADLINE_EXCEEDED);
  await settle();
  t.false(served);
});

test('inProcess: a deadline passes even while messages flow without pause', async (t) => {
  const transport = inProcessTransport(async (call) => {
    while (!call.signal.aborted) await call.send(new Uint8Array(1));
    return okStatus();
  });
  const call = transport.start({ path: '/x/y', metadata: new CallMetadata(), deadline: soon(50) });
  let count = 0;
  for await (const _ of call.responses) count++;
  t.is((await call.status).code, Code.DEADLINE_EXCEEDED);
  t.true(count > 0);
});

test('inProcess: headers and trailers arrive, text and bytes', async (t) => {
  const transport = inProcessTransport(async (call) => {
    call.sendHeaders(CallMetadata.of({ 'x-head': 'h' }));
    return okStatus(new CallMetadata().set('x-tail-bin', new Uint8Array([1, 2])));
  });
  const call = transport.start({ path: '/x/y', metadata: new CallMetadata(), deadline: soon() });
  t.is((await call.headers).get('x-head'), 'h');
  t.deepEqual((await call.status).trailers.getBytes('x-tail-bin'), new Uint8Array([1, 2]));
});

test('metadata: keys and values that HTTP/2 cannot carry are refused', (t) => {
  t.throws(() => CallMetadata.of({ 'Upper-Case': 'x' }), { instanceOf: TypeError });
  t.throws(() => CallMetadata.of({ umlaut: 'ä' }), { instanceOf: TypeError });
  t.throws(() => CallMetadata.of({ line: 'a\nb' }), { instanceOf: TypeError });
  t.throws(() => CallMetadata.of({ 'x-bin': 'text' }), { instanceOf: TypeError });
});

test('metadata: several values of one key keep their order', (t) => {
  const metadata = new CallMetadata().append('k', 'a').append('k', 'b');
  t.deepEqual(metadata.clone().toRecord(), { k: 'a, b' });
});

test('channel: a TCP address needs certificates', async (t) => {
  await throwsRpc(t, () => openChannel({ address: '127.0.0.1:1' }), {
    code: Code.INVALID_ARGUMENT,
    reason: 'TLS_REQUIRED',
  });
});
