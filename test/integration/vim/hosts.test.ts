import test from 'ava';
import { startSystem } from '../../../app/system.ts';
import { VirtualisedComputeResourceService } from '../../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import { ComputeOperation } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { createClient } from '../../../sdk/client.ts';
import { Code } from '../../../sdk/errors.ts';
import { silentLogger } from '../../../sdk/ports/logger.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

test('vim: a resource is put on the host that the request names, and goes back to snapshots there only', async (t) => {
  const dataFolder = await tempFolder(t);
  const hosts = [{ name: 'second', kind: 'wasmvm' }];
  const configuration = { version: 1 as const, drivers: ['wasmvm', 'qemu'], hosts };
  const { kernel } = await startSystem({ dataFolder, configuration, logger: silentLogger });
  t.teardown(() => kernel.drain());
  const transport = kernel.transportFor({ role: 'vnfm', identity: 'test' });
  const compute = createClient(VirtualisedComputeResourceService, transport, { target: 'vim' });
  const allocate = async (computeId: string, targetHost: string) => {
    const { computeData } = await compute.allocateVirtualisedComputeResource({
      ...{ computeId, targetHost, virtualisationEnvironment: 'wasmvm' },
      spec: { image: 'gateway.wasm' },
    });
    return computeData?.driver;
  };
  t.is(await allocate('c-1', ''), 'wasmvm');
  t.is(await allocate('c-2', 'second'), 'second');
  const unknown = await throwsRpc(t, allocate('c-3', 'third'), {
    ...{ code: Code.NOT_FOUND, reason: 'HOST_UNKNOWN' },
  });
  t.regex(unknown.message, /known: wasmvm, qemu, second/);
  await throwsRpc(t, allocate('c-3', 'qemu'), {
    ...{ code: Code.FAILED_PRECONDITION, reason: 'HOST_KIND' },
  });

  await compute.operateVirtualisedComputeResource({
    ...{ computeId: 'c-1', computeOperation: ComputeOperation.START },
  });
  await compute.createVirtualisedComputeResourceSnapshot({
    ...{ computeId: 'c-1', snapshotId: 's-1', memory: true },
  });
  const request = { computeId: 'c-2', snapshotId: 's-1' };
  await throwsRpc(t, compute.revertVirtualisedComputeResourceToSnapshot(request), {
    ...{ code: Code.FAILED_PRECONDITION, reason: 'SNAPSHOT_ELSEWHERE' },
  });
});
