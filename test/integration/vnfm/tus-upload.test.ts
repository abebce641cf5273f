import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import {
  CancelMode,
  OperationOccurrenceService,
} from '../../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { EmDataService } from '../../../gen/nfv/vnf_lcm/v1/em_data_service_pb.js';
import { ConsistencyPolicy } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { takeBack, upload } from '../../../plugins/vnfm/web-transfer.ts';
import { Code } from '../../../sdk/errors.ts';
import { CuttingProxy } from '../../support/cutting-proxy.ts';
import { eventually } from '../../support/eventually.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { type Answer, scriptedServer, tusServer } from '../../support/tus-server.ts';

const megabyte = 1_000_000;

/** A site with a package of more than four megabytes, and a tus server behind a line that can break. */
async function open(t: ExecutionContext) {
  t.timeout(240_000);
  const root = await tempFolder(t);
  const uploads = join(root, 'uploads');
  await mkdir(uploads);
  const proxy = await CuttingProxy.open(t, await tusServer(t, uploads));
  const folder = join(root, 's');
  const configuration = {
    ...{ version: 1 as const, drivers: ['wasmvm'] },
    vnfm: { packageAddresses: [`http://${proxy.address}/lab/`] },
  };
  let site = await Site.start('test', folder, configuration);
  let lab = new Lab(site, () => {});
  t.teardown(async () => {
    await lab.clean();
    await site.stop();
  });
  const { id: vnfInstanceId } = await lab.instantiate('wasmvm', false);
  const consistency = ConsistencyPolicy.PREFERRED;
  const { vnfSnapshotInfoId, lifecycleOperationOccurrenceId: taking } =
    await lab.lcm.createVnfSnapshot({ vnfInstanceId, consistency });
  await lab.follow(taking);
  await site.client(EmDataService, 'em').attachEmData({
    ...{ vnfSnapshotInfoId, name: 'dump.bin', content: randomBytes(4 * megabyte) },
  });
  const { vnfSnapshotPkgId, lifecycleOperationOccurrenceId: packing } =
    await lab.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
  await lab.follow(packing);
  const location = `http://${proxy.address}/lab/files`;
  const start = async () => {
    const started = await lab.packages.exportVnfSnapshotPackage({ vnfSnapshotPkgId, location });
    return started.lifecycleOperationOccurrenceId;
  };
  const archives = async () => {
    const names = (await readdir(uploads)).filter((name) => !name.endsWith('.json'));
    return Promise.all(names.map((name) => readFile(join(uploads, name))));
  };
  return {
    ...{ proxy, location, start, archives, vnfSnapshotPkgId },
    get lab() {
      return lab;
    },
    /** The export is whole at the server, and nothing is left here. */
    whole: async (operation: string) => {
      const { operationState, result } = await lab.follow(operation);
      t.is(operationState, OperationState.COMPLETED);
      const [archive, ...more] = await archives();
      t.deepEqual(more, []);
      t.is(createHash('sha256').update(archive!).digest('hex'), result.sha256!);
      t.regex(result.location ?? '', /\/lab\/files\/[^/]+$/);
      t.deepEqual(await readdir(join(folder, 'plugins', 'vnfm', 'transfers')), []);
      return { size: archive!.length, place: result.location! };
    },
    cancel: (lifecycleOperationOccurrenceId: string) =>
      site.client(OperationOccurrenceService, 'oss').cancelLifecycleOperation({
        ...{ lifecycleOperationOccurrenceId, cancelMode: CancelMode.FORCEFUL },
      }),
    restart: async () => {
      await lab.stopAgents();
      await site.kill();
      proxy.count();
      site = await Site.start('test', folder, configuration);
      lab = new Lab(site, () => {});
    },
  };
}

test.serial(
  'tus: an export goes on where it was after a break, and is imported from where it is then [6.7.3/4]',
  async (t) => {
    const site = await open(t);
    const broken = site.proxy.break('up', 2 * megabyte, 'cut');
    const operation = await site.start();
    await broken;
    const { size, place } = await site.whole(operation);
    t.true(site.proxy.bytes.up < size + megabyte, `${site.proxy.bytes.up} for ${size} bytes`);

    const { lab, vnfSnapshotPkgId } = site;
    const deleted = await lab.packages.deleteVnfSnapshotPackage({ vnfSnapshotPkgId });
    await lab.follow(deleted.lifecycleOperationOccurrenceId);
    const imported = await lab.packages.importVnfSnapshotPackage({ location: place });
    const { operationState } = await lab.follow(imported.lifecycleOperationOccurrenceId);
    t.is(operationState, OperationState.COMPLETED);
  },
);

test.serial('tus: an export goes on where it was after kill -9', async (t) => {
  const site = await open(t);
  const hanging = site.proxy.break('up', 2 * megabyte, 'hang');
  const operation = await site.start();
  await hanging;
  await site.restart();
  const { size } = await site.whole(operation);
  t.true(site.proxy.bytes.up < size - megabyte, `${site.proxy.bytes.up} of ${size} bytes`);
});

test.serial('tus: what a cancelled export has sent is ended at the server', async (t) => {
  const site = await open(t);
  const hanging = site.proxy.break('up', 2 * megabyte, 'hang');
  const operation = await site.start();
  await hanging;
  await site.cancel(operation);
  t.regex((await t.throwsAsync(site.lab.follow(operation)))!.message, /ROLLED_BACK/);
  await eventually('nothing is left', async () => (await site.archives()).length === 0, 20_000);
});

/** A file to send, and a server of tus that answers PATCH as the test wants. */
async function scripted(
  t: ExecutionContext,
  patch: (offset: number, body: Buffer, sum: string) => { status: number; offset: number },
  made = '/lab/files/1',
) {
  const path = join(await tempFolder(t), 'a.zip');
  const content = randomBytes(10_000);
  await writeFile(path, content);
  let isThere = true;
  let claimed = 0;
  const server = await scriptedServer(t, (method, { headers }, body): Answer => {
    const at = Number(headers['upload-offset']);
    if (method === 'OPTIONS') {
      const offer = {
        ...{ 'tus-version': '1.0.0', 'tus-checksum-algorithm': 'md5,sha1' },
        'tus-extension': 'creation,checksum,termination',
      };
      return { status: 204, headers: offer };
    }
    if (method === 'POST') return { status: 201, headers: { location: made } };
    if (method === 'HEAD') {
      return isThere
        ? { status: 200, headers: { 'upload-offset': String(claimed) } }
        : { status: 404 };
    }
    if (method === 'DELETE') return { status: 204 };
    const { status, offset } = patch(at, body, String(headers['upload-checksum']));
    return { status, headers: { 'upload-offset': String(offset) } };
  });
  const allowed = [`${server.address}lab/`];
  const send = () =>
    upload(path, `${server.address}lab/files`, {
      ...{ allowed, signal: new AbortController().signal, report: () => {} },
    });
  const lose = () => {
    isThere = false;
  };
  const claim = (offset: number) => {
    claimed = offset;
  };
  return { ...server, path, content, send, lose, claim };
}

test('tus: each piece has its checksum, one that arrives broken is sent again, and not for ever', async (t) => {
  let left = 2;
  const got: Buffer[] = [];
  const one = await scripted(t, (offset, body, sum) => {
    if (left-- > 0) return { status: 460, offset };
    t.is(sum, `sha1 ${createHash('sha1').update(body).digest('base64')}`);
    got.push(body);
    return { status: 204, offset: offset + body.length };
  });
  t.is(await one.send(), `${one.address}lab/files/1`);
  t.deepEqual(Buffer.concat(got), one.content);
  t.deepEqual(one.requests, ['OPTIONS', 'POST', 'PATCH', 'PATCH', 'PATCH']);

  const always = await scripted(t, (offset) => ({ status: 460, offset }));
  await throwsRpc(t, always.send(), { code: Code.DATA_LOSS, reason: 'CHECKSUM_MISMATCH' });
  t.is(always.requests.filter((method) => method === 'PATCH').length, 5);
});

test('tus: a server that claims more than it was sent, or stands still, is not believed', async (t) => {
  for (const claim of [10_001, 20_000, 0, Number.NaN]) {
    const liar = await scripted(t, () => ({ status: 204, offset: claim }));
    const error = await throwsRpc(t, liar.send(), {
      ...{ code: Code.UNAVAILABLE, reason: 'TRANSFER_FAILED' },
    });
    t.regex(error.message, /claims the offset/);
  }
});

test('tus: an upload that is whole at the server and was not sent is not believed', async (t) => {
  const server = await scripted(t, (offset) => ({ status: 503, offset }));
  await throwsRpc(t, server.send(), { code: Code.UNAVAILABLE, reason: 'TRANSFER_FAILED' });
  // The first piece may have arrived: the server had no time to say so.
  server.claim(10_000);
  t.is(await server.send(), `${server.address}lab/files/1`);
  server.claim(10_001);
  await throwsRpc(t, server.send(), { code: Code.UNAVAILABLE, reason: 'TRANSFER_FAILED' });

  const early = await scripted(t, (offset) => ({ status: 503, offset }));
  const note = JSON.stringify({
    ...{ url: `${early.address}lab/files/1`, algorithm: '', canEnd: true, sent: 0 },
  });
  await writeFile(`${early.path}.tus`, note);
  early.claim(10_000);
  const error = await throwsRpc(t, early.send(), {
    ...{ code: Code.UNAVAILABLE, reason: 'TRANSFER_FAILED' },
  });
  t.regex(error.message, /claims the offset "10000", which is not from 0 to 0/);
});

test('tus: an upload that would be at another address is refused', async (t) => {
  for (const made of ['http://127.0.0.1:1/lab/files/1', '/elsewhere/1', '/lab/..%2felsewhere/1']) {
    const server = await scripted(t, () => ({ status: 204, offset: 0 }), made);
    const error = await throwsRpc(t, server.send(), {
      ...{ code: Code.INVALID_ARGUMENT, reason: 'LOCATION_INVALID' },
    });
    t.regex(error.message, /is not below one|must not hide/);
    t.false(server.requests.includes('PATCH'), 'nothing is sent there');
  }
});

test('tus: an upload that its server has given up begins anew, and is taken back by its address', async (t) => {
  let isBroken = true;
  const server = await scripted(t, (offset, body) => {
    if (isBroken) return { status: 503, offset };
    return { status: 204, offset: offset + body.length };
  });
  await throwsRpc(t, server.send(), { code: Code.UNAVAILABLE, reason: 'TRANSFER_FAILED' });
  isBroken = false;
  server.lose();
  await server.send();
  t.deepEqual(server.requests.slice(3), ['HEAD', 'OPTIONS', 'POST', 'PATCH']);
  await takeBack(server.path, `${server.address}lab/files`, new AbortController().signal);
  t.is(server.requests.at(-1), 'DELETE');
});
