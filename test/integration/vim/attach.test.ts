import test, { type ExecutionContext } from 'ava';
import { startSystem } from '../../../app/system.ts';
import { VirtualisedComputeResourceService } from '../../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import { VirtualisedStorageResourceService } from '../../../gen/nfv/storage/v1/virtualised_storage_resource_pb.js';
import { createClient } from '../../../sdk/client.ts';
import { silentLogger } from '../../../sdk/ports/logger.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const virtualisationEnvironment = 'wasmvm';
const call = (stepId: string) => ({ operationId: 'op-1', stepId });

const attachAndDetach = test.macro({
  title: (_given, mode, rows) =>
    `vim, ${mode}: a volume is attached to a compute resource and detached from it ${rows}`,
  exec: async (t: ExecutionContext, mode: 'direct' | 'indirect', _rows: string) => {
    const dataFolder = await tempFolder(t);
    const vnfm = { resourceManagement: mode };
    const configuration = { version: 1 as const, drivers: [virtualisationEnvironment], vnfm };
    const { kernel } = await startSystem({ dataFolder, configuration, logger: silentLogger });
    t.teardown(() => kernel.drain());
    const transport = kernel.transportFor({ role: 'vnfm', identity: 'test' });
    const target = { target: mode === 'direct' ? 'vim' : 'nfvo' };
    const compute = createClient(VirtualisedComputeResourceService, transport, target);
    const storage = createClient(VirtualisedStorageResourceService, transport, target);
    const provider = { resourceProviderId: mode === 'direct' ? '' : 'vim' };

    await compute.allocateVirtualisedComputeResource({
      ...{ computeId: 'c-1', virtualisationEnvironment, call: call('compute'), ...provider },
      spec: { image: 'gateway.wasm' },
    });
    await storage.allocateVirtualisedStorageResource({
      ...{ storageId: 's-1', virtualisationEnvironment, call: call('storage'), ...provider },
      sizeBytes: 1_048_576n,
    });
    const disks = async () => {
      const request = { computeIds: ['c-1'], ...provider };
      const { queryResult } = await compute.queryVirtualisedComputeResource(request);
      return queryResult[0]!.spec!.volumes.map(({ volumeId, name }) => [volumeId, name]);
    };
    t.deepEqual(await disks(), []);
    await compute.attachVirtualisedStorageResource({
      ...{ computeId: 'c-1', call: call('attach'), ...provider },
      attachment: { volumeId: 's-1', name: 'data' },
    });
    t.deepEqual(await disks(), [['s-1', 'data']]);
    await compute.detachVirtualisedStorageResource({
      ...{ computeId: 'c-1', storageId: 's-1', call: call('detach'), ...provider },
    });
    t.deepEqual(await disks(), []);
  },
});

test(attachAndDetach, 'direct', '[ViVnfm-Vcrm.001 ViVnfm-Vcrm.002]');
test(attachAndDetach, 'indirect', '[OrVi-Vcrm.001 OrVi-Vcrm.002]');
