import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ComputeState } from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { isRpcError } from '../../../../sdk/errors.ts';
import { writeImage } from '../../../conformance/driver/copy-image.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { capture, startComponent, until, vnf } from '../../../support/wasmvm/demo-pair.ts';
import { startDriverProcess } from '../../../support/wasmvm/driver-process.ts';
import {
  type DriverClient,
  type OpenDriver,
  openDriver,
} from '../../../support/wasmvm/open-driver.ts';

/** A step that reaches the failpoint, and that a caller repeats after the crash. */
type Case = { failpoint: string; step: (client: DriverClient) => Promise<unknown> };

const sizeBytes = 8n * 1024n * 1024n;
const revert = (client: DriverClient) =>
  client.revertToInstanceSnapshot({ computeId: 'gateway', snapshotId: 'first' });

const cases: readonly Case[] = [
  {
    failpoint: 'wasmvm.volume.before-record',
    step: (client) => client.createVolume({ volumeId: 'new', sizeBytes }),
  },
  {
    failpoint: 'wasmvm.volume.before-remove',
    step: (client) => client.deleteVolume({ volumeId: 'spare' }),
  },
  {
    failpoint: 'wasmvm.compute.before-record',
    step: (client) => client.createCompute({ computeId: 'new', spec: { image: 'gateway.wasm' } }),
  },
  {
    failpoint: 'wasmvm.program.before-rename',
    step: (client) => client.createCompute({ computeId: 'new', spec: { image: 'database.wasm' } }),
  },
  {
    failpoint: 'wasmvm.compute.before-delete',
    step: (client) => client.deleteCompute({ computeId: 'idle' }),
  },
  {
    failpoint: 'wasmvm.start.after-record',
    step: (client) => client.operateCompute({ computeId: 'idle', operation: 1 }),
  },
  {
    failpoint: 'wasmvm.stop.before-record',
    step: (client) => client.operateCompute({ computeId: 'gateway', operation: 3 }),
  },
  {
    failpoint: 'wasmvm.capture.after-memory',
    step: (client) => capture(client, 'gateway', 'second'),
  },
  {
    failpoint: 'wasmvm.snapshot.after-capture',
    step: (client) => capture(client, 'gateway', 'second'),
  },
  {
    failpoint: 'wasmvm.snapshot.before-record',
    step: (client) => capture(client, 'gateway', 'second'),
  },
  {
    failpoint: 'wasmvm.snapshot.before-remove',
    step: (client) => client.deleteInstanceSnapshot({ snapshotId: 'first' }),
  },
  { failpoint: 'wasmvm.revert.after-copy', step: revert },
  { failpoint: 'wasmvm.revert.before-commit', step: revert },
  { failpoint: 'wasmvm.revert.after-commit', step: revert },
  { failpoint: 'wasmvm.import.before-begun', step: importFirst },
  { failpoint: 'wasmvm.import.before-sealed', step: importFirst },
];

for (const { failpoint, step } of cases) {
  test.serial(
    `wasmvm: killed at ${failpoint} it has all or nothing of the step, and the step can be repeated`,
    async (t) => {
      const folder = await prepared(t);
      const killed = await startDriverProcess(folder, {
        environment: { NFV_FAILPOINTS: `${failpoint}=1*kill` },
      });
      await t.throwsAsync(step(killed.client), undefined, 'the driver died');
      t.is(await killed.ended, 'SIGKILL');
      await killed.kill();
      const after = await startDriverProcess(folder);
      t.teardown(after.kill);
      await assertWhole(t, folder, after.client);
      await step(after.client);
      await assertWhole(t, folder, after.client);
    },
  );
}

let template = '';
test.before('a data folder is prepared', async () => {
  template = await mkdtemp(join(tmpdir(), 'micromano-'));
  const driver = await openDriver(template);
  await prepare(driver);
  await driver.close();
});
test.after.always(() => rm(template, { recursive: true, force: true }));

/** A copy of the data folder that was prepared. */
async function prepared(t: ExecutionContext): Promise<string> {
  const folder = await tempFolder(t);
  await cp(template, folder, { recursive: true });
  return folder;
}

/** A running guest with a snapshot, a stopped one, and a free volume. */
async function prepare({ client }: OpenDriver): Promise<void> {
  await startComponent(client, 'gateway');
  await until('it runs', () => vnf(client, 'gateway'));
  await capture(client, 'gateway', 'first');
  await client.createCompute({ computeId: 'idle', spec: { image: 'gateway.wasm' } });
  await client.createVolume({ volumeId: 'spare', sizeBytes });
}

async function importFirst(client: DriverClient): Promise<void> {
  const { snapshot } = await client.showInstanceSnapshot({ snapshotId: 'first' });
  if (!snapshot) throw new Error('no snapshot');
  const again = { ...snapshot, snapshotId: 'imported' };
  const { locations: targets } = await client.beginSnapshotImport({ snapshot: again });
  const { locations } = await client.openSnapshotData({ snapshotId: 'first' });
  for (const [index, source] of locations.entries()) {
    const target = targets[index];
    if (target) await writeImage(source, target);
  }
  await client.sealSnapshotImport({ snapshotId: 'imported' });
}

/** Every record has its files, every file its record, and every guest that should run does, unheld. */
async function assertWhole(
  t: ExecutionContext,
  folder: string,
  client: DriverClient,
): Promise<void> {
  const { computes } = await client.listComputes({});
  for (const { computeId, state, hold } of computes) {
    t.is(hold, undefined);
    t.true(state === ComputeState.RUNNING || state === ComputeState.STOPPED, computeId);
    if (state === ComputeState.RUNNING && computeId === 'gateway') {
      await until('it runs', () => vnf(client, 'gateway'));
    }
  }
  const { volumes } = await client.listVolumes({});
  const files = await readdir(join(folder, 'volumes'));
  t.is(files.length, volumes.length, 'no file of a volume without a record');
  for (const { storageId } of volumes) t.true(files.some((name) => name.startsWith(storageId)));
  const { snapshots } = await client.listInstanceSnapshots({});
  const folders = await readdir(join(folder, 'snapshots'));
  const begun = folders.filter((id) => !snapshots.some(({ snapshotId }) => snapshotId === id));
  // An import that was begun is there for its caller, but is no snapshot.
  t.true(begun.every((id) => id === 'imported'));
  for (const { snapshotId, images } of snapshots) {
    const names = await readdir(join(folder, 'snapshots', snapshotId));
    t.deepEqual(names.sort(), images.map(({ name }) => `${name}.img`).sort());
  }
  t.false((await readdir(join(folder, 'programs'))).some((name) => name.endsWith('.tmp')));
}

test.serial(
  'wasmvm: killed at each commit of its records in turn, it never has half a snapshot',
  async (t) => {
    const folder = await prepared(t);
    for (let hit = 0; ; hit++) {
      t.true(hit < 20, 'a run ends untouched');
      const driver = await startDriverProcess(folder, {
        environment: { NFV_FAILPOINTS: `records.before-commit=${hit}*off->1*kill` },
      }).catch(() => undefined);
      // Killed while it started: the next start must not mind.
      if (!driver) continue;
      const call = capture(driver.client, 'gateway', `taken-${hit}`);
      const error = await call.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      if (error === undefined) {
        await driver.stop();
        break;
      }
      t.true(isRpcError(error));
      await driver.kill();
    }
    const last = await startDriverProcess(folder);
    t.teardown(last.kill);
    await assertWhole(t, folder, last.client);
  },
);
