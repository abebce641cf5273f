import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ImageFormat, MapSource } from '../../../gen/nfv/common/v1/common_pb.js';
import { VirtualisedComputeResourceService } from '../../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import { ComputeOperation, StateAfterRevert } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { VirtualisedNetworkResourceService } from '../../../gen/nfv/network/v1/virtualised_network_resource_pb.js';
import { RepositoryService } from '../../../gen/nfv/repository/v1/repository_pb.js';
import { VirtualisedStorageResourceService } from '../../../gen/nfv/storage/v1/virtualised_storage_resource_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { VnfcSnapshotPackageService } from '../../../gen/nfv/vnfc_snapshot_package/v1/vnfc_snapshot_package_pb.js';
import { wasmvmPlugin } from '../../../plugins/drivers/wasmvm/plugin.ts';
import { repositoryPlugin } from '../../../plugins/repository/plugin.ts';
import { vimPlugin } from '../../../plugins/vim/plugin.ts';
import { createClient } from '../../../sdk/client.ts';
import { Code } from '../../../sdk/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { testKernel } from '../../support/test-kernel.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const computeId = 'vnf-1.gateway-0';
const storageId = 'vnf-1.gateway-0.data';

/** A VIM with the wasmvm driver and a repository, called as a VNFM. */
async function vimWithDriver(t: ExecutionContext) {
  const kernel = await testKernel(t);
  await kernel.add(wasmvmPlugin);
  await kernel.add(repositoryPlugin);
  await kernel.add(vimPlugin, { config: { drivers: ['wasmvm'], repository: 'repository' } });
  await kernel.start();
  const vnfm = kernel.transportFor({ role: 'vnfm', identity: 'test' });
  let step = 0;
  return {
    compute: createClient(VirtualisedComputeResourceService, vnfm, { target: 'vim' }),
    storage: createClient(VirtualisedStorageResourceService, vnfm, { target: 'vim' }),
    network: createClient(VirtualisedNetworkResourceService, vnfm, { target: 'vim' }),
    packages: createClient(VnfcSnapshotPackageService, vnfm, { target: 'vim' }),
    repository: createClient(RepositoryService, vnfm, { target: 'repository' }),
    call: () => ({ operationId: 'op-test', stepId: `step-${++step}` }),
  };
}

type Vim = Awaited<ReturnType<typeof vimWithDriver>>;

async function runningGateway({ compute, storage, network, call }: Vim): Promise<void> {
  const virtualisationEnvironment = 'wasmvm';
  await network.allocateVirtualisedNetworkResource({
    networkResourceId: 'vnf-1.internal',
    virtualisationEnvironment,
    call: call(),
  });
  await storage.allocateVirtualisedStorageResource({
    storageId,
    virtualisationEnvironment,
    sizeBytes: 8n * 1024n * 1024n,
    call: call(),
  });
  await compute.allocateVirtualisedComputeResource({
    computeId,
    virtualisationEnvironment,
    spec: {
      image: 'gateway.wasm',
      volumes: [{ volumeId: storageId, name: 'data' }],
      interfaces: [{ networkId: 'vnf-1.internal', ipAddress: '10.10.0.2/24' }],
      guestParameters: { role: 'gateway' },
    },
    call: call(),
  });
  await compute.operateVirtualisedComputeResource({
    computeId,
    computeOperation: ComputeOperation.START,
    call: call(),
  });
}

async function snapshot({ compute, call }: Vim, snapshotId: string) {
  const made = await compute.createVirtualisedComputeResourceSnapshot({
    computeId,
    snapshotId,
    memory: true,
    storageIds: [storageId],
    call: call(),
  });
  return made.snapshot!;
}

async function pack({ packages, call }: Vim, id: string, snapshotId: string, parent = '') {
  const events = packages.createVnfcSnapshotPackage({
    vnfcSnapshotPackageId: id,
    snapshotId,
    parentPackageId: parent,
    imagePrefix: 'gateway-0/',
    call: call(),
  });
  for await (const { event } of events) if (event.case === 'package') return event.value;
  throw new Error('the stream ended without a package');
}

test('vim: a captured VNFC is packed, extracted under another id and reverted to [Vim.002 Vim.003 Vnfm.007 6.3/vim-support 6.3/vim-execute]', async (t) => {
  const vim = await vimWithDriver(t);
  await runningGateway(vim);
  const taken = await snapshot(vim, 'snap-1');
  t.deepEqual(taken.images.map((image) => image.name).sort(), ['data', 'device-state', 'memory']);
  t.is(taken.driver, 'wasmvm');
  const packed = await pack(vim, 'pkg-1', 'snap-1');
  t.deepEqual(packed.images.map((image) => image.name).sort(), [
    'gateway-0/data',
    'gateway-0/device-state',
    'gateway-0/memory',
  ]);
  const events = vim.packages.extractVnfcSnapshotPackage({
    vnfcSnapshotPackageId: 'pkg-1',
    snapshotId: 'snap-2',
    virtualisationEnvironment: 'wasmvm',
    imagePrefix: 'gateway-0/',
    snapshot: taken,
    call: vim.call(),
  });
  let extracted = '';
  for await (const { event } of events) {
    if (event.case === 'snapshot') extracted = event.value.snapshotId;
  }
  t.is(extracted, 'snap-2');
  const { computeData } = await vim.compute.revertVirtualisedComputeResourceToSnapshot({
    computeId,
    snapshotId: 'snap-2',
    stateAfter: StateAfterRevert.HELD,
    call: vim.call(),
  });
  t.is(computeData?.state, ComputeState.PAUSED);
  const again = await pack(vim, 'pkg-2', 'snap-2');
  const roots = (images: typeof packed.images) =>
    images.map(({ name, root }) => `${name} ${root}`).sort();
  t.deepEqual(roots(again.images), roots(packed.images), 'what came back is what was packed');
});

test('vim: a second package takes the map of the driver and stores only what changed', async (t) => {
  const vim = await vimWithDriver(t);
  await runningGateway(vim);
  await snapshot(vim, 'snap-1');
  const first = await pack(vim, 'pkg-1', 'snap-1');
  await eventually('some ticks', () => new Promise((resolve) => setTimeout(resolve, 300, true)));
  await snapshot(vim, 'snap-2');
  const second = await pack(vim, 'pkg-2', 'snap-2', 'pkg-1');
  const disk = second.images.find((image) => image.name === 'gateway-0/data')!;
  t.is(disk.mapSource, MapSource.DRIVER_LOG, disk.mapReason);
  t.true(disk.bytesRead < disk.logicalBytes / 2n, `${disk.bytesRead} bytes were read`);
  const stored = (images: typeof first.images) =>
    images.reduce((sum, image) => sum + image.storedBytes, 0n);
  t.true(stored(second.images) < stored(first.images));
});

test('vim: a package travels as an archive into an empty repository', async (t) => {
  const vim = await vimWithDriver(t);
  await runningGateway(vim);
  await snapshot(vim, 'snap-1');
  const packed = await pack(vim, 'pkg-1', 'snap-1');
  const path = join(await tempFolder(t), 'package.zip');
  for await (const { event } of vim.repository.exportPackage({
    packageId: 'pkg-1',
    path,
    diskFormat: ImageFormat.RAW_LZ4,
    prove: true,
  })) {
    if (event.case === 'result') t.true(event.value.provenBlocks > 0n);
  }
  const other = await vimWithDriver(t);
  for await (const { event } of other.repository.importPackage({ path })) {
    if (event.case !== 'package') continue;
    t.is(event.value.packageId, 'pkg-1');
    t.deepEqual(
      event.value.images.map(({ name, root, sourceSnapshotId }) => [name, root, sourceSnapshotId]),
      packed.images.map(({ name, root, sourceSnapshotId }) => [name, root, sourceSnapshotId]),
    );
    t.deepEqual(event.value.labels, packed.labels);
  }
});

test('vim: unknown resources and drivers are NOT_FOUND with a reason of their own', async (t) => {
  const vim = await vimWithDriver(t);
  await throwsRpc(
    t,
    vim.compute.operateVirtualisedComputeResource({
      computeId: 'nobody',
      computeOperation: ComputeOperation.START,
      call: vim.call(),
    }),
    { code: Code.NOT_FOUND, reason: 'COMPUTE_UNKNOWN' },
  );
  await throwsRpc(
    t,
    vim.storage.allocateVirtualisedStorageResource({
      storageId: 's-1',
      virtualisationEnvironment: 'vax',
      sizeBytes: 512n,
      call: vim.call(),
    }),
    { code: Code.NOT_FOUND, reason: 'DRIVER_UNKNOWN' },
  );
  await throwsRpc(t, pack(vim, 'pkg-1', 'no-such-snapshot'), {
    code: Code.NOT_FOUND,
    reason: 'SNAPSHOT_UNKNOWN',
  });
});
