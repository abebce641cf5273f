import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { StateAfterRevert } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import { tempFolder } from '../../../support/temp-folder.ts';
import { readDataLog } from '../../../support/wasmvm/data-log.ts';
import { capture, roles, startPair, until, vnf } from '../../../support/wasmvm/demo-pair.ts';
import { type DriverClient, openDriver } from '../../../support/wasmvm/open-driver.ts';

const minute = { seconds: 60n, nanos: 0 };

async function open(t: ExecutionContext, seed: number): Promise<DriverClient> {
  const driver = await openDriver(await tempFolder(t), { schedule: { seed } });
  t.teardown(driver.close);
  await startPair(driver.client);
  return driver.client;
}

async function captureTogether(client: DriverClient): Promise<void> {
  const leases: string[] = [];
  for (const computeId of roles) {
    const { lease } = await client.holdCompute({ computeId, deadline: minute });
    leases.push(lease?.leaseId ?? '');
  }
  for (const [index, role] of roles.entries()) await capture(client, role, role, leases[index]);
  for (const [index, computeId] of roles.entries()) {
    await client.releaseCompute({ computeId, leaseId: leases[index] ?? '' });
  }
}

/** The numbers on the disks of the snapshots. */
async function numbersOnDisks(client: DriverClient): Promise<Record<string, number[]>> {
  const found: Record<string, number[]> = {};
  for (const snapshotId of roles) {
    const { locations } = await client.openSnapshotData({ snapshotId, imageNames: ['data'] });
    const [location] = locations;
    if (location?.location.case !== 'localFile') throw new Error('not a local file');
    found[snapshotId] = await readDataLog(location.location.value.path);
    await client.closeData({ token: location.token });
  }
  return found;
}

async function revertBoth(client: DriverClient): Promise<void> {
  for (const computeId of roles) {
    const stateAfter = StateAfterRevert.HELD;
    await client.revertToInstanceSnapshot({ computeId, snapshotId: computeId, stateAfter });
  }
  for (const computeId of roles) await client.releaseCompute({ computeId });
}

for (const seed of [1, 2, 3]) {
  test.serial(
    `wasmvm: captures under a common hold are consistent, memory and disks, with seed ${seed}`,
    async (t) => {
      const client = await open(t, seed);
      await captureTogether(client);
      const { gateway, database } = await numbersOnDisks(client);
      const issued = gateway?.length ?? 0;
      const recorded = database?.length ?? 0;
      t.true(issued >= 3 && issued - 1 <= recorded && recorded <= issued, `${issued} ${recorded}`);
      await until(
        'they count on',
        async () => (await vnf(client, 'database')).counter > issued + 5,
      );
      await revertBoth(client);
      const back = await vnf(client, 'gateway');
      t.true(back.counter >= issued, 'nothing is lost');
      await until(
        'they count on',
        async () => (await vnf(client, 'database')).counter > issued + 20,
      );
      t.is((await vnf(client, 'gateway')).fault, undefined);
      t.is((await vnf(client, 'database')).fault, undefined);
    },
  );

  test.serial(
    `wasmvm: captures one after the other break the invariant, and the guests notice, with seed ${seed}`,
    async (t) => {
      const client = await open(t, seed);
      for (const role of roles) await capture(client, role, role);
      const { gateway, database } = await numbersOnDisks(client);
      t.true(
        (database?.length ?? 0) > (gateway?.length ?? 0) + 1,
        'recorded what was never issued',
      );
      await revertBoth(client);
      await until('the gateway notices', async () => (await vnf(client, 'gateway')).fault);
      t.is((await vnf(client, 'gateway')).fault, 'sequence from the future');
    },
  );
}

test('wasmvm: a data folder with a long path still gives VNF channels', async (t) => {
  const folder = join(await tempFolder(t), 'long'.repeat(30));
  const driver = await openDriver(folder);
  t.teardown(driver.close);
  await startPair(driver.client);
  const { compute } = await driver.client.getCompute({ computeId: 'gateway' });
  t.true(Buffer.byteLength(compute?.vnfChannel ?? '') <= 107);
  t.false(dirname(compute?.vnfChannel ?? '').startsWith(folder));
});
