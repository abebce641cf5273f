import { execFile } from 'node:child_process';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import {
  Health,
  HealthCheckResponse_ServingStatus as Serving,
} from '../../../gen/grpc/health/v1/health_pb.js';
import { KernelService } from '../../../gen/nfv/kernel/v1/kernel_service_pb.js';
import { openDevelopmentCa } from '../../../kernel/identity/development-ca.ts';
import { createKernel } from '../../../kernel/kernel.ts';
import { createClient } from '../../../sdk/client.ts';
import { Code } from '../../../sdk/errors.ts';
import { systemClock } from '../../../sdk/ports/clock.ts';
import { silentLogger } from '../../../sdk/ports/logger.ts';
import { openChannel, type TlsMaterial } from '../../../sdk/transport/grpc-channel.ts';
import { echoDesc } from '../../support/echo-service.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { echoPlugin, roleChannel, testKernel } from '../../support/test-kernel.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const run = promisify(execFile);
const dayMs = 24 * 60 * 60 * 1000;
const { service } = echoDesc();

async function newCa(t: ExecutionContext, roles: string[], folder?: string, daysFromNow = 0) {
  const now = () => new Date(Date.now() + daysFromNow * dayMs);
  return openDevelopmentCa({
    folder: folder ?? join(await tempFolder(t), 'pki'),
    roles,
    clock: { ...systemClock, now },
  });
}

function tlsChannel(t: ExecutionContext, address: string, tls: TlsMaterial) {
  const channel = openChannel({ address, tls });
  t.teardown(() => channel.close());
  return channel;
}

test('tls: role and name of the caller come from the certificate', async (t) => {
  const ca = await newCa(t, ['manager']);
  const kernel = await testKernel(t);
  await kernel.add(echoPlugin());
  await kernel.start();
  const port = await kernel.listen('127.0.0.1:0', ca.server);
  for (const host of ['127.0.0.1', 'localhost']) {
    const channel = tlsChannel(t, `${host}:${port}`, await ca.client('manager'));
    const { names } = await createClient(service, channel).whoAmI({});
    t.deepEqual(names.slice(0, 2), ['manager', 'manager']);
  }
});

test('tls: a certificate of another role is refused by the reference points', async (t) => {
  const ca = await newCa(t, ['manager', 'stranger']);
  const exposures = [{ producer: 'echo', consumers: ['manager'] }];
  const kernel = await testKernel(t);
  await kernel.add(echoPlugin({ exposures }));
  await kernel.start();
  const address = `127.0.0.1:${await kernel.listen('127.0.0.1:0', ca.server)}`;
  const say = async (role: string) =>
    createClient(service, tlsChannel(t, address, await ca.client(role))).say({ text: 'hi' });
  t.is((await say('manager')).text, 'hi');
  const error = await throwsRpc(t, say('stranger'), {
    code: Code.PERMISSION_DENIED,
    reason: 'NOT_EXPOSED',
  });
  t.is(error.metadata.reference_points, 'Test-1');
});

/** A certificate for clients from the right CA, with these names. */
async function issue(t: ExecutionContext, folder: string, names: string): Promise<TlsMaterial> {
  const at = (name: string) => join(folder, name);
  await writeFile(at('extra.cnf'), `subjectAltName=${names}\nextendedKeyUsage=clientAuth\n`);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const request = ['-keyout', at('x-key.pem'), '-out', at('x.csr'), '-subj', '/CN=x'];
  await run('openssl', ['req', '-new', ...key, ...request]);
  const authority = ['-CA', at('ca.pem'), '-CAkey', at('ca-key.pem'), '-CAcreateserial'];
  const result = ['-in', at('x.csr'), '-out', at('x.pem'), '-extfile', at('extra.cnf')];
  await run('openssl', ['x509', '-req', '-days', '1', ...authority, ...result]);
  const read = (name: string) => readFile(at(name), 'utf8');
  t.log(`issued a certificate for ${names}`);
  return {
    ca: await read('ca.pem'),
    certificate: await read('x.pem'),
    key: await read('x-key.pem'),
  };
}

for (const [what, names] of [
  ['without a role', 'DNS:client.example'],
  ['with two roles', 'URI:urn:micromano:manager:a,URI:urn:micromano:boss:b'],
] as const) {
  test(`tls: a certificate ${what} is UNAUTHENTICATED`, async (t) => {
    if (!skipUnless(t, 'openssl')) return;
    const ca = await newCa(t, ['manager']);
    const kernel = await testKernel(t);
    await kernel.add(echoPlugin());
    await kernel.start();
    const address = `127.0.0.1:${await kernel.listen('127.0.0.1:0', ca.server)}`;
    const channel = tlsChannel(t, address, await issue(t, ca.folder, names));
    await throwsRpc(t, createClient(service, channel).say({}), {
      code: Code.UNAUTHENTICATED,
      reason: 'CALLER_UNKNOWN',
    });
  });
}

test('tls: a certificate of another CA, and none, do not connect', async (t) => {
  const ca = await newCa(t, ['manager']);
  const other = await newCa(t, ['manager']);
  const kernel = await testKernel(t);
  await kernel.add(echoPlugin());
  await kernel.start();
  const address = `127.0.0.1:${await kernel.listen('127.0.0.1:0', ca.server)}`;
  const forged = { ...(await other.client('manager')), ca: ca.server.ca };
  await throwsRpc(t, createClient(service, tlsChannel(t, address, forged)).say({}), {
    code: Code.UNAVAILABLE,
    reason: 'UNAVAILABLE',
  });
  await throwsRpc(t, () => openChannel({ address }), {
    code: Code.INVALID_ARGUMENT,
    reason: 'TLS_REQUIRED',
  });
});

test('developmentCa: files are for their owner only and openssl accepts them', async (t) => {
  if (!skipUnless(t, 'openssl')) return;
  const ca = await newCa(t, ['manager']);
  for (const name of await readdir(ca.folder, { recursive: true })) {
    const { mode } = await stat(join(ca.folder, name));
    t.is(mode & 0o077, 0, name);
  }
  const files = ca.clientFiles('manager');
  const { stdout } = await run('openssl', ['verify', '-CAfile', files.ca, files.certificate]);
  t.regex(stdout, /OK/);
});

test('developmentCa: nothing is made twice', async (t) => {
  const first = await newCa(t, ['manager']);
  t.is(first.issued.length, 3);
  t.deepEqual((await newCa(t, ['manager'], first.folder)).issued, []);
});

test('developmentCa: certificates that end within 30 days are made again', async (t) => {
  const first = await newCa(t, ['manager']);
  t.deepEqual((await newCa(t, ['manager'], first.folder, 330)).issued, []);
  const renewed = await newCa(t, ['manager'], first.folder, 340);
  t.is(renewed.issued.length, 2);
  t.is(renewed.server.ca, first.server.ca);
});

test('developmentCa: a broken file and a key that does not match are made again', async (t) => {
  const first = await newCa(t, ['manager']);
  const files = first.clientFiles('manager');
  await writeFile(files.certificate, 'not a certificate');
  t.deepEqual((await newCa(t, ['manager'], first.folder)).issued, [files.certificate]);
  await writeFile(files.key, first.server.key);
  t.deepEqual((await newCa(t, ['manager'], first.folder)).issued, [files.certificate]);
});

test('sockets: folder and sockets are for their owner only, one per role', async (t) => {
  const folder = join(await tempFolder(t), 'run');
  const kernel = await testKernel(t, { runFolder: folder, roles: ['manager'] });
  await kernel.start();
  t.is((await stat(folder)).mode & 0o777, 0o700);
  t.deepEqual((await readdir(folder)).filter((name) => name.endsWith('.sock')).sort(), [
    'manager.sock',
    'operator.sock',
  ]);
  t.is((await stat(kernel.socketOf('manager'))).mode & 0o777, 0o600);
});

test('sockets: the socket of a dead process is replaced', async (t) => {
  const folder = join(await tempFolder(t), 'run');
  // A killed process leaves its socket: here a child that binds and ends without closing.
  const script = `require('fs').mkdirSync(process.argv[1],{recursive:true});
    const die = () => process.kill(process.pid, 'SIGKILL');
    require('net').createServer().listen(process.argv[1] + '/manager.sock', die);`;
  await run(process.execPath, ['-e', script, folder]).catch(() => {});
  t.true((await stat(join(folder, 'manager.sock'))).isSocket());
  const kernel = await testKernel(t, { runFolder: folder, roles: ['manager'] });
  await kernel.add(echoPlugin());
  await kernel.start();
  const echo = createClient(service, roleChannel(t, kernel, 'manager'));
  t.is((await echo.say({ text: 'hi' })).text, 'hi');
});

const inUse = { code: Code.FAILED_PRECONDITION, reason: 'ADDRESS_IN_USE' };

test('sockets: a socket on which another process listens is refused', async (t) => {
  const folder = await tempFolder(t);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(folder, 'manager.sock'), resolve));
  t.teardown(() => server.close());
  const kernel = await testKernel(t, { runFolder: folder, roles: ['manager'] });
  const error = await throwsRpc(t, kernel.start(), inUse);
  t.is(error.metadata.path, join(folder, 'manager.sock'));
});

test('sockets: a file in the place of a socket is refused and stays', async (t) => {
  const folder = await tempFolder(t);
  await writeFile(join(folder, 'manager.sock'), 'precious');
  const kernel = await testKernel(t, { runFolder: folder, roles: ['manager'] });
  await throwsRpc(t, kernel.start(), inUse);
  t.true((await stat(join(folder, 'manager.sock'))).isFile());
});

test('sockets: a second kernel in one folder is refused, and may follow the first', async (t) => {
  const folder = join(await tempFolder(t), 'run');
  const first = await testKernel(t, { runFolder: folder });
  await first.start();
  await throwsRpc(t, (await testKernel(t, { runFolder: folder })).start(), inUse);
  await first.drain(0);
  await t.notThrowsAsync((await testKernel(t, { runFolder: folder })).start());
});

test('sockets: a run folder with a path too long for sockets is refused', async (t) => {
  const folder = join(await tempFolder(t), 'x'.repeat(100));
  const kernel = createKernel({ dataFolder: folder, runFolder: folder, logger: silentLogger });
  await throwsRpc(t, kernel.start(), { code: Code.INVALID_ARGUMENT, reason: 'OPTION_INVALID' });
});

test('sockets: every role may ask for health, only operators may administer', async (t) => {
  const kernel = await testKernel(t, { roles: ['manager'] });
  await kernel.add(echoPlugin());
  await kernel.start();
  const manager = roleChannel(t, kernel, 'manager');
  const health = createClient(Health, manager);
  t.is((await health.check({})).status, Serving.SERVING);
  t.is((await health.check({ service: 'echo' })).status, Serving.SERVING);
  t.is((await health.check({ service: service.typeName })).status, Serving.SERVING);
  await throwsRpc(t, health.check({ service: 'ghost' }), {
    code: Code.NOT_FOUND,
    reason: 'SERVICE_UNKNOWN',
  });
  await throwsRpc(t, createClient(KernelService, manager).listPlugins({}), {
    code: Code.PERMISSION_DENIED,
    reason: 'NOT_EXPOSED',
  });
  const operator = createClient(KernelService, roleChannel(t, kernel, 'operator'));
  t.deepEqual(
    (await operator.listPlugins({})).plugins.map(({ name }) => name),
    ['echo'],
  );
});
