import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { create, toBinary } from '@bufbuild/protobuf';
import test, { type ExecutionContext } from 'ava';
import { openDevelopmentCa } from '../../../kernel/identity/development-ca.ts';
import { type Client, createClient } from '../../../sdk/client.ts';
import { Code } from '../../../sdk/errors.ts';
import { systemClock } from '../../../sdk/ports/clock.ts';
import { silentLogger } from '../../../sdk/ports/logger.ts';
import { servePlugin } from '../../../sdk/serve-plugin.ts';
import { openChannel } from '../../../sdk/transport/grpc-channel.ts';
import { CallMetadata } from '../../../sdk/transport/metadata.ts';
import type { Transport } from '../../../sdk/transport/transport.ts';
import { type EchoLog, echoDesc, newEchoLog } from '../../support/echo-service.ts';
import { eventually } from '../../support/eventually.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { echoPlugin, roleChannel, testKernel } from '../../support/test-kernel.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

/**
 * The same semantics are promised on every way to a plugin; a caller cannot tell which it is on.
 */
type Way = {
  name: string;
  /** What its handlers saw stays in another process. */
  isBlind?: boolean;
  open: (t: ExecutionContext, log: EchoLog) => Promise<Transport>;
};

const role = 'tester';
const program = fileURLToPath(new URL('../../support/echo-plugin-process.ts', import.meta.url));

const ways: Way[] = [
  {
    name: 'in process',
    async open(t, log) {
      const kernel = await testKernel(t);
      await kernel.add(echoPlugin({ log }));
      await kernel.start();
      return kernel.transportFor({ role, identity: 'test' });
    },
  },
  {
    name: 'over the socket of a role',
    async open(t, log) {
      const kernel = await testKernel(t, { roles: [role] });
      await kernel.add(echoPlugin({ log }));
      await kernel.start();
      return roleChannel(t, kernel, role);
    },
  },
  {
    name: 'over TCP with mutual TLS',
    async open(t, log) {
      const folder = join(await tempFolder(t), 'pki');
      const ca = await openDevelopmentCa({ folder, roles: [role], clock: systemClock });
      const kernel = await testKernel(t);
      await kernel.add(echoPlugin({ log }));
      await kernel.start();
      const port = await kernel.listen('127.0.0.1:0', ca.server);
      const channel = openChannel({ address: `127.0.0.1:${port}`, tls: await ca.client(role) });
      t.teardown(() => channel.close());
      return channel;
    },
  },
  {
    name: 'over a socket to a plugin at an address',
    async open(t, log) {
      const folder = await tempFolder(t);
      const address = `unix:${join(folder, 'echo.sock')}`;
      const options = { address, dataFolder: folder, logger: silentLogger, stopMs: 100 };
      const served = await servePlugin(echoPlugin({ log }), options);
      t.teardown(() => served.stop());
      const kernel = await testKernel(t, { roles: [role] });
      await kernel.attach({ instanceId: 'echo', role: 'echo', address });
      await kernel.start();
      return roleChannel(t, kernel, role);
    },
  },
  {
    name: 'over TCP to a plugin at an address',
    async open(t, log) {
      const folder = await tempFolder(t);
      const roles = ['kernel'];
      const ca = await openDevelopmentCa({
        folder: join(folder, 'pki'),
        roles,
        clock: systemClock,
      });
      const place = { address: '127.0.0.1:0', tls: ca.server, dataFolder: folder };
      const options = { ...place, logger: silentLogger, stopMs: 100 };
      const { address, stop } = await servePlugin(echoPlugin({ log }), options);
      t.teardown(() => stop());
      const kernel = await testKernel(t, { roles: [role] });
      const tls = await ca.client('kernel');
      await kernel.attach({ instanceId: 'echo', role: 'echo', address, tls });
      await kernel.start();
      return roleChannel(t, kernel, role);
    },
  },
  {
    name: 'to a process that the kernel launched',
    isBlind: true,
    async open(t) {
      const kernel = await testKernel(t, { roles: [role] });
      const command = [process.execPath, '--disable-warning=ExperimentalWarning', program];
      await kernel.launch({ instanceId: 'echo', role: 'echo', command });
      await kernel.start();
      return roleChannel(t, kernel, role);
    },
  },
];

type Echo = Client<ReturnType<typeof echoDesc>['service']>;

/** A test for every way. One that looks into the log of the handlers needs them in this process. */
function onEveryWay(
  title: string,
  check: (t: ExecutionContext, echo: Echo, log: EchoLog, transport: Transport) => Promise<void>,
  options: { log?: boolean } = {},
): void {
  for (const way of ways.filter(({ isBlind }) => !(isBlind && options.log))) {
    // One at a time: some checks are about time, and each has a kernel of its own.
    test.serial(`${way.name}: ${title}`, async (t) => {
      const log = newEchoLog();
      const transport = await way.open(t, log);
      await check(t, createClient(echoDesc().service, transport), log, transport);
    });
  }
}

const inSight = { log: true };

async function* counts(count: number) {
  for (let index = 0; index < count; index++) yield { count: index };
}

onEveryWay('a unary call brings back what was sent', async (t, echo) => {
  const data = new Uint8Array([0, 1, 255]);
  const { text, data: returned } = await echo.say({ text: 'äö', data });
  t.is(text, 'äö');
  t.deepEqual(returned, data);
});

onEveryWay('a stream of 1000 responses is complete and in order', async (t, echo) => {
  const seen: number[] = [];
  for await (const { count } of echo.count({ count: 1000, data: new Uint8Array(500) })) {
    seen.push(count);
  }
  t.deepEqual(
    seen,
    Array.from({ length: 1000 }, (_, index) => index),
  );
});

onEveryWay('a stream that ends with an error delivers all messages before it', async (t, echo) => {
  let seen = 0;
  const read = async () => {
    for await (const _ of echo.count({ count: 1000, text: 'fail' })) seen++;
  };
  await throwsRpc(t, read, { code: Code.FAILED_PRECONDITION, reason: 'COUNT_FAILED' });
  t.is(seen, 1000);
});

onEveryWay('a slow reader gets all messages before an error', async (t, echo) => {
  let seen = 0;
  const read = async () => {
    for await (const _ of echo.count({ count: 200, text: 'fail' })) {
      seen++;
      // The status arrives while most messages still wait to be read.
      await setTimeout(1);
    }
  };
  await throwsRpc(t, read, { code: Code.FAILED_PRECONDITION, reason: 'COUNT_FAILED' });
  t.is(seen, 200);
});

onEveryWay('a stream of 1000 requests arrives', async (t, echo) => {
  t.is((await echo.sum(counts(1000))).count, 499_500);
});

onEveryWay('a stream both ways answers while it is being asked', async (t, echo) => {
  const answers: string[] = [];
  let answered = () => {};
  const requests = async function* () {
    for (const text of ['a', 'b', 'c']) {
      const next = new Promise<void>((resolve) => {
        answered = resolve;
      });
      yield { text };
      // The next question needs the answer to this one: a transport that collects would hang.
      await next;
    }
  };
  for await (const { text } of echo.chat(requests())) {
    answers.push(text);
    answered();
  }
  t.deepEqual(answers, ['A', 'B', 'C']);
});

onEveryWay('code, reason and metadata of an error arrive', async (t, echo) => {
  const expected = { code: Code.FAILED_PRECONDITION, reason: 'ECHO_FAILED' };
  const error = await throwsRpc(t, echo.fail({ text: 'go' }), expected);
  t.is(error.message, 'cannot: go');
  t.deepEqual(error.metadata, { why: 'test' });
});

onEveryWay('an unexpected error is INTERNAL with an incident and nothing else', async (t, echo) => {
  const error = await throwsRpc(t, echo.fail({ text: 'bug' }), {
    code: Code.INTERNAL,
    reason: 'INTERNAL',
  });
  t.false(error.message.includes('secret'));
  t.regex(error.metadata.incident ?? '', /^[0-9a-f-]{36}$/);
});

onEveryWay(
  'a field that breaks its rule is refused before the handler',
  async (t, echo, log) => {
    const expected = { code: Code.INVALID_ARGUMENT, reason: 'FIELD_VIOLATION' };
    const error = await throwsRpc(t, echo.say({ names: ['1', '2', '3', '4'] }), expected);
    t.deepEqual(
      error.violations.map(({ field }) => field),
      ['names'],
    );
    t.is(log.contexts.length, 0);
  },
  inSight,
);

onEveryWay(
  'the deadline ends the call and reaches the handler',
  async (t, echo, log) => {
    const expected = { code: Code.DEADLINE_EXCEEDED, reason: 'DEADLINE_EXCEEDED' };
    await throwsRpc(t, echo.wait({}, { deadlineMs: 500 }), expected);
    await eventually('the handler saw the abort', () => log.aborted === 1);
    t.is(log.aborted, 1);
  },
  inSight,
);

onEveryWay(
  'the handler sees the deadline of its caller',
  async (t, echo, log) => {
    const before = Date.now();
    await echo.say({}, { deadlineMs: 60_000 });
    const deadlineMs = (log.contexts[0]?.deadline?.getTime() ?? 0) - before;
    t.true(deadlineMs > 55_000 && deadlineMs < 65_000, `${deadlineMs}`);
  },
  inSight,
);

onEveryWay(
  'cancelling ends the call and reaches the handler',
  async (t, echo, log) => {
    const controller = new AbortController();
    const call = echo.wait({}, { signal: controller.signal });
    void eventually('the handler runs', () => log.waiting === 1).then(() => controller.abort());
    await throwsRpc(t, call, { code: Code.CANCELLED, reason: 'CANCELLED' });
    await eventually('the handler saw the abort', () => log.aborted === 1);
    t.is(log.aborted, 1);
  },
  inSight,
);

onEveryWay(
  'leaving a stream of responses ends its handler',
  async (t, echo, log) => {
    const endless = async function* () {
      for (;;) yield { text: 'more' };
    };
    for await (const { text } of echo.chat(endless())) {
      t.is(text, 'MORE');
      break;
    }
    await eventually('the handler was closed', () => log.chatClosed === 1);
  },
  inSight,
);

onEveryWay('a failing stream of requests fails the call with its own error', async (t, echo) => {
  const broken = async function* () {
    yield { count: 1 };
    throw new Error('the disk is gone');
  };
  await t.throwsAsync(echo.sum(broken()), { message: 'the disk is gone' });
});

onEveryWay('a message of 15 MiB passes, one above 16 MiB is refused', async (t, echo) => {
  const { data } = await echo.say({ data: new Uint8Array(15 << 20).fill(7) });
  t.is(data.length, 15 << 20);
  await throwsRpc(t, echo.say({ data: new Uint8Array(17 << 20) }), {
    code: Code.RESOURCE_EXHAUSTED,
    reason: 'MESSAGE_TOO_LARGE',
  });
});

onEveryWay('metadata arrives, and what the caller says of itself does not', async (t, echo) => {
  const metadata = {
    'x-trace': 'abc',
    'nfv-caller-role': 'boss',
    'nfv-caller-identity': 'forged',
    'nfv-hops': '7',
  };
  const { labels, names } = await echo.whoAmI({}, { metadata });
  t.is(labels['x-trace'], 'abc');
  t.is(names[0], role);
  t.not(names[1], 'forged');
  t.is(names[2], '1');
});

onEveryWay('a method that is exposed to others is refused', async (t, echo) => {
  await throwsRpc(t, echo.restricted({}), {
    code: Code.PERMISSION_DENIED,
    reason: 'NOT_EXPOSED',
  });
});

onEveryWay('an unknown target is refused with the known ones', async (t, echo) => {
  const expected = { code: Code.NOT_FOUND, reason: 'TARGET_UNKNOWN' };
  const error = await throwsRpc(t, echo.say({}, { target: 'ghost' }), expected);
  t.is(error.metadata.known, 'echo');
  t.is((await echo.whoAmI({}, { target: 'echo' })).labels.target, 'echo');
});

onEveryWay('many calls at once do not mix', async (t, echo) => {
  const texts = Array.from({ length: 200 }, (_, index) => `call ${index}`);
  const answers = await Promise.all(texts.map((text) => echo.say({ text })));
  t.deepEqual(
    answers.map(({ text }) => text),
    texts,
  );
});

onEveryWay('headers and trailers of the producer arrive', async (t, _echo, _log, transport) => {
  const call = transport.start({
    path: '/test.echo.v1.EchoService/Count',
    metadata: CallMetadata.of(),
    deadline: new Date(Date.now() + 10_000),
  });
  await call.send(toBinary(echoDesc().message, create(echoDesc().message, { count: 3 })));
  call.halfClose();
  t.is((await call.headers).get('x-echo-head'), 'first');
  let count = 0;
  for await (const _ of call.responses) count++;
  t.is(count, 3);
  const { code, trailers } = await call.status;
  t.is(code, 0);
  t.is(trailers.get('x-echo-tail'), 'last');
});
