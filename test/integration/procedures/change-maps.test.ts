import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { ImageRole, MapSource } from '../../../gen/nfv/common/v1/common_pb.js';
import { VirtualisedComputeResourceService } from '../../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import { VirtualisedStorageResourceService } from '../../../gen/nfv/storage/v1/virtualised_storage_resource_pb.js';
import { VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { VnfcSnapshotPackageService } from '../../../gen/nfv/vnfc_snapshot_package/v1/vnfc_snapshot_package_pb.js';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { buildGuestImage, processesOf, tools } from '../drivers/qemu/lab.ts';

const { OVERLAY, HASH_SCAN, FULL, REJECTED } = MapSource;
const target = { target: 'vim' };

test.serial(
  'change maps on qemu: whatever happens between two snapshots, the next package is right and says where its map came from',
  async (t) => {
    t.timeout(900_000);
    if (!skipUnless(t, ...tools, 'qemu-io')) return;
    buildGuestImage();
    const folder = join(await tempFolder(t), 's');
    const start = () => Site.start('test', folder, { version: 1, drivers: ['qemu'] });
    let site = await start();
    let lab = new Lab(site, () => {});
    t.teardown(async () => {
      await lab.clean();
      await site.stop();
    });
    const { id: vnfInstanceId } = await lab.instantiate('qemu', false);
    let agent = await lab.agent(await lab.vnf(vnfInstanceId));
    /** The database writes all the time; so much has to be new. */
    const works = async () => {
      const counter = async () => {
        const states = Object.values(await agent.states());
        return Math.min(...states.map((state) => state.counter));
      };
      const first = await eventually(
        'they answer',
        () => counter().catch(() => undefined),
        180_000,
      );
      const goesOn = () =>
        counter().then(
          (now) => now > first + 5,
          () => false,
        );
      await eventually('the components work', goesOn, 180_000);
    };
    const computeId = async () => {
      const { instantiatedVnfInfo } = await lab.vnf(vnfInstanceId);
      const vnfcs = instantiatedVnfInfo!.vnfcResourceInfo;
      return vnfcs.find(({ vduId }) => vduId === 'database')!.computeResource!.resourceId;
    };
    const take = async () => {
      const taken = await lab.lcm.createVnfSnapshot({ vnfInstanceId });
      await lab.follow(taken.lifecycleOperationOccurrenceId);
      return `${taken.vnfSnapshotInfoId}.database-0`;
    };
    const pack = async (vnfcSnapshotPackageId: string, snapshotId: string, parent = '') => {
      const packages = site.client(VnfcSnapshotPackageService, 'vnfm');
      const request = { vnfcSnapshotPackageId, snapshotId, parentPackageId: parent };
      for await (const { event } of packages.createVnfcSnapshotPackage(request, target)) {
        if (event.case !== 'package') continue;
        return event.value.images.filter(({ role }) => role === ImageRole.DISK);
      }
      throw new Error('the stream ended without a package');
    };
    let count = 0;
    /** Packs with the map, and without any parent: the images are the same. */
    const packed = async (what: string, snapshotId: string) => {
      const parent = count === 0 ? '' : `p-${count}`;
      const mapped = await pack(`p-${++count}`, snapshotId, parent);
      const whole = await pack(`whole-${count}`, snapshotId);
      t.true(whole.every(({ mapSource }) => mapSource === FULL));
      for (const [index, image] of mapped.entries()) {
        t.is(image.root, whole[index]!.root, `${what}: ${image.name}`);
      }
      t.log(
        `${what}: ${mapped.map((i) => `${i.name} ${MapSource[i.mapSource]} ${i.bytesRead} of ${i.logicalBytes} ${i.mapReason}`).join('; ')}`,
      );
      return mapped;
    };
    const isSmall = (what: string, images: Awaited<ReturnType<typeof pack>>) => {
      for (const { name, mapSource, bytesRead, logicalBytes } of images) {
        t.is(mapSource, OVERLAY, `${what}: ${name}`);
        t.true(bytesRead < logicalBytes / 2n, `${what}: ${name}: ${bytesRead} of ${logicalBytes}`);
      }
    };

    await works();
    const first = await take();
    await packed('the first', first);
    await works();
    isSmall('nothing special', await packed('nothing special', await take()));

    await lab.stopAgents();
    await site.kill();
    site = await start();
    lab = new Lab(site, () => {});
    agent = await lab.agent(await lab.vnf(vnfInstanceId));
    await works();
    isSmall('driver killed', await packed('driver killed', await take()));

    const machines = await processesOf(folder, 'qemu-system');
    t.is(machines.length, 2);
    for (const pid of machines) process.kill(pid, 'SIGKILL');
    const power = async (changeStateTo: VnfState) => {
      const operated = await lab.lcm.operateVnf({ vnfInstanceId, changeStateTo });
      await lab.follow(operated.lifecycleOperationOccurrenceId);
    };
    await power(VnfState.STOPPED);
    await power(VnfState.STARTED);
    await works();
    isSmall('QEMU killed', await packed('QEMU killed', await take()));

    const vnfSnapshotInfoId = first.replace('.database-0', '');
    const reverted = await lab.lcm.revertToVnfSnapshot({ vnfInstanceId, vnfSnapshotInfoId });
    await lab.follow(reverted.lifecycleOperationOccurrenceId);
    await works();
    for (const { mapSource, mapReason } of await packed('reverted', await take())) {
      t.is(mapSource, HASH_SCAN);
      t.regex(mapReason, /does not descend/);
    }

    await power(VnfState.STOPPED);
    const compute = site.client(VirtualisedComputeResourceService, 'vnfm');
    const storage = site.client(VirtualisedStorageResourceService, 'vnfm');
    const id = await computeId();
    const known = { computeIds: [id] };
    const { queryResult } = await compute.queryVirtualisedComputeResource(known, target);
    const storageIds = queryResult[0]!.spec!.volumes.map(({ volumeId }) => volumeId);
    const virtualisationEnvironment = 'qemu';
    const extra = { storageId: 'extra', sizeBytes: 8_388_608n, virtualisationEnvironment };
    await storage.allocateVirtualisedStorageResource(extra, target);
    const attachment = { volumeId: 'extra', name: 'extra' };
    await compute.attachVirtualisedStorageResource({ computeId: id, attachment }, target);
    const capture = async (snapshotId: string) => {
      const request = { computeId: id, snapshotId, storageIds: [...storageIds, 'extra'] };
      const answer = await compute.createVirtualisedComputeResourceSnapshot(request, target);
      return answer.snapshot!.images;
    };
    const layers = await capture('with-extra');
    const more = await packed('disk added', 'with-extra');
    isSmall(
      'disk added',
      more.filter(({ name }) => name !== 'extra'),
    );
    t.not(more.find(({ name }) => name === 'extra')!.mapSource, OVERLAY);

    // Behind the driver's back: what the map calls unchanged is something else now.
    for (const { name, file } of layers) {
      if (name === 'extra') continue;
      execFileSync('qemu-io', ['-c', 'write -P 77 0 4M', file!.path], { stdio: 'ignore' });
    }
    await capture('falsified');
    for (const { name, mapSource, sampledBlocks } of await packed('falsified', 'falsified')) {
      if (name === 'extra') continue;
      t.is(mapSource, REJECTED, name);
      t.true(sampledBlocks > 0n);
    }
  },
);
