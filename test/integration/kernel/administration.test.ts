import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import {
  Health,
  HealthCheckResponse_ServingStatus as Serving,
} from '../../../gen/grpc/health/v1/health_pb.js';
import { ServerReflection } from '../../../gen/grpc/reflection/v1/reflection_pb.js';
import { KernelService } from '../../../gen/nfv/kernel/v1/kernel_service_pb.js';
import { PluginState } from '../../../gen/nfv/kernel/v1/plugin_pb.js';
import type { Kernel } from '../../../kernel/kernel.ts';
import { reflectionAlphaPath } from '../../../kernel/services/reflection.ts';
import { createClient } from '../../../sdk/client.ts';
import { Code } from '../../../sdk/errors.ts';
import { definePlugin, type Plugin } from '../../../sdk/plugin.ts';
import type { IncomingCall, Transport } from '../../../sdk/transport/transport.ts';
import { echoDesc, newEchoLog } from '../../support/echo-service.ts';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { echoPlugin, roleChannel, testKernel } from '../../support/test-kernel.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const run = promisify(execFile);
const { service } = echoDesc();

async function startedKernel(t: ExecutionContext, ...plugins: Plugin[]): Promise<Kernel> {
  const kernel = await testKernel(t, { roles: ['tester'] });
  for (const plugin of plugins.length > 0 ? plugins : [echoPlugin()]) await kernel.add(plugin);
  await kernel.start();
  return kernel;
}

function adminOf(t: ExecutionContext, kernel: Kernel) {
  return createClient(KernelService, roleChannel(t, kernel, 'operator'));
}

test('reflection: buf curl lists the methods over a local socket', async (t) => {
  if (!skipUnless(t, 'buf')) return;
  const kernel = await startedKernel(t);
  const over = ['--protocol', 'grpc', '--http2-prior-knowledge', '--unix-socket'];
  const socket = kernel.socketOf('tester');
  const { stdout } = await run('buf', [
    'curl',
    ...over,
    socket,
    '--list-methods',
    'http://localhost',
  ]);
  const methods = stdout.trim().split('\n');
  t.true(methods.includes('test.echo.v1.EchoService/Say'), stdout);
  t.true(methods.includes('nfv.kernel.v1.KernelService/ListPlugins'), stdout);
});

test('reflection: buf curl calls a method by what reflection told it', async (t) => {
  if (!skipUnless(t, 'buf')) return;
  const kernel = await startedKernel(t);
  const over = ['--protocol', 'grpc', '--http2-prior-knowledge', '--unix-socket'];
  const url = 'http://localhost/test.echo.v1.EchoService/Say';
  const body = ['--data', '{"text": "hello", "nested": {"count": 3}}'];
  const socket = kernel.socketOf('tester');
  const { stdout } = await run('buf', ['curl', ...over, socket, ...body, url]);
  t.deepEqual(JSON.parse(stdout), { text: 'hello', nested: { count: 3 } });
});

/** Sends every call under the older name of reflection. */
function underAlphaName(transport: Transport): Transport {
  return { start: (request) => transport.start({ ...request, path: reflectionAlphaPath }) };
}

test('reflection: the older package answers the same', async (t) => {
  const kernel = await startedKernel(t);
  const channel = roleChannel(t, kernel, 'tester');
  const ask = async (transport: Transport) => {
    const requests = (async function* () {
      yield { messageRequest: { case: 'listServices' as const, value: '' } };
      const value = 'test.echo.v1.EchoService.Say';
      yield { messageRequest: { case: 'fileContainingSymbol' as const, value } };
      yield { messageRequest: { case: 'fileByFilename' as const, value: 'no/such.proto' } };
    })();
    const cases: string[] = [];
    const client = createClient(ServerReflection, transport);
    for await (const { messageResponse } of client.serverReflectionInfo(requests)) {
      cases.push(messageResponse.case ?? '');
    }
    return cases;
  };
  const answers = ['listServicesResponse', 'fileDescriptorResponse', 'errorResponse'];
  t.deepEqual(await ask(channel), answers);
  t.deepEqual(await ask(underAlphaName(channel)), answers);
});

test('kernelService: plugins and routes are listed with their exposure', async (t) => {
  const exposures = [{ producer: 'echo', consumers: ['tester'] }];
  const admin = adminOf(t, await startedKernel(t, echoPlugin({ exposures })));
  const { plugin } = await admin.getPlugin({ instanceId: 'echo' });
  t.is(plugin?.state, PluginState.READY);
  const { routes } = await admin.listRoutes({ service: service.typeName });
  const say = routes.find(({ method }) => method === '/test.echo.v1.EchoService/Say');
  t.deepEqual(say?.instanceIds, ['echo']);
  t.deepEqual(
    say?.exposures.map(({ consumers }) => consumers),
    [['tester']],
  );
  const error = await throwsRpc(t, admin.getPlugin({ instanceId: 'ghost' }), {
    code: Code.NOT_FOUND,
    reason: 'PLUGIN_UNKNOWN',
  });
  t.is(error.metadata.known, 'echo');
});

test('kernelService: a watcher gets every plugin, then changes, then the end', async (t) => {
  const kernel = await startedKernel(t, echoPlugin(), echoPlugin({ name: 'second' }));
  const seen: string[] = [];
  let first = 0;
  const watching = (async () => {
    for await (const { plugin, complete } of adminOf(t, kernel).watchPlugins({})) {
      seen.push(plugin?.instanceId ?? '');
      if (complete) first = seen.length;
    }
  })();
  await eventually('the first round is complete', () => first === 2);
  await kernel.add(echoPlugin({ name: 'third' }));
  await eventually('the new plugin is seen', () => seen.includes('third'));
  await kernel.drain(1000);
  await watching;
  t.deepEqual(seen.slice(0, 2), ['echo', 'second']);
});

test('health: a watcher sees the kernel stop', async (t) => {
  const kernel = await startedKernel(t);
  const states: Serving[] = [];
  const watching = (async () => {
    const health = createClient(Health, roleChannel(t, kernel, 'tester'));
    for await (const { status } of health.watch({})) states.push(status);
  })();
  await eventually('it serves', () => states.length === 1);
  await kernel.drain(1000);
  await watching;
  t.deepEqual(states, [Serving.SERVING, Serving.NOT_SERVING]);
});

test('plugins: they start after what they depend on and stop in reverse', async (t) => {
  const events: string[] = [];
  const plugin = (name: string, dependsOn: string[] = []) =>
    definePlugin({
      ...{ name, role: name, version: '1', dependsOn },
      start: async () => {
        events.push(`start ${name}`);
        return { services: [], stop: async () => void events.push(`stop ${name}`) };
      },
    });
  const kernel = await startedKernel(
    t,
    plugin('top', ['middle']),
    plugin('middle', ['base']),
    plugin('base'),
  );
  await kernel.drain();
  t.deepEqual(events, [
    'start base',
    'start middle',
    'start top',
    'stop top',
    'stop middle',
    'stop base',
  ]);
});

test('plugins: one that does not start fails the kernel, and the others stop', async (t) => {
  let stopped = false;
  const good = definePlugin({
    ...{ name: 'good', role: 'good', version: '1' },
    start: async () => ({
      services: [],
      stop: async () => {
        stopped = true;
      },
    }),
  });
  const bad = definePlugin({
    ...{ name: 'bad', role: 'bad', version: '1', dependsOn: ['good'] },
    start: async () => {
      throw new Error('port 80 is taken');
    },
  });
  const error = await throwsRpc(t, startedKernel(t, bad, good), {
    code: Code.INTERNAL,
    reason: 'PLUGIN_START_FAILED',
  });
  t.regex(error.message, /bad.*port 80 is taken/);
  t.true(stopped);
});

test('plugins: a kernel told to stop while it starts does not start the rest', async (t) => {
  let started = false;
  let stopped = false;
  const kernel = await testKernel(t);
  const stopping = definePlugin({
    ...{ name: 'stopping', role: 'stopping', version: '1' },
    start: async () => {
      void kernel.drain(0);
      await eventually(
        'the stop has begun',
        () => kernel.plugins()[0]?.state !== PluginState.STARTING,
      );
      return {
        services: [],
        stop: async () => {
          stopped = true;
        },
      };
    },
  });
  const late = definePlugin({
    ...{ name: 'late', role: 'late', version: '1', dependsOn: ['stopping'] },
    start: async () => {
      started = true;
      return { services: [] };
    },
  });
  await kernel.add(stopping);
  await kernel.add(late);
  await throwsRpc(t, kernel.start(), { code: Code.UNAVAILABLE, reason: 'KERNEL_DRAINING' });
  t.false(started);
  t.true(stopped);
});

test('plugins: two with one instance id are refused', async (t) => {
  await throwsRpc(t, startedKernel(t, echoPlugin(), echoPlugin()), {
    code: Code.ALREADY_EXISTS,
    reason: 'PLUGIN_EXISTS',
  });
});

/** The echo plugin with a door before it: calls wait until it opens. */
function echoBehindDoor() {
  const door = { waiting: 0, open: () => {} };
  const opened = new Promise<void>((resolve) => {
    door.open = resolve;
  });
  const plugin: Plugin = {
    ...echoPlugin(),
    start: async (context) => {
      const { services } = await echoPlugin().start(context);
      const behind = services.map((echo) => ({
        service: echo.service,
        handle: async (call: IncomingCall) => {
          door.waiting++;
          await opened;
          return echo.handle(call);
        },
      }));
      return { services: behind };
    },
  };
  return { door, plugin };
}

test('drain: running calls finish, new ones are refused', async (t) => {
  const { door, plugin } = echoBehindDoor();
  const kernel = await startedKernel(t, plugin);
  const running = createClient(service, roleChannel(t, kernel, 'tester')).say({ text: 'last' });
  await eventually('the call runs', () => door.waiting === 1);
  const { runningCalls } = await adminOf(t, kernel).drain({ deadlineMs: 60_000 });
  t.is(runningCalls, 1);
  const late = createClient(service, kernel.transportFor({ role: 'x', identity: 'y' }));
  await throwsRpc(t, late.say({}), { code: Code.UNAVAILABLE, reason: 'KERNEL_DRAINING' });
  door.open();
  t.is((await running).text, 'last');
  await kernel.stopped;
});

test('drain: a call that does not finish is broken off at the deadline', async (t) => {
  const log = newEchoLog();
  const kernel = await startedKernel(t, echoPlugin({ log }));
  const echo = createClient(service, kernel.transportFor({ role: 'tester', identity: 'test' }));
  const hanging = throwsRpc(t, echo.wait({}), {
    code: Code.UNAVAILABLE,
    reason: 'KERNEL_DRAINING',
  });
  await eventually('the handler runs', () => log.waiting === 1);
  await kernel.drain(50);
  await hanging;
  t.is(log.aborted, 1);
});

test('orphans: a plugin process ends when its kernel is killed', async (t) => {
  const folder = await tempFolder(t);
  const program = fileURLToPath(new URL('../../support/kernel-process.ts', import.meta.url));
  const child = spawn(process.execPath, [program, join(folder, 'data'), join(folder, 'run')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const pid = Number(line);
  const alive = () => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  t.true(alive());
  child.kill('SIGKILL');
  await eventually('the plugin process ended', () => !alive());
  // And the next kernel finds the folder free.
  const next = await testKernel(t, { runFolder: join(folder, 'run') });
  await t.notThrowsAsync(next.start());
});
