import { execFile } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { VnfLcmService } from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { createClient } from '../../../sdk/client.ts';
import { Code } from '../../../sdk/errors.ts';
import { openChannel } from '../../../sdk/transport/grpc-channel.ts';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { fillUp, smallFileSystem } from '../../support/small-file-system.ts';
import { problems } from '../../support/system/checker.ts';
import { mano, serveOverTcp } from '../../support/system/mano.ts';
import { atFirst, makeBase } from '../../support/system/procedures.ts';
import { SystemRig } from '../../support/system/system-rig.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const run = promisify(execFile);
const driver = 'wasmvm';
const runMsMax = 180_000;
const mebibyte = 1024 * 1024;
const drainMsMax = 25_000;

test('system: without space a package fails cleanly, and goes in when there is room', async (t) => {
  t.timeout(runMsMax);
  const small = await smallFileSystem(t, 8 * mebibyte);
  if (small === undefined) return;
  const folder = join(small, 'store');
  await mkdir(folder);
  const rig = await SystemRig.open(t, driver, { repository: { folder } });
  t.teardown(() => rig.kill());
  await rig.instantiate();
  const taken = await rig.createSnapshot();
  await rig.completed(taken.lifecycleOperationOccurrenceId);
  const ballast = await fillUp(join(small, 'ballast'));

  const full = await mano(
    'package',
    'create',
    taken.vnfSnapshotInfoId,
    '--data',
    rig.folder,
    '--json',
  );
  t.is(full.code, 1, full.stderr);
  const { occurrences } = await rig.operations();
  const failed = occurrences[0]!;
  t.is(failed.error?.reason, 'STORE_FULL', failed.error?.detail);
  t.is((await rig.lab.packages.queryVnfSnapshotPackageInfo({})).vnfSnapshotPkgInfos.length, 0);

  await ballast();
  const packed = await rig.createPackage(taken.vnfSnapshotInfoId);
  await rig.completed(packed.lifecycleOperationOccurrenceId);
});

test('system: SIGTERM drains, and the next start takes the operation up where it was', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, driver);
  const base = await makeBase(rig);
  await rig.kill();
  await rig.start('vnfm.create-vnf-snapshot-package.pack database-0=sleep(60000)');
  const packed = await rig.createPackage(base.snapshot);
  await eventually('the first part is packed', async () =>
    (await rig.hits()).includes('vnfm.create-vnf-snapshot-package.pack database-0'),
  );
  const startMs = performance.now();
  await rig.stop();
  const tookMs = performance.now() - startMs;
  t.true(tookMs < drainMsMax, `draining took ${tookMs} ms`);
  await rig.start();
  await rig.completed(packed.lifecycleOperationOccurrenceId);
  const expected = atFirst(base);
  expected.packages.push(packed.vnfSnapshotPkgId);
  t.deepEqual(await problems(rig, expected), []);
});

test('system: SIGTERM while components are held lets a short hold end, and the snapshot completes', async (t) => {
  t.timeout(runMsMax);
  const { rig, snapshot, ended } = await stopInHold(t, 2_000);
  t.is(ended.operationState, OperationState.COMPLETED, ended.error?.detail);
  t.notRegex(ended.warnings.join('; '), /freeze|let go/);
  const expected = { snapshots: [snapshot], packages: [], archives: [] };
  t.deepEqual(await problems(rig, expected), []);
});

test('system: SIGTERM while components are held for long lets them go and undoes the snapshot', async (t) => {
  t.timeout(runMsMax);
  const { rig, ended } = await stopInHold(t, 12_000);
  t.is(ended.operationState, OperationState.ROLLED_BACK);
  t.is(ended.error?.reason, 'INTERRUPTED');
  t.notRegex(ended.warnings.join('; '), /at its deadline/);
  t.deepEqual(await problems(rig, { snapshots: [], packages: [], archives: [] }), []);
});

/** Stops and starts the server while a snapshot is captured, which takes that long. */
async function stopInHold(t: ExecutionContext, captureMs: number) {
  const rig = await SystemRig.open(t, driver);
  await rig.instantiate();
  await rig.kill();
  const point = 'vnfm.create-vnf-snapshot.capture gateway-0';
  await rig.start(`${point}=sleep(${captureMs})`);
  const taken = await rig.createSnapshot();
  await eventually('the components are held', async () => (await rig.hits()).includes(point));
  const startMs = performance.now();
  await rig.stop();
  const tookMs = performance.now() - startMs;
  t.true(tookMs < drainMsMax, `draining took ${tookMs} ms`);
  const log = await readFile(join(rig.folder, 'serve.log'), 'utf8');
  t.notRegex(log, /hold not let go/);
  await rig.start();
  const ended = await rig.ended(taken.lifecycleOperationOccurrenceId);
  return { rig, snapshot: taken.vnfSnapshotInfoId, ended };
}

test('system: a second server over one data folder is refused, and the first goes on', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, driver);
  const second = await mano('serve', '--data', rig.folder);
  t.is(second.code, 4, second.stderr);
  t.regex(second.stderr, /ADDRESS_IN_USE/);
  t.deepEqual((await rig.lab.lcm.queryVnf({})).vnfInstances, []);
});

test('system: over TCP the certificate gives the role, and without one nobody is let in', async (t) => {
  t.timeout(runMsMax);
  const folder = await tempFolder(t);
  const { address, stop } = await serveOverTcp(folder);
  t.teardown(stop);
  const read = (name: string) => readFile(join(folder, 'pki', name), 'utf8');
  const client = async (role: string) => {
    const certificate = await read(`clients/${role}.pem`);
    const key = await read(`clients/${role}-key.pem`);
    const channel = openChannel({ address, tls: { ca: await read('ca.pem'), certificate, key } });
    t.teardown(() => channel.close());
    return createClient(VnfLcmService, channel);
  };
  t.deepEqual((await (await client('em')).queryVnf({})).vnfInstances, []);
  const stranger = await client('repository');
  await throwsRpc(t, () => stranger.queryVnf({}), {
    code: Code.PERMISSION_DENIED,
    reason: 'NOT_EXPOSED',
  });
  t.regex(await withoutCertificate(address, await read('ca.pem')), /CERTIFICATE_REQUIRED/);
  const pki = join(folder, 'pki');
  const cli = await mano('vnf', 'list', '--connect', address, '--certs', pki, '--json');
  t.is(cli.code, 0, cli.stderr);
});

/** What a client without a certificate hears: the code of the error that ends its connection. */
function withoutCertificate(address: string, ca: string): Promise<string> {
  const [host, port] = address.split(':') as [string, string];
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port), ca, ALPNProtocols: ['h2'] });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(`${error.code}`));
    socket.once('data', () => resolve('it was answered'));
    socket.once('close', () => resolve('closed'));
  });
}

test('system: reflection lists the services to clients that know none', async (t) => {
  t.timeout(runMsMax);
  if (!skipUnless(t, 'buf')) return;
  const rig = await SystemRig.open(t, driver);
  const socket = join(rig.folder, 'run/em.sock');
  const over = ['--protocol', 'grpc', '--http2-prior-knowledge', '--unix-socket', socket];
  const listing = await run('buf', ['curl', ...over, '--list-methods', 'http://localhost']);
  for (const method of [
    'nfv.vnf_lcm.v1.VnfLcmService/CreateVnfSnapshot',
    'nfv.vnf_snapshot_package.v1.VnfSnapshotPackageService/CreateVnfSnapshotPackage',
    'nfv.operation.v1.OperationOccurrenceService/WatchLifecycleOperationOccurrence',
  ]) {
    t.true(listing.stdout.split('\n').includes(method), method);
  }
  const url = 'http://localhost/nfv.vnf_lcm.v1.VnfLcmService/QueryVnf';
  const { stdout } = await run('buf', ['curl', ...over, '--data', '{}', url]);
  t.deepEqual(JSON.parse(stdout), {});
});
