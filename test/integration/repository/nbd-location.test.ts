import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ImageFormat, ImageRole, MapSource } from '../../../gen/nfv/common/v1/common_pb.js';
import { PackageKind, RepositoryService } from '../../../gen/nfv/repository/v1/repository_pb.js';
import { repositoryPlugin } from '../../../plugins/repository/plugin.ts';
import { createClient } from '../../../sdk/client.ts';
import { Code } from '../../../sdk/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { testKernel } from '../../support/test-kernel.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { run } from './sources/images.ts';

const tools = ['qemu-nbd', 'qemu-img', 'qemu-io'];
const mebibyte = 2 ** 20;
const diskBytes = 8 * mebibyte;

/** A disk that was packed once, and then written by QEMU under a bitmap. */
async function changedDisk(t: ExecutionContext) {
  const kernel = await testKernel(t);
  await kernel.add(repositoryPlugin);
  await kernel.start();
  const vim = kernel.transportFor({ role: 'vim', identity: 'test' });
  const repository = createClient(RepositoryService, vim, { target: 'repository' });
  const folder = await tempFolder(t);
  const path = join(folder, 'disk.qcow2');
  await run('qemu-img', 'create', '-f', 'qcow2', path, String(diskBytes));
  await run('qemu-io', '-c', `write -P 1 0 ${diskBytes}`, path);
  const older = join(folder, 'older.qcow2');
  await copyFile(path, older);
  await run('qemu-img', 'bitmap', '--add', path, 'since');
  await run('qemu-io', '-c', 'write -P 2 1M 64k', '-c', 'write -P 3 5M 128k', path);

  const store = async (
    packageId: string,
    place: object,
    rest: { parentPackageId?: string; changedMap?: object } = {},
  ) => {
    const { parentPackageId = '', changedMap } = rest;
    const image = {
      location: { name: 'disk', role: ImageRole.DISK, ...place },
      sourceSnapshotId: packageId,
      ...(changedMap && { changedMap }),
    };
    const events = repository.storePackage({
      ...{
        packageId,
        kind: PackageKind.VNFC,
        parentPackageId,
        images: [image as never],
        samples: 0,
      },
      call: { operationId: 'test', stepId: packageId },
    });
    for await (const { event } of events) if (event.case === 'package') return event.value;
    throw new Error('the stream ended without a package');
  };
  const qcow2 = (file: string) => ({
    location: { case: 'localFile', value: { path: file, format: ImageFormat.QCOW2 } },
  });
  await store('base', qcow2(older));
  const socketPath = await serve(t, folder, '-f', 'qcow2', '-B', 'since', path);
  const nbd = (...metaContexts: string[]) => ({
    location: {
      case: 'nbd',
      value: { address: { case: 'socketPath', value: socketPath }, exportName: '', metaContexts },
    },
  });
  return { store, nbd, file: qcow2(path) };
}

async function serve(t: ExecutionContext, folder: string, ...words: string[]): Promise<string> {
  const socketPath = join(folder, 'nbd.sock');
  const options = ['-r', '-t', '-e', '4', '-k', socketPath, ...words];
  const server = spawn('qemu-nbd', options, { stdio: 'ignore' });
  const ended = once(server, 'close');
  t.teardown(async () => {
    server.kill();
    await ended;
  });
  const isThere = () =>
    access(socketPath).then(
      () => true,
      () => false,
    );
  await eventually('the server listens', isThere);
  return socketPath;
}

const bitmapSince = (baseSnapshotId: string) => ({
  changedMap: { baseSnapshotId, source: MapSource.DIRTY_BITMAP, extents: [] },
  parentPackageId: 'base',
});

test('repository: a location over NBD gives the image of the file', async (t) => {
  if (!skipUnless(t, ...tools)) return;
  const { store, nbd, file } = await changedDisk(t);
  const [fromNbd] = (await store('over-nbd', nbd('base:allocation'))).images;
  const [fromFile] = (await store('from-file', file)).images;
  t.is(fromNbd!.root, fromFile!.root);
  t.is(fromNbd!.logicalBytes, BigInt(diskBytes));
});

test('repository: a dirty bitmap that a location names is the map of the image', async (t) => {
  if (!skipUnless(t, ...tools)) return;
  const { store, nbd, file } = await changedDisk(t);
  const place = nbd('base:allocation', 'qemu:dirty-bitmap:since');
  const [mapped] = (await store('mapped', place, bitmapSince('base'))).images;
  t.is(mapped!.mapSource, MapSource.DIRTY_BITMAP, mapped!.mapReason);
  t.is(mapped!.bytesRead, 192n * 1024n, 'what QEMU wrote, and nothing else');
  t.is(mapped!.root, (await store('from-file', file)).images[0]!.root);
});

test('repository: a dirty bitmap that is lost or of another base leads to a scan', async (t) => {
  if (!skipUnless(t, ...tools)) return;
  const { store, nbd, file } = await changedDisk(t);
  const { root } = (await store('from-file', file)).images[0]!;
  const gone = nbd('base:allocation', 'qemu:dirty-bitmap:gone');
  const [lost] = (await store('lost', gone, bitmapSince('base'))).images;
  t.is(lost!.mapSource, MapSource.HASH_SCAN);
  t.regex(lost!.mapReason, /has no qemu:dirty-bitmap:gone/);
  t.is(lost!.root, root);
  const since = nbd('base:allocation', 'qemu:dirty-bitmap:since');
  const [other] = (await store('other', since, bitmapSince('another'))).images;
  t.is(other!.mapSource, MapSource.HASH_SCAN);
  t.is(other!.root, root);
  const two = nbd('qemu:dirty-bitmap:since', 'qemu:dirty-bitmap:before');
  await throwsRpc(t, store('two', two, bitmapSince('base')), {
    code: Code.INVALID_ARGUMENT,
    reason: 'LOCATION_INVALID',
  });
});
