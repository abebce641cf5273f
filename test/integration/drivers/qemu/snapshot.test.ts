import { execFileSync } from 'node:child_process';
import { copyFile, readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ImageRole, MapSource } from '../../../../gen/nfv/common/v1/common_pb.js';
import {
  ComputeOperation,
  DataTransport,
  StateAfterRevert,
} from '../../../../gen/nfv/driver/v1/driver_pb.js';
import { ComputeState } from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { chainOf } from '../../../../plugins/drivers/qemu/disks/layers.ts';
import { Code } from '../../../../sdk/errors.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import {
  booted,
  buildGuestImage,
  counting,
  type Driver,
  dataFolder,
  disksOf,
  inGuest,
  revertPair,
  roles,
  seconds,
  snapshotPair,
  startDriver,
  startGuest,
  startPair,
  tools,
  until,
  vnf,
} from './lab.ts';

async function driverIn(t: ExecutionContext, folder: string): Promise<Driver> {
  const driver = await startDriver(folder);
  t.teardown(() => driver.close());
  return driver;
}

/**
 * The whole content of a disk, read by QEMU's own tools from a file of the layers or from an NBD
 * export.
 */
async function rawContent(t: ExecutionContext, source: string, ...options: string[]) {
  const target = join(await tempFolder(t), 'raw');
  execFileSync('qemu-img', ['convert', ...options, '-O', 'raw', source, target]);
  return readFile(target);
}

/** The content of a frozen disk. */
function diskContent(t: ExecutionContext, driver: Driver, snapshotId: string, name: string) {
  const layerId = driver.context.store.get('snapshot', snapshotId)!.layers[name]!;
  return rawContent(t, driver.context.layers.path(layerId), '-U', '-f', 'qcow2');
}

test.serial(
  'A VNF of two guests goes back in time: memory, disks and the numbers between them',
  async (t) => {
    if (!skipUnless(t, ...tools)) return;
    buildGuestImage();
    const driver = await driverIn(t, await dataFolder(t));
    await startPair(driver);
    await snapshotPair(driver, 's1');
    const disk = await diskContent(t, driver, 'gateway-s1', 'data');
    const { snapshot } = await driver.client.showInstanceSnapshot({ snapshotId: 'gateway-s1' });
    t.is(snapshot!.stateWhenTaken, ComputeState.RUNNING);
    t.true(snapshot!.quiesced);
    const first = await vnf(driver, 'gateway');
    await counting(driver, 'gateway', first.counter + 10);
    await snapshotPair(driver, 's2');
    for (const role of roles) await vnf(driver, role, 'wreck');

    await revertPair(driver, 's1');
    const [gateway, database] = [await vnf(driver, 'gateway'), await vnf(driver, 'database')];
    t.is(gateway.generation, first.generation, 'the same boot: memory came back');
    t.true(
      gateway.counter <= first.counter + 2,
      `${gateway.counter} is back near ${first.counter}`,
    );
    await counting(driver, 'database', database.counter + 5);
    for (const role of roles) await vnf(driver, role, 'prepare');
    const after = [await vnf(driver, 'gateway'), await vnf(driver, 'database')];
    t.true(after[0]!.counter - 1 <= after[1]!.counter && after[1]!.counter <= after[0]!.counter);
    const script = 'awk "\\$1 != NR {bad = 1} END {print bad + 0, NR}" /data/numbers.log';
    t.is(await inGuest(driver, 'gateway', script), `0 ${after[0]!.counter}`);
    t.true(disk.equals(await diskContent(t, driver, 'gateway-s1', 'data')), 'frozen for ever');

    await t.notThrowsAsync(changedMapHolds(t, driver));
    await t.notThrowsAsync(nbdServesTheSame(t, driver));
    await t.notThrowsAsync(deletionMerges(t, driver));
    await t.notThrowsAsync(importContinues(t, driver));
  },
);

/** Outside the map both snapshots hold the same bytes. */
async function changedMapHolds(t: ExecutionContext, driver: Driver): Promise<void> {
  const base = await diskContent(t, driver, 'gateway-s1', 'data');
  const target = await diskContent(t, driver, 'gateway-s2', 'data');
  t.false(base.equals(target), 'the guest wrote in between');
  let changedBytes = 0n;
  const request = { baseSnapshotId: 'gateway-s1', targetSnapshotId: 'gateway-s2' };
  const stream = driver.client.getMetadataDelta({ ...request, imageName: 'data' });
  for await (const { source, extents } of stream) {
    t.is(source, MapSource.OVERLAY);
    for (const { start, length } of extents) {
      changedBytes += length;
      target.copy(base, Number(start), Number(start), Number(start + length));
    }
  }
  t.true(base.equals(target), 'the base with the changed extents is the target');
  t.true(changedBytes > 0n && changedBytes < 8n * 1024n * 1024n, `${changedBytes} bytes`);
  const memory = driver.client.getMetadataDelta({ ...request, imageName: 'memory' });
  const expected = { code: Code.FAILED_PRECONDITION, reason: 'MAP_LOST' };
  await throwsRpc(t, memory[Symbol.asyncIterator]().next(), expected);
}

/**
 * A disk over NBD is the disk of the file; while it is open the snapshot cannot be deleted; closing
 * ends the server.
 */
async function nbdServesTheSame(t: ExecutionContext, driver: Driver): Promise<void> {
  const { locations } = await driver.client.openSnapshotData({
    snapshotId: 'gateway-s1',
    transport: DataTransport.NBD,
    imageNames: ['data'],
  });
  const { location, token } = locations[0]!;
  if (location.case !== 'nbd' || location.value.address.case !== 'socketPath') return t.fail();
  const uri = `nbd+unix:///${location.value.exportName}?socket=${location.value.address.value}`;
  const content = await rawContent(t, uri, '-f', 'raw');
  t.true(content.equals(await diskContent(t, driver, 'gateway-s1', 'data')));
  await throwsRpc(t, driver.client.deleteInstanceSnapshot({ snapshotId: 'gateway-s1' }), {
    code: Code.FAILED_PRECONDITION,
    reason: 'SNAPSHOT_OPEN',
  });
  await driver.client.closeData({ token });
  t.throws(() => execFileSync('qemu-img', ['info', uri], { stdio: 'pipe' }));
}

/** Deleting merges layers under a running guest, which never notices; what is left is short. */
async function deletionMerges(t: ExecutionContext, driver: Driver): Promise<void> {
  const { client, context } = driver;
  const depth = () => {
    const volume = context.store.get('volume', 'database-data')!;
    return chainOf(context.layers.all(), volume.activeLayerId).length;
  };
  await client.unquiesceCompute({ computeId: 'database' });
  await vnf(driver, 'database', 'resume');
  await vnf(driver, 'gateway', 'resume');
  await client.createInstanceSnapshot({
    computeId: 'database',
    snapshotId: 'database-s3',
    volumeIds: disksOf('database'),
  });
  t.is(depth(), 4);
  const { counter } = await vnf(driver, 'database');
  for (const name of ['s1', 's2', 's3']) {
    await client.deleteInstanceSnapshot({ snapshotId: `database-${name}` });
    await client.deleteInstanceSnapshot({ snapshotId: `database-${name}` }); // repeatable
  }
  t.is(depth(), 2);
  await counting(driver, 'database', counter + 5);
  t.regex(await inGuest(driver, 'database', 'tail -n 1 /data/numbers.log'), /^\d+$/);
  const expected = { code: Code.NOT_FOUND, reason: 'SNAPSHOT_UNKNOWN' };
  await throwsRpc(t, client.showInstanceSnapshot({ snapshotId: 'database-s1' }), expected);
}

/**
 * A snapshot carried to another driver brings the machine to life there, from the number it held in
 * memory.
 */
async function importContinues(t: ExecutionContext, driver: Driver): Promise<void> {
  const other = await driverIn(t, await dataFolder(t));
  const { snapshot } = await driver.client.showInstanceSnapshot({ snapshotId: 'gateway-s2' });
  const source = await driver.client.openSnapshotData({ snapshotId: 'gateway-s2' });
  const { locations } = await other.client.beginSnapshotImport({ snapshot: snapshot! });
  for (const location of locations) {
    const from = source.locations.find(({ name }) => name === location.name)!;
    if (from.location.case !== 'localFile' || location.location.case !== 'localFile') {
      return t.fail();
    }
    const [input, output] = [from.location.value.path, location.location.value.path];
    if (from.role === ImageRole.DISK) {
      execFileSync('qemu-img', ['convert', '-U', '-O', 'raw', input, output]);
    } else await copyFile(input, output);
  }
  const data = locations.find(({ name }) => name === 'data')!.location.value as { path: string };
  await truncate(data.path, 1024);
  const seal = () => other.client.sealSnapshotImport({ snapshotId: 'gateway-s2' });
  await throwsRpc(t, seal(), { code: Code.DATA_LOSS, reason: 'IMAGE_SIZE' });
  await throwsRpc(t, other.client.showInstanceSnapshot({ snapshotId: 'gateway-s2' }), {
    code: Code.NOT_FOUND,
    reason: 'SNAPSHOT_UNKNOWN',
  });
  const disk = source.locations.find(({ name }) => name === 'data')!.location.value as {
    path: string;
  };
  execFileSync('qemu-img', ['convert', '-U', '-O', 'raw', disk.path, data.path]);
  t.true((await seal()).snapshot!.imported);
  t.true((await seal()).snapshot!.imported, 'sealing is repeatable');
  await driver.client.closeData({ token: source.locations[0]!.token });

  await startGuest(other, 'gateway');
  await other.client.revertToInstanceSnapshot({
    computeId: 'gateway',
    snapshotId: 'gateway-s2',
    stateAfter: StateAfterRevert.RUNNING,
  });
  const status = await until('the imported guest to answer', 10_000, () => vnf(other, 'gateway'));
  t.is(status.generation, (await vnf(driver, 'gateway')).generation);
  t.true(status.counter > 10);
}

test.serial(
  'A stopped machine is captured and reverted without memory; repeats change nothing',
  async (t) => {
    if (!skipUnless(t, ...tools)) return;
    buildGuestImage();
    const driver = await driverIn(t, await dataFolder(t));
    const { client } = driver;
    await startGuest(driver, 'gateway');
    await booted(driver, 'gateway');
    await inGuest(driver, 'gateway', 'echo before > /data/state; sync');
    const stop = { computeId: 'gateway', operation: ComputeOperation.STOP_GRACEFUL };
    t.is((await client.operateCompute(stop)).compute!.state, ComputeState.STOPPED);
    const request = { computeId: 'gateway', snapshotId: 'cold', volumeIds: disksOf('gateway') };
    const { snapshot } = await client.createInstanceSnapshot(request);
    t.false(snapshot!.memory);
    t.deepEqual(await client.createInstanceSnapshot(request), {
      $typeName: 'nfv.driver.v1.CreateInstanceSnapshotResponse',
      snapshot,
    });
    await throwsRpc(t, client.createInstanceSnapshot({ ...request, name: 'other' }), {
      code: Code.ALREADY_EXISTS,
      reason: 'ID_REUSED',
    });
    await throwsRpc(
      t,
      client.createInstanceSnapshot({ computeId: 'gateway', snapshotId: 'warm', memory: true }),
      { code: Code.FAILED_PRECONDITION, reason: 'COMPUTE_STATE' },
    );
    await client.operateCompute({ computeId: 'gateway', operation: ComputeOperation.START });
    await booted(driver, 'gateway');
    await inGuest(driver, 'gateway', 'echo after > /data/state; sync');
    const { generation } = await vnf(driver, 'gateway');
    const { compute } = await client.revertToInstanceSnapshot({
      computeId: 'gateway',
      snapshotId: 'cold',
      stateAfter: StateAfterRevert.RUNNING,
    });
    t.is(compute!.state, ComputeState.RUNNING);
    t.not((await booted(driver, 'gateway')).generation, generation, 'another boot');
    t.is(await inGuest(driver, 'gateway', 'cat /data/state'), 'before');
    await client.deleteCompute({ computeId: 'gateway' });
    await client.deleteCompute({ computeId: 'gateway' });
    for (const volumeId of disksOf('gateway')) await client.deleteVolume({ volumeId });
    await client.deleteInstanceSnapshot({ snapshotId: 'cold' });
    t.deepEqual([...driver.context.layers.all().keys()], [], 'no layer is left');
    t.is(execFileSync('ls', [join(driver.context.folders.layers)], { encoding: 'utf8' }), '');
  },
);

test.serial('Unknown names and impossible wishes are refused with a reason', async (t) => {
  if (!skipUnless(t, ...tools)) return;
  buildGuestImage();
  const { client } = await driverIn(t, await dataFolder(t));
  const unknown = (reason: string) => ({ code: Code.NOT_FOUND, reason });
  await throwsRpc(t, client.getCompute({ computeId: 'x' }), unknown('COMPUTE_UNKNOWN'));
  await throwsRpc(
    t,
    client.createVolume({ volumeId: 'v', image: 'no-such-image' }),
    unknown('IMAGE_UNKNOWN'),
  );
  const spec = { image: 'demo-guest', volumes: [{ volumeId: 'v', name: 'root', boot: true }] };
  await throwsRpc(t, client.createCompute({ computeId: 'c', spec }), unknown('VOLUME_UNKNOWN'));
  await client.createVolume({ volumeId: 'v', image: 'demo-guest-root' });
  await client.createNetwork({ networkId: 'n' });
  const wire = { ...spec, interfaces: [{ networkId: 'n' }, { networkId: 'n' }] };
  await throwsRpc(
    t,
    client.createCompute({
      computeId: 'c',
      spec: { ...wire, interfaces: [...wire.interfaces, { networkId: 'n' }] },
    }),
    { code: Code.RESOURCE_EXHAUSTED, reason: 'NETWORK_FULL' },
  );
  const injected = { ...spec, guestParameters: { role: 'x init=/bin/sh' } };
  await throwsRpc(t, client.createCompute({ computeId: 'c', spec: injected }), {
    code: Code.INVALID_ARGUMENT,
    reason: 'FIELD_VIOLATION',
  });
  await client.createCompute({ computeId: 'c', spec: wire });
  await throwsRpc(t, client.createCompute({ computeId: 'd', spec }), {
    code: Code.FAILED_PRECONDITION,
    reason: 'VOLUME_ATTACHED',
  });
  await throwsRpc(t, client.deleteVolume({ volumeId: 'v' }), {
    code: Code.FAILED_PRECONDITION,
    reason: 'VOLUME_ATTACHED',
  });
  await throwsRpc(t, client.deleteNetwork({ networkId: 'n' }), {
    code: Code.FAILED_PRECONDITION,
    reason: 'NETWORK_IN_USE',
  });
  await throwsRpc(t, client.holdCompute({ computeId: 'c', deadline: seconds(1) }), {
    code: Code.FAILED_PRECONDITION,
    reason: 'COMPUTE_STATE',
  });
});

test.serial(
  'A guest whose memory comes back from another time has the right time again',
  async (t) => {
    if (!skipUnless(t, ...tools)) return;
    buildGuestImage();
    const driver = await driverIn(t, await dataFolder(t));
    await startPair(driver);
    await snapshotPair(driver, 's1');
    await new Promise((resolve) => setTimeout(resolve, 6000));
    await revertPair(driver, 's1');
    for (const role of roles) {
      const guest = Number(await inGuest(driver, role, 'date +%s'));
      const behind = Date.now() / 1000 - guest;
      t.true(Math.abs(behind) < 3, `${role} is ${behind} s behind`);
      t.is(driver.context.compute(role).clockBehind, false);
    }
  },
);
