import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { ConsistencyPolicy } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { checkAddress } from '../../../plugins/vnfm/web-address.ts';
import { download, upload } from '../../../plugins/vnfm/web-transfer.ts';
import { Code } from '../../../sdk/errors.ts';
import { noise } from '../../support/cli/disk-images.ts';
import { fileServer } from '../../support/file-server.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const quiet = () => {};
const never = new AbortController().signal;
const transfer = { allowed: ['http://'], signal: never };

async function target(t: ExecutionContext): Promise<string> {
  return join(await tempFolder(t), 'waiting', 'a.zip');
}

test.serial(
  'a package goes to an HTTP address and comes back from it, over a broken connection [6.7.3/4 6.7.4/4]',
  async (t) => {
    t.timeout(120_000);
    const server = await fileServer(t);
    const folder = join(await tempFolder(t), 's');
    const site = await Site.start('test', folder, {
      ...{ version: 1, drivers: ['wasmvm'], vnfm: { packageAddresses: [`${server.address}lab/`] } },
    });
    t.teardown(() => site.stop());
    const lab = new Lab(site, () => {});
    t.teardown(() => lab.clean());
    const { id: vnfInstanceId } = await lab.instantiate('wasmvm', false);
    const consistency = ConsistencyPolicy.PREFERRED;
    const taken = await lab.lcm.createVnfSnapshot({ vnfInstanceId, consistency });
    await lab.follow(taken.lifecycleOperationOccurrenceId);
    const packed = await lab.packages.createVnfSnapshotPackage({
      vnfSnapshotInfoId: taken.vnfSnapshotInfoId,
    });
    await lab.follow(packed.lifecycleOperationOccurrenceId);
    const { vnfSnapshotPkgId } = packed;
    const location = `${server.address}lab/gw.zip`;

    const exported = await lab.packages.exportVnfSnapshotPackage({ vnfSnapshotPkgId, location });
    const { result } = await lab.follow(exported.lifecycleOperationOccurrenceId);
    const archive = server.files.get('/lab/gw.zip')!;
    t.is(result.location, location);
    t.is(result.sha256, createHash('sha256').update(archive).digest('hex'));

    const again = await lab.packages.exportVnfSnapshotPackage({ vnfSnapshotPkgId, location });
    const error = await t.throwsAsync(lab.follow(again.lifecycleOperationOccurrenceId));
    t.regex(error!.message, /exists already/);
    t.is(server.files.get('/lab/gw.zip'), archive, 'what was there is not touched');

    const deleted = await lab.packages.deleteVnfSnapshotPackage({ vnfSnapshotPkgId });
    await lab.follow(deleted.lifecycleOperationOccurrenceId);
    server.requests.length = 0;
    server.cutAfter.push(10_000);
    const imported = await lab.packages.importVnfSnapshotPackage({ location });
    const occurrence = await lab.follow(imported.lifecycleOperationOccurrenceId);
    t.is(occurrence.operationState, OperationState.COMPLETED);
    t.is(server.requests.length, 2);
    t.is(server.requests[0], 'GET /lab/gw.zip');
    t.regex(server.requests[1]!, /^GET \/lab\/gw\.zip bytes=[1-9]\d*-$/, 'it goes on where it was');
    const { vnfSnapshotPkgInfos } = await lab.packages.queryVnfSnapshotPackageInfo({});
    t.deepEqual(
      vnfSnapshotPkgInfos.map(({ id }) => id),
      [vnfSnapshotPkgId],
    );
    t.deepEqual(await readdir(join(folder, 'plugins', 'vnfm', 'transfers')), [], 'nothing is left');

    const outside = lab.packages.importVnfSnapshotPackage({
      location: `${server.address}other/gw.zip`,
    });
    await throwsRpc(t, outside, { code: Code.INVALID_ARGUMENT, reason: 'LOCATION_INVALID' });
  },
);

test('download: a file that changed meanwhile is fetched anew', async (t) => {
  const server = await fileServer(t);
  const path = await target(t);
  const old = noise('old', 200_000);
  server.files.set('/a.zip', old);
  server.cutAfter.push(50_000);
  await throwsRpc(t, download(`${server.address}a.zip`, path, never, quiet), {
    ...{ code: Code.UNAVAILABLE, reason: 'TRANSFER_FAILED' },
  });
  const fresh = noise('fresh', 300_000);
  server.files.set('/a.zip', fresh);
  await download(`${server.address}a.zip`, path, never, quiet);
  t.true((await readFile(path)).equals(fresh));
});

test('download: answers that are none are refused with their words', async (t) => {
  const server = await fileServer(t);
  const path = await target(t);
  const url = `${server.address}a.zip`;
  const missing = await throwsRpc(t, download(url, path, never, quiet), {
    ...{ code: Code.INVALID_ARGUMENT, reason: 'LOCATION_INVALID' },
  });
  t.regex(missing.message, /404 .*there is no such file/);
  server.statuses.push(503);
  const busy = { code: Code.UNAVAILABLE, reason: 'TRANSFER_FAILED' };
  await throwsRpc(t, download(url, path, never, quiet), busy);
  server.statuses.push(302);
  await throwsRpc(t, download(url, path, never, quiet), busy);
  t.is(server.requests.length, 3, 'nobody is sent elsewhere');
  await throwsRpc(t, download('http://127.0.0.1:1/a.zip', path, never, quiet), busy);
});

test('download: a caller who leaves ends it', async (t) => {
  const server = await fileServer(t);
  server.files.set('/a.zip', noise('a', 200_000));
  const controller = new AbortController();
  const path = await target(t);
  const report = () => controller.abort(new Error('enough'));
  await t.throwsAsync(download(`${server.address}a.zip`, path, controller.signal, report));
});

test('upload: a repeat replaces what an earlier try has put', async (t) => {
  const server = await fileServer(t);
  const path = await target(t);
  server.files.set('/a.zip', noise('a', 1000));
  await download(`${server.address}a.zip`, path, never, quiet);
  const url = `${server.address}b.zip`;
  server.statuses.push(404, 500);
  await throwsRpc(t, upload(path, url, { ...transfer, report: quiet }), {
    ...{ code: Code.UNAVAILABLE, reason: 'TRANSFER_FAILED' },
  });
  server.files.set('/b.zip', Buffer.from('half'));
  const said: string[] = [];
  await upload(path, url, {
    ...transfer,
    report: (_done, _total, activity) => said.push(activity),
  });
  t.is(said[0], `sending anew to ${url}`);
  t.true(server.files.get('/b.zip')!.equals(noise('a', 1000)));
});

const allowed = ['https://files.example/lab/'];
for (const [location, why] of [
  ['https://files.example/lab', /is not below|must name/],
  ['https://files.example/lab/', /must name a file/],
  ['https://files.example/other/a.zip', /is not below/],
  ['https://files.example/lab/../other/a.zip', /is not below/],
  ['https://files.example/lab/%2e%2e/other/a.zip', /is not below|must not hide/],
  ['https://files.example/lab/..%2fother/a.zip', /must not hide/],
  ['http://files.example/lab/a.zip', /is not below/],
  ['https://files.example.evil/lab/a.zip', /is not below/],
  ['https://me:secret@files.example/lab/a.zip', /must hold no password/],
  ['https://', /is not an address/],
] as const) {
  test(`checkAddress: ${location} is refused`, async (t) => {
    const error = await throwsRpc(t, async () => checkAddress(location, allowed), {
      ...{ code: Code.INVALID_ARGUMENT, reason: 'LOCATION_INVALID' },
    });
    t.regex(error.message, why);
  });
}

test('checkAddress: what is below an allowed address is taken in its normal form', (t) => {
  const normal = 'https://files.example/lab/x/a.zip';
  t.is(checkAddress('HTTPS://Files.Example:443/lab/y/../x/a.zip', allowed), normal);
});
