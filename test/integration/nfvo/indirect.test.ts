import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { startSystem } from '../../../app/system.ts';
import { VirtualisedComputeResourceService } from '../../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import { VnfLifecycleOperationGrantingService } from '../../../gen/nfv/grant/v1/grant_pb.js';
import { OperationType } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { nfvoPlugin } from '../../../plugins/nfvo/plugin.ts';
import { createClient } from '../../../sdk/client.ts';
import { Code } from '../../../sdk/errors.ts';
import { definePlugin } from '../../../sdk/plugin.ts';
import { silentLogger } from '../../../sdk/ports/logger.ts';
import { fakeVim } from '../../support/fake-vim.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { testKernel } from '../../support/test-kernel.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';
import { FakeWorld } from '../../support/vnfm/fake-world.ts';

const create = 'CreateVirtualisedComputeResourceSnapshot';
const noSnapshots = { name: 'no snapshots', resourceCalls: [create], decision: 'refuse' };

/** An NFVO before a VIM in memory, called as a VNFM. */
async function indirect(t: ExecutionContext, rules: unknown[] = []) {
  const world = new FakeWorld();
  t.teardown(() => world.close());
  const vim = definePlugin({
    ...{ name: 'vim', role: 'vim', version: '0.1.0' },
    start: async () => ({ services: fakeVim(world) }),
  });
  const kernel = await testKernel(t);
  await kernel.add(vim, {});
  await kernel.add(nfvoPlugin, { config: { vnfm: 'vnfm', vim: 'vim', policy: { rules } } });
  await kernel.start();
  const vnfm = kernel.transportFor({ role: 'vnfm', identity: 'test' });
  return {
    world,
    granting: createClient(VnfLifecycleOperationGrantingService, vnfm, { target: 'nfvo' }),
    compute: createClient(VirtualisedComputeResourceService, vnfm, { target: 'nfvo' }),
  };
}

const call = { operationId: 'op-1', stepId: 'step-1' };
const allocation = {
  ...{ computeId: 'c-1', virtualisationEnvironment: 'fake', call, resourceProviderId: 'vim' },
  spec: { image: 'image' },
};

test('nfvo, indirect: a call reaches the VIM that it names, and is listed under its grant', async (t) => {
  const { compute, granting, world } = await indirect(t);
  const grantRequest = { vnfLcmOpOccId: 'op-1', operation: OperationType.INSTANTIATE };
  const { grant } = await granting.grantVnfLifecycleOperation({ grantRequest });
  const { computeData } = await compute.allocateVirtualisedComputeResource(allocation);
  t.is(computeData?.computeId, 'c-1');
  t.truthy(world.guest('c-1'));
  await compute.queryVirtualisedComputeResource({ resourceProviderId: 'vim' });
  const { resourceCalls } = (await granting.getGrant({ grantId: grant!.id })).grant!;
  t.is(resourceCalls.length, 1, 'looking is not listed');
  t.like(resourceCalls[0], {
    method: 'AllocateVirtualisedComputeResource',
    ...{ resourceId: 'c-1', resourceProviderId: 'vim', refusedBy: '' },
  });
});

test('nfvo, indirect: errors of the VIM come back unchanged', async (t) => {
  const { compute } = await indirect(t);
  const request = { computeId: 'c-9', deadline: { seconds: 1n }, call, resourceProviderId: 'vim' };
  await throwsRpc(t, compute.holdVirtualisedComputeResource(request), {
    code: Code.NOT_FOUND,
    reason: 'COMPUTE_UNKNOWN',
  });
});

test('nfvo, indirect: a call that names no VIM, or one that is not there, is refused', async (t) => {
  const { compute } = await indirect(t);
  const query = (resourceProviderId: string) =>
    compute.queryVirtualisedComputeResource({ resourceProviderId });
  const nobody = await throwsRpc(t, query(''), {
    code: Code.INVALID_ARGUMENT,
    reason: 'RESOURCE_PROVIDER_MISSING',
  });
  t.is(nobody.violations[0]?.field, 'resource_provider_id');
  const unknown = await throwsRpc(t, query('vim-9'), {
    code: Code.NOT_FOUND,
    reason: 'RESOURCE_PROVIDER_UNKNOWN',
  });
  t.is(unknown.metadata.known, 'vim');
});

test('nfvo, indirect: what a rule refuses does not reach the VIM, and is listed as refused', async (t) => {
  const rule = { ...noSnapshots, vnfInstanceIds: ['vnf-1'], reason: 'quota' };
  const { compute, granting, world } = await indirect(t, [rule]);
  await compute.allocateVirtualisedComputeResource(allocation);
  const grantRequest = {
    ...{ vnfLcmOpOccId: 'op-1', vnfInstanceId: 'vnf-1' },
    operation: OperationType.CREATE_SNAPSHOT,
  };
  const { grant } = await granting.grantVnfLifecycleOperation({ grantRequest });
  const request = { computeId: 'c-1', snapshotId: 's-1', call, resourceProviderId: 'vim' };
  const error = await throwsRpc(t, compute.createVirtualisedComputeResourceSnapshot(request), {
    code: Code.PERMISSION_DENIED,
    reason: 'RESOURCE_REFUSED',
  });
  t.like(error.metadata, { rule: 'no snapshots', method: create });
  t.true(error.message.endsWith('quota'), error.message);
  t.is(world.snapshots.size, 0);
  const { resourceCalls } = (await granting.getGrant({ grantId: grant!.id })).grant!;
  t.like(resourceCalls[0], { method: create, resourceId: 's-1', refusedBy: 'no snapshots' });
});

test('nfvo, indirect: a rule that would keep somebody from letting go keeps it from starting', async (t) => {
  for (const method of ['Release', 'Unquiesce', 'Terminate', 'Query']) {
    const name = `${method}VirtualisedComputeResource`;
    const error = await t.throwsAsync(indirect(t, [{ ...noSnapshots, resourceCalls: [name] }]));
    t.regex(error!.message, /rules\[0\]\.resourceCalls: .* cannot be refused/, name);
  }
});

test('system, indirect: the kernel lets a VNFM reach the VIM through the NFVO alone', async (t) => {
  const dataFolder = await tempFolder(t);
  const vnfm = { resourceManagement: 'indirect' };
  const configuration = { version: 1 as const, drivers: ['wasmvm'], vnfm };
  const { kernel } = await startSystem({ dataFolder, configuration, logger: silentLogger });
  t.teardown(() => kernel.drain());
  const transport = kernel.transportFor({ role: 'vnfm', identity: 'test' });
  const at = (target: string) =>
    createClient(VirtualisedComputeResourceService, transport, { target });
  await throwsRpc(t, at('vim').queryVirtualisedComputeResource({}), {
    code: Code.PERMISSION_DENIED,
    reason: 'POLICY',
  });
  const request = { resourceProviderId: 'vim' };
  t.deepEqual((await at('nfvo').queryVirtualisedComputeResource(request)).queryResult, []);
});

test('system, indirect: a snapshot that the NFVO refuses halfway leaves nothing, and the VNF runs on', async (t) => {
  const configuration = {
    ...{ version: 1 as const, drivers: ['wasmvm'], vnfm: { resourceManagement: 'indirect' } },
    nfvo: { policy: { rules: [noSnapshots] } },
  };
  const site = await Site.start('test', join(await tempFolder(t), 's'), configuration);
  t.teardown(() => site.stop());
  const lab = new Lab(site, () => {});
  t.teardown(() => lab.clean());
  const { id: vnfInstanceId } = await lab.instantiate('wasmvm', false);
  const agent = await lab.agent(await lab.vnf(vnfInstanceId));
  const started = await lab.lcm.createVnfSnapshot({ vnfInstanceId });
  const error = await t.throwsAsync(lab.follow(started.lifecycleOperationOccurrenceId));
  t.like(error, { reason: 'RESOURCE_REFUSED' });
  t.regex(error!.message, /ROLLED_BACK/);
  const { vnfSnapshotInfos } = await lab.lcm.queryVnfSnapshotInfo({});
  t.deepEqual(vnfSnapshotInfos, []);
  const [before] = Object.values(await agent.states());
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const [after] = Object.values(await agent.states());
  t.notDeepEqual(after, before, 'the traffic goes on');
});
