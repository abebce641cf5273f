import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ChannelError } from '../../../../plugins/drivers/qemu/channels/json-lines.ts';
import { QmpClient, QmpError } from '../../../../plugins/drivers/qemu/channels/qmp-client.ts';

type Answer = (request: { execute: string; id: number }, socket: net.Socket) => object | undefined;

/** A QMP server that answers as told; the negotiation is done for it. */
async function server(t: ExecutionContext, answer: Answer): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'micromano-qmp-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, 'qmp.sock');
  const listener = net.createServer((socket) => {
    socket.on('error', () => {});
    t.teardown(() => socket.destroy());
    socket.write('{"QMP": {"version": {}}}\r\n');
    socket.on('data', (data) => {
      for (const line of data.toString().split('\n').filter(Boolean)) {
        const request = JSON.parse(line);
        const result =
          request.execute === 'qmp_capabilities' ? { return: {} } : answer(request, socket);
        if (result) socket.write(`${JSON.stringify({ ...result, id: request.id })}\r\n`);
      }
    });
  });
  await new Promise<void>((resolve) => listener.listen(path, resolve));
  t.teardown(() => listener.close());
  return path;
}

async function client(t: ExecutionContext, answer: Answer): Promise<QmpClient> {
  const connected = await QmpClient.connect(await server(t, answer));
  t.teardown(() => connected.close());
  return connected;
}

test('QmpClient: an answer goes to the command that asked, whatever the order', async (t) => {
  const late: { id: number; socket: net.Socket }[] = [];
  const qmp = await client(t, ({ execute, id }, socket) => {
    if (execute === 'slow') {
      late.push({ id, socket });
      return undefined;
    }
    for (const entry of late) entry.socket.write(`{"return": "slow", "id": ${entry.id}}\n`);
    return { return: 'quick' };
  });
  const slow = qmp.execute('slow');
  t.is(await qmp.execute('quick'), 'quick');
  t.is(await slow, 'slow');
});

test('QmpClient: a refused command is a QmpError that names it', async (t) => {
  const qmp = await client(t, () => ({ error: { class: 'GenericError', desc: 'no such node' } }));
  const error = await t.throwsAsync(qmp.execute('blockdev-del'), { instanceOf: QmpError });
  t.is(error.command, 'blockdev-del');
  t.is(error.description, 'no such node');
});

test('QmpClient: a command without an answer ends at its deadline', async (t) => {
  const qmp = await client(t, () => undefined);
  const error = await t.throwsAsync(qmp.execute('stop', undefined, 50), {
    instanceOf: ChannelError,
  });
  t.is(error.failure, 'DEADLINE');
  t.regex(error.message, /QMP stop: no answer .* within 50 ms/);
});

test('QmpClient: a lost connection fails what waits, and what comes after', async (t) => {
  const qmp = await client(t, (_, socket) => {
    socket.destroy();
    return undefined;
  });
  const waiting = qmp.waitEvent('SHUTDOWN', 5000);
  const error = await t.throwsAsync(qmp.execute('quit'), { instanceOf: ChannelError });
  t.is(error.failure, 'CLOSED');
  await t.throwsAsync(waiting, { instanceOf: ChannelError });
  await t.throwsAsync(qmp.execute('stop'), { message: /QMP stop/ });
});

test('QmpClient: an event that came before its waiter is not lost, one that does not match waits on', async (t) => {
  const qmp = await client(t, (_, socket) => {
    socket.write('{"event": "JOB", "data": {"id": "a"}}\n{"event": "JOB", "data": {"id": "b"}}\n');
    return { return: {} };
  });
  await qmp.execute('go');
  const event = await qmp.waitEvent('JOB', 1000, ({ id }) => id === 'b');
  t.deepEqual(event.data, { id: 'b' });
  t.deepEqual((await qmp.waitEvent('JOB', 1000)).data, { id: 'a' });
});

test('QmpClient: finishJob completes a ready job and reports the error of a failed one', async (t) => {
  const commands: string[] = [];
  const states = ['running', 'ready', 'concluded'];
  const qmp = await client(t, ({ execute }) => {
    commands.push(execute);
    if (execute !== 'query-jobs') return { return: {} };
    const status = states.shift() ?? 'concluded';
    return { return: [{ id: 'm', status, ...(status === 'concluded' ? { error: 'full' } : {}) }] };
  });
  await t.throwsAsync(qmp.finishJob('m', 5000), { message: /job m: .*full/ });
  t.deepEqual(commands, ['query-jobs', 'query-jobs', 'job-complete', 'query-jobs', 'job-dismiss']);
});

test('QmpClient: connecting to nobody ends at the deadline and names the socket', async (t) => {
  const error = await t.throwsAsync(QmpClient.connect(join(tmpdir(), 'nobody.sock'), 60), {
    instanceOf: ChannelError,
  });
  t.is(error.failure, 'CONNECT');
  t.regex(error.message, /nobody\.sock/);
});
