import { mkdir, readdir, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { Code, type RpcError } from '../../../sdk/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { smallFileSystem } from '../../support/small-file-system.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { buildGuestImage, tools } from '../drivers/qemu/lab.ts';

type Driver = 'wasmvm' | 'qemu';

/** A running demo VNF on a site whose driver allows one folder. */
async function open(t: ExecutionContext, driver: Driver, allowed: string, failpoints = '') {
  const folder = join(await tempFolder(t), 's');
  const configuration = {
    ...{ version: 1 as const, drivers: [driver] },
    [driver]: { snapshotFolders: [allowed] },
  };
  let site = await Site.start('test', folder, configuration, { NFV_FAILPOINTS: failpoints });
  let lab = new Lab(site, () => {});
  t.teardown(async () => {
    await lab.clean();
    await site.stop();
  });
  const vnf = await lab.instantiate(driver, false);
  let agent = await lab.agent(vnf);
  const work = () =>
    agent.states().then(
      (states) => Object.values(states).every(({ counter }) => counter > 3),
      () => false,
    );
  await eventually('the components work', work, 180_000);
  return {
    vnfInstanceId: vnf.id,
    folder,
    get lab() {
      return lab;
    },
    get agent() {
      return agent;
    },
    died: () => site.ended,
    /** Kills the site and starts it again. */
    restart: async () => {
      await lab.stopAgents();
      await site.kill();
      site = await Site.start('test', folder, configuration);
      lab = new Lab(site, () => {});
      agent = await lab.agent(await lab.vnf(vnf.id));
      await eventually('the components work', work, 180_000);
    },
    images: async () => {
      const client = site.client(DriverService, 'vim');
      const { snapshots } = await client.listInstanceSnapshots({}, { target: driver });
      return snapshots.flatMap(({ images }) => images.map(({ file }) => file?.path ?? ''));
    },
  };
}

const atAPath = test.macro({
  title: (_given, driver: Driver) =>
    `procedures on ${driver}: a snapshot is kept in a folder of the caller, and goes with it [5.1.3.2/path]`,
  exec: async (t: ExecutionContext, driver: Driver) => {
    t.timeout(600_000);
    if (driver === 'qemu') {
      if (!skipUnless(t, ...tools)) return;
      await buildGuestImage();
    }
    const allowed = join(await tempFolder(t), 'allowed');
    const folder = join(allowed, 'monday');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'mine'), 'of the caller');
    const site = await open(t, driver, allowed);
    const { vnfInstanceId } = site;
    const take = async (more: object) => {
      const taken = await site.lab.lcm.createVnfSnapshot({ vnfInstanceId, ...more });
      await site.lab.follow(taken.lifecycleOperationOccurrenceId);
      return taken.vnfSnapshotInfoId;
    };
    const vnfSnapshotInfoId = await take({ folder });
    const then = site.agent.handled.at(-1)!.states;
    const paths = await site.images();
    // Two components, each with memory, device state and disks.
    t.is(paths.length, driver === 'qemu' ? 8 : 6);
    for (const path of paths) {
      t.true(path.startsWith(`${folder}/${vnfSnapshotInfoId}.`), path);
      t.true((await stat(path)).isFile());
    }
    // The next one lies on top of the first, and is replaced by one in the folder.
    const replacesVnfSnapshotInfoId = await take({});
    const second = await take({ folder, replacesVnfSnapshotInfoId });
    t.true((await site.images()).every((path) => path.startsWith(`${folder}/`)));

    await site.restart();
    const revert = async () => {
      await site.agent.askAll('wreck');
      const { lifecycleOperationOccurrenceId: id } = await site.lab.lcm.revertToVnfSnapshot({
        ...{ vnfInstanceId, vnfSnapshotInfoId },
      });
      t.is((await site.lab.follow(id)).operationState, OperationState.COMPLETED);
      for (const [vnfc, { counter, generation }] of Object.entries(then)) {
        t.like(site.agent.handled.at(-1)!.states[vnfc], { counter, generation }, vnfc);
      }
    };
    await revert();
    await rename(folder, `${folder}.away`);
    const lost = await site.lab.lcm.revertToVnfSnapshot({ vnfInstanceId, vnfSnapshotInfoId });
    const { lifecycleOperationOccurrenceId: failing } = lost;
    const error = await t.throwsAsync(site.lab.follow(failing));
    t.regex(error!.message, /ROLLED_BACK.*(is not at .*monday|No such file)/s);
    await site.agent.states();
    await rename(`${folder}.away`, folder);
    await revert();
    const packed = await site.lab.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
    await site.lab.follow(packed.lifecycleOperationOccurrenceId);
    await site.restart();
    await revert();

    for (const id of [vnfSnapshotInfoId, second]) {
      const deleted = await site.lab.lcm.deleteVnfSnapshotInfo({ vnfSnapshotInfoId: id });
      await site.lab.follow(deleted.lifecycleOperationOccurrenceId);
    }
    await eventually(
      'only what was there before is in the folder',
      async () => (await readdir(folder)).join() === 'mine',
      60_000,
    );
    const before = await site.agent.states();
    await eventually(
      'the VNF works on',
      async () =>
        Object.entries(await site.agent.states()).every(
          ([vnfc, { counter }]) => counter > before[vnfc]!.counter,
        ),
      60_000,
    );
  },
});

test.serial(atAPath, 'wasmvm');
test.serial(atAPath, 'qemu');

const refused = test.macro({
  title: (_given, driver: Driver) =>
    `snapshot folder on ${driver}: what the driver does not allow is refused, and nothing is done`,
  exec: async (t: ExecutionContext, driver: Driver) => {
    t.timeout(300_000);
    if (driver === 'qemu') {
      if (!skipUnless(t, ...tools)) return;
      await buildGuestImage();
    }
    const root = await tempFolder(t);
    const allowed = join(root, 'allowed');
    const elsewhere = join(root, 'elsewhere');
    for (const path of [allowed, elsewhere]) await mkdir(path);
    await symlink(elsewhere, join(allowed, 'out'));
    const { lab, vnfInstanceId, images } = await open(t, driver, allowed);
    const take = (folder: string, more = {}) =>
      lab.lcm.createVnfSnapshot({ vnfInstanceId, folder, ...more });
    for (const folder of [elsewhere, `${allowed}/../elsewhere`, 'allowed', `${allowed}-2`]) {
      const refusal = await throwsRpc(t, take(folder, { validateOnly: true }), {
        ...{ code: Code.UNIMPLEMENTED, reason: 'CAPABILITY_MISSING' },
      });
      t.true(refusal.message.includes(`only in or below ${allowed}`), refusal.message);
    }
    for (const [folder, why] of [
      [join(allowed, 'out'), /not in or below one that this driver may use/],
      [join(allowed, 'absent'), /cannot be used: ENOENT/],
    ] as const) {
      const { lifecycleOperationOccurrenceId: id } = await take(folder);
      const ended = await t.throwsAsync(lab.follow(id));
      t.regex(ended!.message, /ROLLED_BACK/);
      t.regex(ended!.message, why);
    }
    t.deepEqual([await images(), await readdir(elsewhere)], [[], []]);
    t.deepEqual(await readdir(allowed), ['out']);
  },
});

test.serial(refused, 'wasmvm');
test.serial(refused, 'qemu');

const full = test.macro({
  title: (_given, driver: Driver) =>
    `snapshot folder on ${driver}: a full one leaves nothing behind, and the VNF runs on`,
  exec: async (t: ExecutionContext, driver: Driver) => {
    t.timeout(300_000);
    if (driver === 'qemu') {
      if (!skipUnless(t, ...tools)) return;
      await buildGuestImage();
    }
    const allowed = await smallFileSystem(t, 262_144);
    if (allowed === undefined) return;
    const { lab, agent, vnfInstanceId, images, folder } = await open(t, driver, allowed);
    const { lifecycleOperationOccurrenceId: id } = await lab.lcm.createVnfSnapshot({
      ...{ vnfInstanceId, folder: allowed },
    });
    const ended = await t.throwsAsync(lab.follow(id));
    t.regex(ended!.message, /ROLLED_BACK.*(space|full)/i);
    t.is((ended as RpcError).reason, 'STORE_FULL');
    t.deepEqual(await images(), []);
    t.deepEqual(
      (await readdir(allowed)).filter((name) => name !== 'lost+found'),
      [],
    );
    t.deepEqual(await readdir(join(folder, 'plugins', driver, 'snapshots')), []);
    const before = await agent.states();
    await eventually(
      'the VNF works on',
      async () =>
        Object.entries(await agent.states()).every(
          ([vnfc, { counter }]) => counter > before[vnfc]!.counter,
        ),
      60_000,
    );
  },
});

test.serial(full, 'wasmvm');
test.serial(full, 'qemu');

const killed = test.macro({
  title: (_given, driver: Driver, failpoint: string) =>
    `snapshot folder on ${driver}: kill -9 at ${failpoint} leaves nothing in it, and the VNF runs on`,
  exec: async (t: ExecutionContext, driver: Driver, failpoint: string) => {
    t.timeout(300_000);
    if (driver === 'qemu') {
      if (!skipUnless(t, ...tools)) return;
      await buildGuestImage();
    }
    const allowed = await tempFolder(t);
    const site = await open(t, driver, allowed, failpoint);
    const { vnfInstanceId } = site;
    const request = { vnfInstanceId, folder: allowed };
    const { lifecycleOperationOccurrenceId: id } = await site.lab.lcm.createVnfSnapshot(request);
    await site.died();
    t.not((await readdir(allowed)).length, 0, 'it died in the midst of it');
    await site.restart();
    t.regex((await t.throwsAsync(site.lab.follow(id)))!.message, /ROLLED_BACK/);
    await eventually(
      'nothing is left in the folder',
      async () => (await readdir(allowed)).length === 0,
      60_000,
    );
    t.deepEqual(await site.images(), []);
    const again = await site.lab.lcm.createVnfSnapshot(request);
    await site.lab.follow(again.lifecycleOperationOccurrenceId);
    t.true((await site.images()).every((path) => path.startsWith(allowed)));
  },
});

test.serial(killed, 'wasmvm', 'wasmvm.snapshot.before-record=1*off->1*kill');
test.serial(killed, 'qemu', 'qemu.capture.moving=1*off->1*kill');
test.serial(killed, 'qemu', 'qemu.capture.durable=1*kill');
