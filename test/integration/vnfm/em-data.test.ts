import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import test from 'ava';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { PackageKind } from '../../../gen/nfv/repository/v1/repository_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { crashRig } from '../../support/vnfm/crash-rig.ts';
import { watchAsVnf } from '../../support/vnfm/fake-vnf.ts';
import {
  type Clients,
  completed,
  finished,
  instantiated,
  type Rig,
  startRig,
} from '../../support/vnfm/rig.ts';

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const mebibyte = 1024 * 1024;

async function taken(t: ExecutionContext, rig: Clients): Promise<string> {
  const vnfInstanceId = await instantiated(rig);
  await watchAsVnf(t, rig, vnfInstanceId);
  const { vnfSnapshotInfoId, lifecycleOperationOccurrenceId } = await rig.lcm.createVnfSnapshot({
    vnfInstanceId,
  });
  await completed(rig, lifecycleOperationOccurrenceId);
  return vnfSnapshotInfoId;
}

async function archived(rig: Rig, vnfSnapshotInfoId: string) {
  const packed = await rig.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
  await completed(rig, packed.lifecycleOperationOccurrenceId);
  const { vnfSnapshotPkgId } = packed;
  const location = join(rig.folder, 'p.zip');
  const exported = await rig.packages.exportVnfSnapshotPackage({ vnfSnapshotPkgId, location });
  await completed(rig, exported.lifecycleOperationOccurrenceId);
  return { vnfSnapshotPkgId, location };
}

test('EM data: it outlives a restart, is listed, read back and removed [capture/8]', async (t) => {
  const rig = await startRig(t);
  const vnfSnapshotInfoId = await taken(t, rig);
  const dump = { vnfSnapshotInfoId, name: 'config.json', mediaType: 'application/json' };
  const content = bytes('{"calls": 5}');
  const first = await rig.emData.attachEmData({ ...dump, content });
  t.deepEqual(await rig.emData.attachEmData({ ...dump, content }), first, 'a repeat is harmless');
  await rig.emData.attachEmData({ vnfSnapshotInfoId, name: 'empty', content: bytes('') });
  await throwsRpc(t, rig.emData.attachEmData({ ...dump, content: bytes('else') }), {
    code: Code.ALREADY_EXISTS,
    reason: 'EM_DATA_EXISTS',
  });
  await rig.restart();
  const { emData } = await rig.emData.listEmData({ vnfSnapshotInfoId });
  t.deepEqual(
    emData.map(({ name, sizeBytes, mediaType }) => [name, sizeBytes, mediaType]),
    [
      ['config.json', 12n, 'application/json'],
      ['empty', 0n, 'application/octet-stream'],
    ],
  );
  const read = await rig.emData.readEmData({ vnfSnapshotInfoId, name: 'config.json' });
  t.deepEqual(Buffer.from(read.content), Buffer.from(content));
  const name = 'empty';
  t.is((await rig.emData.readEmData({ vnfSnapshotInfoId, name })).content.length, 0);
  await rig.emData.removeEmData({ vnfSnapshotInfoId, name });
  await throwsRpc(t, rig.emData.readEmData({ vnfSnapshotInfoId, name }), {
    code: Code.NOT_FOUND,
    reason: 'EM_DATA_UNKNOWN',
  });
});

test('EM data: a bad name, too much, and a snapshot that is not fit are refused', async (t) => {
  const rig = await startRig(t);
  const vnfSnapshotInfoId = await taken(t, rig);
  const attach = (name: string, content: Uint8Array, id = vnfSnapshotInfoId) =>
    rig.emData.attachEmData({ vnfSnapshotInfoId: id, name, content });
  for (const name of ['', '..', '../x', '/etc/passwd', 'a/b', 'a\\b', '.hidden', 'é']) {
    await throwsRpc(t, attach(name, bytes('x')), {
      code: Code.INVALID_ARGUMENT,
      reason: 'FIELD_VIOLATION',
    });
  }
  await throwsRpc(t, attach('big', new Uint8Array(4 * mebibyte + 1)), {
    code: Code.INVALID_ARGUMENT,
    reason: 'FIELD_VIOLATION',
  });
  await attach('one', new Uint8Array(4 * mebibyte));
  await attach('two', new Uint8Array(4 * mebibyte));
  const full = { code: Code.RESOURCE_EXHAUSTED, reason: 'EM_DATA_FULL' };
  await throwsRpc(t, attach('three', bytes('x')), full);
  await rig.emData.removeEmData({ vnfSnapshotInfoId, name: 'one' });
  for (let count = 1; count < 32; count++) await attach(`n${count}`, bytes('x'));
  await throwsRpc(t, attach('n32', bytes('x')), full);

  const { vnfSnapshotInfo: empty } = await rig.lcm.createVnfSnapshotInfo({});
  await throwsRpc(t, attach('x', bytes('x'), empty!.id), {
    code: Code.FAILED_PRECONDITION,
    reason: 'SNAPSHOT_NOT_AVAILABLE',
  });
  await throwsRpc(t, attach('x', bytes('x'), 'snap-none'), {
    code: Code.NOT_FOUND,
    reason: 'SNAPSHOT_UNKNOWN',
  });
  let refused: Promise<unknown> | undefined;
  rig.world.before('pack', '', async () => {
    refused ??= throwsRpc(t, attach('late', bytes('x')), {
      code: Code.FAILED_PRECONDITION,
      reason: 'SNAPSHOT_IN_USE',
    });
    await refused;
  });
  await archived(rig, vnfSnapshotInfoId);
  t.truthy(refused, 'nothing is added while a package is made');
});

test('EM data: a package whose file is not the one that it lists is refused', async (t) => {
  const rig = await startRig(t);
  const vnfSnapshotInfoId = await taken(t, rig);
  await rig.emData.attachEmData({ vnfSnapshotInfoId, name: 'dump.mf', content: bytes('right') });
  const { vnfSnapshotPkgId } = await archived(rig, vnfSnapshotInfoId);
  const { files } = rig.repository.get(vnfSnapshotPkgId);
  t.is(Buffer.from(files.get('dump.mf.em-data')!).toString(), 'right');
  for (const wrong of [bytes('wrong'), bytes('short'.slice(1)), undefined]) {
    if (wrong) files.set('dump.mf.em-data', wrong);
    else files.delete('dump.mf.em-data');
    const started = await rig.packages.extractVnfSnapshotPackage({ vnfSnapshotPkgId });
    const end = await finished(rig, started.lifecycleOperationOccurrenceId);
    t.is(end.operationState, OperationState.ROLLED_BACK);
    t.is(end.error?.reason, 'PACKAGE_INVALID');
    t.regex(end.error!.detail, /dump\.mf\.em-data/);
  }
  const other = await startRig(t);
  const location = join(other.folder, 'p.zip');
  const exported = await rig.packages.exportVnfSnapshotPackage({
    vnfSnapshotPkgId,
    location: join(rig.folder, 'bad.zip'),
  });
  await completed(rig, exported.lifecycleOperationOccurrenceId);
  await copyFile(join(rig.folder, 'bad.zip'), location);
  const imported = await other.packages.importVnfSnapshotPackage({ location });
  const end = await finished(other, imported.lifecycleOperationOccurrenceId);
  t.is(end.error?.reason, 'PACKAGE_INVALID');
  t.deepEqual(other.repository.idsOf(PackageKind.VNF), [], 'nothing is left of it');
});

for (const point of ['vnfm.em-data.content', 'vnfm.em-data.record']) {
  test(`EM data: a kill at ${point} leaves nothing of a file that was not answered for`, async (t) => {
    const rig = await crashRig(t);
    const before = await rig.start(`${point}=kill`);
    const vnfSnapshotInfoId = await taken(t, before);
    const attach = (vnfm: Clients) =>
      vnfm.emData.attachEmData({ vnfSnapshotInfoId, name: 'dump', content: bytes('x') });
    await t.throwsAsync(attach(before));
    t.is(await before.ended, 'SIGKILL');
    await before.stop();
    const after = await rig.start();
    t.is((await after.emData.listEmData({ vnfSnapshotInfoId })).emData.length, 0);
    await attach(after);
    const { content } = await after.emData.readEmData({ vnfSnapshotInfoId, name: 'dump' });
    t.is(Buffer.from(content).toString(), 'x');
  });
}
