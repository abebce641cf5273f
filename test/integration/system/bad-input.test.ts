import { copyFile, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { OperationOccurrenceService } from '../../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { Code, RpcError } from '../../../sdk/errors.ts';
import { problems } from '../../support/system/checker.ts';
import { mano } from '../../support/system/mano.ts';
import { atFirst, makeBase } from '../../support/system/procedures.ts';
import { SystemRig } from '../../support/system/system-rig.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const vnfdFile = join(import.meta.dirname, '../../../app/demo/vnfd-wasmvm.json');
const driver = 'wasmvm';
const runMsMax = 180_000;

test('system: unknown ids of every kind are NOT_FOUND, with the kind in the reason', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, driver);
  await rig.instantiate();
  const vnfInstanceId = rig.vnfId;
  const { lcm, packages } = rig.lab;
  const operations = rig.site.client(OperationOccurrenceService, 'em');
  const none = 'none';
  const operation = { lifecycleOperationOccurrenceId: none };
  const watched = async () => {
    for await (const _ of operations.watchLifecycleOperationOccurrence(operation));
  };
  const calls: [string, () => Promise<unknown>][] = [
    ['VNF_UNKNOWN', () => lcm.instantiateVnf({ vnfInstanceId: none })],
    ['VNF_UNKNOWN', () => lcm.terminateVnf({ vnfInstanceId: none })],
    ['VNF_UNKNOWN', () => lcm.operateVnf({ vnfInstanceId: none, changeStateTo: VnfState.STARTED })],
    ['VNF_UNKNOWN', () => lcm.deleteVnfIdentifier({ vnfInstanceId: none })],
    ['VNF_UNKNOWN', () => lcm.createVnfSnapshot({ vnfInstanceId: none })],
    ['SNAPSHOT_UNKNOWN', () => lcm.createVnfSnapshot({ vnfInstanceId, vnfSnapshotInfoId: none })],
    ['SNAPSHOT_UNKNOWN', () => lcm.revertToVnfSnapshot({ vnfInstanceId, vnfSnapshotInfoId: none })],
    ['SNAPSHOT_UNKNOWN', () => lcm.updateVnfSnapshotInfo({ vnfSnapshotInfoId: none })],
    ['SNAPSHOT_UNKNOWN', () => lcm.deleteVnfSnapshotInfo({ vnfSnapshotInfoId: none })],
    ['SNAPSHOT_UNKNOWN', () => packages.createVnfSnapshotPackage({ vnfSnapshotInfoId: none })],
    ['PACKAGE_UNKNOWN', () => packages.extractVnfSnapshotPackage({ vnfSnapshotPkgId: none })],
    ['PACKAGE_UNKNOWN', () => rig.exportPackage(none, 'none')],
    ['PACKAGE_UNKNOWN', () => packages.deleteVnfSnapshotPackage({ vnfSnapshotPkgId: none })],
    ['OPERATION_UNKNOWN', () => operations.getLifecycleOperationOccurrence(operation)],
    ['OPERATION_UNKNOWN', watched],
    ['OPERATION_UNKNOWN', () => operations.retryLifecycleOperation(operation)],
    ['OPERATION_UNKNOWN', () => operations.rollbackLifecycleOperation(operation)],
    ['OPERATION_UNKNOWN', () => operations.failLifecycleOperation(operation)],
  ];
  for (const [reason, call] of calls) {
    await throwsRpc(t, call, { code: Code.NOT_FOUND, reason });
  }
  for (const command of [
    ['vnf', 'show', none],
    ['snapshot', 'create', none],
    ['package', 'create', none],
    ['operation', 'show', none],
  ]) {
    const { code, json, stderr } = await mano(...command, '--data', rig.folder, '--json');
    t.is(code, 3, command.join(' '));
    t.regex(json.error!.reason, /_UNKNOWN$/);
    t.regex(stderr, /^mano: .*"none"/);
  }
});

test('system: no snapshot of a VNF that is not instantiated, no two operations at once', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, driver);
  const created = await mano('vnf', 'create', vnfdFile, '--name', 'cold', '--data', rig.folder);
  t.is(created.code, 0, created.stderr);
  const early = await mano('snapshot', 'create', 'cold', '--data', rig.folder, '--json');
  t.is(early.code, 4);
  t.is(early.json.error!.reason, 'VNF_NOT_INSTANTIATED');
  t.deepEqual((await rig.lab.lcm.queryVnfSnapshotInfo({})).vnfSnapshotInfos, []);

  await rig.instantiate();
  await rig.kill();
  // The first operation takes its time, so that the second surely comes meanwhile.
  await rig.start('vnfm.create-vnf-snapshot.check=sleep(3000)');
  const first = await rig.createSnapshot();
  const error = await throwsRpc(t, () => rig.createSnapshot(), {
    code: Code.FAILED_PRECONDITION,
    reason: 'OPERATION_IN_PROGRESS',
  });
  t.is(error.metadata.operation_id, first.lifecycleOperationOccurrenceId);
  const second = await mano('vnf', 'stop', rig.vnfId, '--data', rig.folder, '--json');
  t.is(second.code, 4, second.stderr);
  t.is(second.json.error!.reason, 'OPERATION_IN_PROGRESS');
  await rig.completed(first.lifecycleOperationOccurrenceId);
});

test('system: a VNFD with a wrong field is refused with the path and the reason', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, driver);
  const sound = JSON.parse(await readFile(vnfdFile, 'utf8'));
  const create = async (change: (vnfd: typeof sound) => void) => {
    const vnfd = structuredClone(sound);
    change(vnfd);
    const file = join(rig.archives, 'vnfd.json');
    await writeFile(file, JSON.stringify(vnfd));
    return mano('vnf', 'create', file, '--data', rig.folder, '--json');
  };
  const unknown = await create((vnfd) => {
    vnfd.vdu[1].virtualStorageDescription = ['database-data'];
  });
  t.is(unknown.code, 2);
  t.is(unknown.json.error!.reason, 'VNFD_INVALID');
  t.is(unknown.json.error!.violations[0]?.field, 'vdu[1].virtualStorageDescription');

  const wrongType = await create((vnfd) => {
    vnfd.virtualStorageDesc[0].sizeOfStorageMib = 'large';
  });
  t.is(wrongType.code, 2);
  t.is(wrongType.json.error!.violations[0]?.field, 'virtualStorageDesc[0].sizeOfStorageMib');
  t.regex(wrongType.stderr, /virtualStorageDesc\[0\]\.sizeOfStorageMib: .*large/);

  const dangling = await create((vnfd) => {
    vnfd.vdu[1].virtualStorageDesc = ['no-such-disk'];
  });
  t.is(dangling.code, 2);
  t.is(dangling.json.error!.reason, 'VNFD_INVALID');
  const { field, description } = dangling.json.error!.violations[0]!;
  t.is(field, 'vdu[1].virtualStorageDesc[0]');
  t.regex(description, /no-such-disk/);

  const twice = await create((vnfd) => {
    vnfd.vdu[1].vduId = vnfd.vdu[0].vduId;
  });
  t.is(twice.code, 2);
  t.true(twice.json.error!.violations.some((violation) => violation.field === 'vdu[1].vduId'));
  t.deepEqual((await rig.lab.lcm.queryVnf({})).vnfInstances, []);
});

/** Imports an archive that something was done to; returns why it was refused. */
async function refusal(t: ExecutionContext, rig: SystemRig, name: string): Promise<string> {
  const { lifecycleOperationOccurrenceId: id } = await rig.importPackage(name);
  const { operationState, error } = await rig.ended(id);
  t.is(OperationState[operationState], 'ROLLED_BACK', name);
  t.regex(error!.detail, /transfer/, 'the failed step is named');
  return error!.reason;
}

test('system: an archive that is cut or has a flipped byte is refused, nothing is left', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, driver);
  const base = await makeBase(rig);
  const whole = await readFile(rig.archive('other'));

  await copyFile(rig.archive('other'), rig.archive('short'));
  await truncate(rig.archive('short'), Math.floor(whole.length * 0.7));
  t.regex(await refusal(t, rig, 'short'), /^ARCHIVE_(INVALID|DAMAGED)$/);

  for (const [name, part] of [
    ['flipped-early', 0.2],
    ['flipped-late', 0.6],
  ] as const) {
    await writeFile(rig.archive(name), whole);
    const file = await open(rig.archive(name), 'r+');
    const at = Math.floor(whole.length * part);
    await file.write(new Uint8Array([whole[at]! ^ 0x40]), 0, 1, at);
    await file.close();
    t.regex(await refusal(t, rig, name), /^ARCHIVE_(INVALID|DAMAGED)$/);
  }

  await writeFile(rig.archive('text'), 'this is no archive');
  t.is(await refusal(t, rig, 'text'), 'ARCHIVE_INVALID');

  const cli = await mano('package', 'import', rig.archive('short'), '--data', rig.folder, '--json');
  t.is(cli.code, 1, cli.stderr);
  for (const name of ['short', 'flipped-early', 'flipped-late', 'text']) {
    await rig.deleteArchive(`${name}.zip`);
  }
  t.deepEqual(await problems(rig, atFirst(base)), []);
  // The whole archive still comes in.
  const { lifecycleOperationOccurrenceId: id } = await rig.importPackage('other');
  await rig.completed(id);
});

test('system: a location that is wrong is refused before anything is begun', async (t) => {
  t.timeout(runMsMax);
  const rig = await SystemRig.open(t, driver);
  const { packages } = rig.lab;
  const wrong = { code: Code.INVALID_ARGUMENT, reason: 'LOCATION_INVALID' };
  for (const location of ['relative.zip', join(rig.archives, 'missing.zip'), '/../x.zip']) {
    await throwsRpc(t, () => packages.importVnfSnapshotPackage({ location }), wrong);
  }
  const error = await packages.importVnfSnapshotPackage({ location: '' }).then(
    () => undefined,
    (thrown) => RpcError.from(thrown),
  );
  t.is(error?.code, Code.INVALID_ARGUMENT);
});
