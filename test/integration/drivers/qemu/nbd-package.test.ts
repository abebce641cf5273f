import test, { type ExecutionContext } from 'ava';
import { MapSource } from '../../../../gen/nfv/common/v1/common_pb.js';
import { VirtualisedComputeResourceService } from '../../../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import { DataTransport, DriverService } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import { VirtualisedStorageResourceService } from '../../../../gen/nfv/storage/v1/virtualised_storage_resource_pb.js';
import { VnfcSnapshotPackageService } from '../../../../gen/nfv/vnfc_snapshot_package/v1/vnfc_snapshot_package_pb.js';
import { qemuPlugin } from '../../../../plugins/drivers/qemu/plugin.ts';
import { repositoryPlugin } from '../../../../plugins/repository/plugin.ts';
import { vimPlugin } from '../../../../plugins/vim/plugin.ts';
import { createClient } from '../../../../sdk/client.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { testKernel } from '../../../support/test-kernel.ts';
import { run } from '../../repository/sources/images.ts';
import { buildGuestImage, tools } from './lab.ts';

/** A VIM with the QEMU driver and a machine that stands still: its disks change when we write. */
async function standingMachine(t: ExecutionContext) {
  buildGuestImage();
  const kernel = await testKernel(t);
  await kernel.add(qemuPlugin);
  await kernel.add(repositoryPlugin);
  await kernel.add(vimPlugin, { config: { drivers: ['qemu'], repository: 'repository' } });
  await kernel.start();
  const vnfm = kernel.transportFor({ role: 'vnfm', identity: 'test' });
  const nfvi = kernel.transportFor({ role: 'vim', identity: 'test' });
  const compute = createClient(VirtualisedComputeResourceService, vnfm, { target: 'vim' });
  const storage = createClient(VirtualisedStorageResourceService, vnfm, { target: 'vim' });
  const packages = createClient(VnfcSnapshotPackageService, vnfm, { target: 'vim' });
  const driver = createClient(DriverService, nfvi, { target: 'qemu' });
  let step = 0;
  const call = () => ({ operationId: 'op-test', stepId: `step-${++step}` });
  const virtualisationEnvironment = 'qemu';
  const image = 'demo-guest-data';
  const disk = { storageId: 'disk', image, virtualisationEnvironment, call: call() };
  await storage.allocateVirtualisedStorageResource(disk);
  const spec = { image: 'demo-guest', volumes: [{ volumeId: 'disk', name: 'data' }] };
  const machine = { computeId: 'machine', virtualisationEnvironment, spec, call: call() };
  await compute.allocateVirtualisedComputeResource(machine);
  return {
    write: async (pattern: number, at: string) => {
      const { location } = await driver.openVolumeData({ volumeId: 'disk' });
      if (location?.location.case !== 'localFile') throw new Error('the volume is no file');
      await run('qemu-io', '-c', `write -P ${pattern} ${at} 256k`, location.location.value.path);
      await driver.closeData({ token: location.token });
    },
    snapshot: async (snapshotId: string) => {
      const wanted = { computeId: 'machine', snapshotId, storageIds: ['disk'], call: call() };
      await compute.createVirtualisedComputeResourceSnapshot(wanted);
    },
    pack: async (id: string, snapshotId: string, transport: DataTransport, parent = '') => {
      const events = packages.createVnfcSnapshotPackage({
        ...{ vnfcSnapshotPackageId: id, snapshotId, transport, parentPackageId: parent },
        call: call(),
      });
      for await (const { event } of events) {
        if (event.case === 'package') return event.value.images.find((i) => i.name === 'data')!;
      }
      throw new Error('the stream ended without a package');
    },
  };
}

test('A disk that is packed over NBD has the root of the file, and the map of its layers', async (t) => {
  if (!skipUnless(t, ...tools, 'qemu-io')) return;
  const { write, snapshot, pack } = await standingMachine(t);
  await write(7, '1M');
  await snapshot('s1');
  const first = await pack('file-1', 's1', DataTransport.LOCAL_FILE);
  const firstNbd = await pack('nbd-1', 's1', DataTransport.NBD);
  t.is(firstNbd.root, first.root);
  await write(9, '3M');
  await snapshot('s2');
  const second = await pack('file-2', 's2', DataTransport.LOCAL_FILE);
  const mapped = await pack('nbd-2', 's2', DataTransport.NBD, 'nbd-1');
  t.is(mapped.root, second.root);
  t.not(mapped.root, first.root);
  t.is(mapped.mapSource, MapSource.OVERLAY, mapped.mapReason);
  t.true(mapped.bytesRead < mapped.logicalBytes / 4n, `${mapped.bytesRead} bytes were read`);
});
