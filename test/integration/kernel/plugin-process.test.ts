import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ServerCredentials } from '@grpc/grpc-js';
import test, { type ExecutionContext } from 'ava';
import { PluginPlacement, PluginState } from '../../../gen/nfv/kernel/v1/plugin_pb.js';
import { PluginService } from '../../../gen/nfv/plugin/v1/plugin_service_pb.js';
import { openDevelopmentCa } from '../../../kernel/identity/development-ca.ts';
import type { Kernel } from '../../../kernel/kernel.ts';
import { createClient } from '../../../sdk/client.ts';
import { Code, isRpcError } from '../../../sdk/errors.ts';
import { systemClock } from '../../../sdk/ports/clock.ts';
import { silentLogger } from '../../../sdk/ports/logger.ts';
import { servePlugin } from '../../../sdk/serve-plugin.ts';
import { implement } from '../../../sdk/server.ts';
import { methodPath } from '../../../sdk/services.ts';
import { openChannel } from '../../../sdk/transport/grpc-channel.ts';
import { ByteServer } from '../../../sdk/transport/grpc-server.ts';
import { echoDesc } from '../../support/echo-service.ts';
import { eventually } from '../../support/eventually.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { echoPlugin, testKernel } from '../../support/test-kernel.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const { service } = echoDesc();
const program = fileURLToPath(new URL('../../support/echo-plugin-process.ts', import.meta.url));
const limits = { backoffMsMin: 20, backoffMsMax: 100, probeIntervalMs: 50, startMs: 30_000 };
const unavailable = { code: Code.UNAVAILABLE, reason: 'PLUGIN_UNAVAILABLE' };

function launch(kernel: Kernel, instanceId = 'echo', extra: object = {}) {
  const command = [process.execPath, '--disable-warning=ExperimentalWarning', program];
  return kernel.launch({ instanceId, role: 'echo', command, ...extra });
}

function echoOf(kernel: Kernel) {
  return createClient(service, kernel.transportFor({ role: 'tester', identity: 'test' }));
}

function pluginOf(kernel: Kernel, instanceId = 'echo') {
  const found = kernel.plugins().find((plugin) => plugin.instanceId === instanceId);
  if (!found) throw new Error(`no plugin ${instanceId}`);
  return found;
}

/** The process behind an instance says its own pid. */
async function pidOf(kernel: Kernel, target = 'echo'): Promise<number> {
  return Number((await echoOf(kernel).whoAmI({}, { target })).text.split(' ')[1]);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test.serial(
  'launch: a plugin process serves calls and is described by its handshake',
  async (t) => {
    const kernel = await testKernel(t, { limits });
    await launch(kernel);
    await kernel.start();
    const { state, placement, version, capabilities, services, apiVersion } = pluginOf(kernel);
    t.is(state, PluginState.READY);
    t.is(placement, PluginPlacement.CHILD_PROCESS);
    t.is(version, '2.0.0');
    t.deepEqual(capabilities, ['parrot']);
    t.deepEqual(services, [service.typeName]);
    t.is(apiVersion, 1);
    t.is((await echoOf(kernel).whoAmI({})).names[0], 'tester');
  },
);

test.serial('launch: a killed plugin is UNAVAILABLE, then started again', async (t) => {
  const kernel = await testKernel(t, {
    limits: { ...limits, backoffMsMin: 500, backoffMsMax: 500 },
  });
  await launch(kernel);
  await kernel.start();
  const pid = await pidOf(kernel);
  const hanging = echoOf(kernel).wait({});
  const broken = throwsRpc(t, hanging, unavailable);
  await eventually('the call runs', async () => (await pidOf(kernel)) === pid);
  process.kill(pid, 'SIGKILL');
  await broken;
  await throwsRpc(t, echoOf(kernel).say({}), unavailable);
  await eventually('it is back', () => pluginOf(kernel).state === PluginState.READY);
  t.not(await pidOf(kernel), pid);
  t.is(pluginOf(kernel).restartCount, 1);
});

test.serial('launch: a plugin that hangs is DOWN, then killed and started again', async (t) => {
  const patience = { probeMs: 300, probeMissesMax: 2, stopMs: 300 };
  const slow = { backoffMsMin: 500, backoffMsMax: 500 };
  const kernel = await testKernel(t, { limits: { ...limits, ...patience, ...slow } });
  await launch(kernel);
  await kernel.start();
  const pid = await pidOf(kernel);
  process.kill(pid, 'SIGSTOP');
  t.true(isAlive(pid));
  await eventually('it is down', () => pluginOf(kernel).state === PluginState.DOWN);
  await throwsRpc(t, echoOf(kernel).say({}), unavailable);
  await eventually('it is back', () => pluginOf(kernel).state === PluginState.READY, 30_000);
  t.not(await pidOf(kernel), pid);
  t.false(isAlive(pid));
});

test.serial(
  'attach: a plugin of a later API is refused for good, with what to update',
  async (t) => {
    const address = `unix:${join(await tempFolder(t), 'later.sock')}`;
    const later = implement(
      PluginService,
      {
        getPluginInfo: async () => ({
          ...{ name: 'later', role: 'echo', instanceId: 'later', version: '9.0.0' },
          ...{ apiVersionMin: 2, apiVersionMax: 2 },
        }),
      },
      { logger: silentLogger },
    );
    const server = new ByteServer((call) => later.handle(call));
    for (const method of PluginService.methods) server.register(methodPath(method));
    await server.bind(address, ServerCredentials.createInsecure());
    t.teardown(() => server.shutdown(0));
    const kernel = await testKernel(t, { limits });
    await kernel.attach({ instanceId: 'later', role: 'echo', address });
    await kernel.start();
    t.is(pluginOf(kernel, 'later').state, PluginState.FAILED);
    const sentence = 'the kernel speaks nfv.plugin 1, the plugin later speaks 2: update the kernel';
    t.is(pluginOf(kernel, 'later').reason, sentence);
  },
);

test.serial('launch: a process that ends too often in a row is given up', async (t) => {
  const kernel = await testKernel(t, { limits: { ...limits, restartsInARowMax: 2 } });
  await kernel.launch({ instanceId: 'bad', role: 'echo', command: [process.execPath, '-e', ''] });
  await kernel.start();
  await eventually('it failed', () => pluginOf(kernel, 'bad').state === PluginState.FAILED);
  t.regex(pluginOf(kernel, 'bad').reason, /ended with code 0/);
  t.is(pluginOf(kernel, 'bad').restartCount, 2);
});

test.serial('launch: a program that does not exist is told by its name', async (t) => {
  const kernel = await testKernel(t, { limits: { ...limits, restartsInARowMax: 0 } });
  await kernel.launch({ instanceId: 'bad', role: 'echo', command: ['/no/such/program'] });
  await kernel.start();
  t.is(pluginOf(kernel, 'bad').state, PluginState.FAILED);
  t.regex(pluginOf(kernel, 'bad').reason, /\/no\/such\/program.*ENOENT/);
});

test.serial('launch: a plugin that says it has another role is refused for good', async (t) => {
  const kernel = await testKernel(t, { limits });
  await launch(kernel, 'echo', { environment: { ECHO_ROLE: 'boss' } });
  await kernel.start();
  t.is(pluginOf(kernel).state, PluginState.FAILED);
  t.regex(pluginOf(kernel).reason, /its role is "boss", expected "echo"/);
});

test.serial('launch: a first line that is no handshake is shown', async (t) => {
  const kernel = await testKernel(t, { limits });
  const command = [process.execPath, '-e', 'console.log("hello"); setTimeout(() => {}, 60000)'];
  await kernel.launch({ instanceId: 'bad', role: 'echo', command });
  await kernel.start();
  t.is(pluginOf(kernel, 'bad').state, PluginState.FAILED);
  t.regex(pluginOf(kernel, 'bad').reason, /not "hello"/);
});

test.serial('launch: a plugin that is not ready is not called, and says why', async (t) => {
  const kernel = await testKernel(t, { limits });
  await launch(kernel, 'echo', { config: { unreadyFile: 'x' } });
  await kernel.start();
  t.is(pluginOf(kernel).state, PluginState.UNREADY);
  const error = await throwsRpc(t, echoOf(kernel).say({}), unavailable);
  t.regex(error.message, /UNREADY: told to be/);
});

test.serial(
  'launch: plugin processes call one another through the kernel, with their hops',
  async (t) => {
    const kernel = await testKernel(t, { limits });
    await launch(kernel, 'first', { config: { relay: true } });
    await launch(kernel, 'second');
    await kernel.start();
    const { text, names } = await echoOf(kernel).say({ text: 'second' }, { target: 'first' });
    t.regex(text, /^second /);
    t.deepEqual(names, ['echo', 'local', '2']);
  },
);

test.serial('launch: plugins that call in a circle are stopped by the hop limit', async (t) => {
  const kernel = await testKernel(t);
  const loop = echoPlugin();
  await kernel.add({
    ...loop,
    start: async (context) => {
      const { services } = await loop.start(context);
      const [echo] = services;
      if (!echo) throw new Error('no service');
      const again = () => context.client(service).say({});
      return {
        services: [
          {
            service,
            handle: async (call) => {
              await again();
              return echo.handle(call);
            },
          },
        ],
      };
    },
  });
  await kernel.start();
  await throwsRpc(t, echoOf(kernel).say({}), {
    code: Code.FAILED_PRECONDITION,
    reason: 'HOP_LIMIT',
  });
});

test.serial('launch: draining ends the process and leaves no socket', async (t) => {
  const runFolder = join(await tempFolder(t), 'run');
  const kernel = await testKernel(t, { limits, runFolder });
  await launch(kernel);
  await kernel.start();
  const pid = await pidOf(kernel);
  await kernel.drain(1000);
  t.false(isAlive(pid));
  t.deepEqual(await readdir(join(runFolder, 'plugins')), []);
});

async function serveEcho(t: ExecutionContext, address: string, dataFolder: string) {
  const options = { address, dataFolder, logger: silentLogger, stopMs: 50 };
  const served = await servePlugin(echoPlugin(), options);
  t.teardown(() => served.stop());
  return served;
}

test.serial('attach: a plugin that comes later, goes and comes back is followed', async (t) => {
  const folder = await tempFolder(t);
  const address = `unix:${join(folder, 'echo.sock')}`;
  const kernel = await testKernel(t, { limits });
  await kernel.attach({ instanceId: 'echo', role: 'echo', address });
  await kernel.start();
  t.is(pluginOf(kernel).state, PluginState.DOWN);
  const becomes = (state: PluginState) =>
    eventually(`it is ${PluginState[state]}`, () => pluginOf(kernel).state === state);
  const first = await serveEcho(t, address, folder);
  await becomes(PluginState.READY);
  t.is((await echoOf(kernel).say({ text: 'hi' })).text, 'hi');
  await first.stop();
  await becomes(PluginState.DOWN);
  const thrown = await t.throwsAsync(echoOf(kernel).say({}));
  t.true(isRpcError(thrown, 'PLUGIN_UNAVAILABLE'));
  await serveEcho(t, address, folder);
  await becomes(PluginState.READY);
  t.is((await echoOf(kernel).say({ text: 'again' })).text, 'again');
});

test.serial('attach: a descriptor that the kernel knows already cannot be opened up', async (t) => {
  const folder = await tempFolder(t);
  const address = `unix:${join(folder, 'echo.sock')}`;
  await serveEcho(t, address, folder);
  const kernel = await testKernel(t, { limits });
  const exposures = [{ producer: 'echo', consumers: ['boss'] }];
  await kernel.add(echoPlugin({ name: 'strict', exposures }));
  await kernel.attach({ instanceId: 'echo', role: 'echo', address });
  await kernel.start();
  await eventually('it is reached', () => pluginOf(kernel).state === PluginState.READY);
  await throwsRpc(t, echoOf(kernel).say({}, { target: 'echo' }), {
    code: Code.PERMISSION_DENIED,
    reason: 'NOT_EXPOSED',
  });
});

test.serial(
  'attach: over TCP the kernel needs its own certificate, and only the kernel may call',
  async (t) => {
    const folder = await tempFolder(t);
    const roles = ['kernel', 'manager'];
    const ca = await openDevelopmentCa({ folder: join(folder, 'pki'), roles, clock: systemClock });
    const served = await servePlugin(echoPlugin(), {
      address: '127.0.0.1:0',
      tls: ca.server,
      dataFolder: folder,
      logger: silentLogger,
      stopMs: 50,
    });
    t.teardown(() => served.stop());
    const { address } = served;
    const kernel = await testKernel(t, { limits });
    const echo = { instanceId: 'echo', role: 'echo', address };
    await kernel.attach({ ...echo, tls: await ca.client('kernel') });
    await kernel.start();
    t.is((await echoOf(kernel).say({ text: 'hi' })).text, 'hi');
    const channel = openChannel({ address, tls: await ca.client('manager') });
    t.teardown(() => channel.close());
    await throwsRpc(t, createClient(service, channel).say({}), {
      code: Code.PERMISSION_DENIED,
      reason: 'NOT_EXPOSED',
    });
  },
);
