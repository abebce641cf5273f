import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  GuestAgentError,
  withGuestAgent,
} from '../../../../plugins/drivers/qemu/channels/guest-agent.ts';
import { ChannelError } from '../../../../plugins/drivers/qemu/channels/json-lines.ts';

type Request = { execute: string; arguments?: { id?: number } };

/** An agent behind a socket; `answer` returns raw bytes to send. */
async function agent(
  t: ExecutionContext,
  answer: (request: Request, raw: Buffer) => Uint8Array | string | undefined,
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'micromano-qga-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, 'agent.sock');
  const listener = net.createServer((socket) => {
    socket.on('error', () => {});
    t.teardown(() => socket.destroy());
    socket.on('data', (raw: Buffer) => {
      const text = raw.subarray(raw.lastIndexOf(0xff) + 1).toString();
      const result = answer(JSON.parse(text), raw);
      if (result !== undefined) socket.write(result);
    });
  });
  await new Promise<void>((resolve) => listener.listen(path, resolve));
  t.teardown(() => listener.close());
  return path;
}

const sync = (id: number | undefined) => `\xff{"return": ${id}}\n`;
const latin = (text: string) => Buffer.from(text, 'latin1');

test('GuestAgent: it opens with the delimiter and skips answers to somebody before it', async (t) => {
  let first: Buffer | undefined;
  const path = await agent(t, ({ execute, arguments: args }, raw) => {
    if (execute === 'guest-sync-delimited') {
      first = raw;
      return latin(`{"return": 12}\n{"return": "half${sync(args?.id)}`);
    }
    return '{"return": 2}\n';
  });
  t.is(await withGuestAgent(path, 2000, (open) => open.freeze()), 2);
  t.is(first?.[0], 0xff);
});

test('GuestAgent: a silent agent ends at the deadline', async (t) => {
  const path = await agent(t, () => undefined);
  const start = performance.now();
  const error = await t.throwsAsync(
    withGuestAgent(path, 100, (open) => open.ping()),
    { instanceOf: ChannelError },
  );
  t.is(error.failure, 'DEADLINE');
  t.true(performance.now() - start < 1000);
});

test('GuestAgent: an agent that answers only the synchronisation is silent too', async (t) => {
  const path = await agent(t, ({ execute, arguments: args }) =>
    execute === 'guest-sync-delimited' ? latin(sync(args?.id)) : undefined,
  );
  const error = await t.throwsAsync(
    withGuestAgent(path, 1500, (open) => open.thaw()),
    { instanceOf: ChannelError },
  );
  t.is(error.failure, 'DEADLINE');
  t.regex(error.message, /guest-fsfreeze-thaw/);
});

test('GuestAgent: a refusal is a GuestAgentError with the agent’s words', async (t) => {
  const path = await agent(t, ({ execute, arguments: args }) =>
    execute === 'guest-sync-delimited'
      ? latin(sync(args?.id))
      : '{"error": {"class": "GenericError", "desc": "command disabled"}}\n',
  );
  await t.throwsAsync(
    withGuestAgent(path, 1000, (open) => open.freeze()),
    { instanceOf: GuestAgentError, message: /guest-fsfreeze-freeze: command disabled/ },
  );
});
