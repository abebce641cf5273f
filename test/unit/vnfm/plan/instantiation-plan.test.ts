import test from 'ava';
import { Code } from '../../../../gen/google/rpc/code_pb.js';
import { planInstantiation } from '../../../../plugins/vnfm/plan/instantiation-plan.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { vnfdOf } from '../../../support/vnfm/descriptors.ts';

const open = () =>
  vnfdOf((vnfd) => {
    vnfd.virtualComputeDesc[0]!.virtualisationEnvironment = '';
  });

test('planInstantiation: each VDU gets a component, its volumes and interfaces; each link one network', (t) => {
  const plan = planInstantiation('vnf-x', vnfdOf(), '');
  t.deepEqual(plan.networks, [
    { linkId: 'internal', networkId: 'vnf-x.internal', environment: 'fake' },
  ]);
  t.deepEqual(
    plan.vnfcs.map(({ computeId, volumes, interfaces }) => {
      return [computeId, volumes.map(({ storageId }) => storageId), interfaces[0]?.networkId];
    }),
    [
      ['vnf-x.gateway-0', ['vnf-x.gateway-0.data'], 'vnf-x.internal'],
      ['vnf-x.database-0', ['vnf-x.database-0.data'], 'vnf-x.internal'],
    ],
  );
  t.is(plan.vnfcs[0]?.volumes[0]?.sizeBytes, '1048576');
});

test('planInstantiation: the request names the technology for VDUs that leave it open', (t) => {
  const plan = planInstantiation('vnf-x', open(), 'qemu');
  t.deepEqual(
    plan.vnfcs.map(({ environment }) => environment),
    ['qemu', 'qemu'],
  );
});

test('planInstantiation: a VDU without a technology is refused', async (t) => {
  await throwsRpc(t, async () => planInstantiation('vnf-x', open(), ''), {
    code: Code.INVALID_ARGUMENT,
    reason: 'ENVIRONMENT_MISSING',
  });
});

test('planInstantiation: a link between two technologies is refused', async (t) => {
  const vnfd = open();
  const small = vnfd.virtualComputeDesc[0]!;
  vnfd.virtualComputeDesc.push({
    ...small,
    virtualComputeDescId: 'kvm',
    virtualisationEnvironment: 'qemu',
  });
  vnfd.vdu[1]!.virtualComputeDesc = 'kvm';
  await throwsRpc(t, async () => planInstantiation('vnf-x', vnfd, 'wasmvm'), {
    code: Code.INVALID_ARGUMENT,
    reason: 'ENVIRONMENT_MIXED',
  });
});
