import test, { type ExecutionContext } from 'ava';
import { VnfLifecycleOperationGrantingService } from '../../../gen/nfv/grant/v1/grant_pb.js';
import { OperationType } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { nfvoPlugin } from '../../../plugins/nfvo/plugin.ts';
import { createClient } from '../../../sdk/client.ts';
import { Code } from '../../../sdk/errors.ts';
import { testKernel } from '../../support/test-kernel.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const revert = OperationType.REVERT_TO_SNAPSHOT;
const freeze = { name: 'freeze', operations: ['REVERT_TO_SNAPSHOT'], decision: 'refuse' };

/** The NFVO behind a kernel, called as a VNFM. */
async function nfvo(t: ExecutionContext, policy: unknown) {
  const kernel = await testKernel(t);
  await kernel.add(nfvoPlugin, { config: { vnfm: 'vnfm', vim: 'vim-7', policy } });
  await kernel.start();
  const vnfm = kernel.transportFor({ role: 'vnfm', identity: 'test' });
  return {
    granting: createClient(VnfLifecycleOperationGrantingService, vnfm, { target: 'nfvo' }),
    asEm: createClient(
      VnfLifecycleOperationGrantingService,
      kernel.transportFor({ role: 'em', identity: 'test' }),
      { target: 'nfvo' },
    ),
  };
}

test('nfvo: a grant names the rule, the VIM and the request, and can be read again [Nfvo.001 6.3/nfvo]', async (t) => {
  const { granting } = await nfvo(t, {
    default: 'refuse',
    rules: [{ name: 'lab', vnfInstanceIds: ['vnf-1'], decision: 'grant' }],
  });
  const grantRequest = { vnfInstanceId: 'vnf-1', vnfLcmOpOccId: 'op-1', operation: revert };
  const { grant } = await granting.grantVnfLifecycleOperation({ grantRequest });
  t.like(grant, { ...grantRequest, vimConnectionId: 'vim-7', rule: 'lab' });
  t.deepEqual((await granting.getGrant({ grantId: grant!.id })).grant, grant);
});

test('nfvo: a refusal is PERMISSION_DENIED with rule and reason', async (t) => {
  const { granting } = await nfvo(t, { rules: [{ ...freeze, reason: 'change freeze' }] });
  const grantRequest = { vnfInstanceId: 'vnf-1', operation: revert };
  const error = await throwsRpc(t, granting.grantVnfLifecycleOperation({ grantRequest }), {
    code: Code.PERMISSION_DENIED,
    reason: 'GRANT_REFUSED',
  });
  t.like(error.metadata, { rule: 'freeze', operation: 'REVERT_TO_SNAPSHOT' });
  t.true(error.message.endsWith('change freeze'), error.message);
});

test('nfvo: a request without an operation is refused before the policy is asked', async (t) => {
  const { granting } = await nfvo(t, undefined);
  await throwsRpc(t, granting.grantVnfLifecycleOperation({ grantRequest: {} }), {
    code: Code.INVALID_ARGUMENT,
    reason: 'FIELD_VIOLATION',
  });
});

test('nfvo: an unknown grant is NOT_FOUND', async (t) => {
  const { granting } = await nfvo(t, undefined);
  await throwsRpc(t, granting.getGrant({ grantId: 'grant-0' }), {
    code: Code.NOT_FOUND,
    reason: 'GRANT_UNKNOWN',
  });
});

test('nfvo: nobody but a VNFM asks for grants', async (t) => {
  const { asEm } = await nfvo(t, undefined);
  const grantRequest = { vnfInstanceId: 'vnf-1', operation: revert };
  const error = await t.throwsAsync(asEm.grantVnfLifecycleOperation({ grantRequest }));
  t.like(error, { code: Code.PERMISSION_DENIED });
});

test('nfvo: a policy that is wrong keeps it from starting', async (t) => {
  const error = await t.throwsAsync(nfvo(t, { rules: [{ ...freeze, operations: ['5'] }] }));
  t.regex(error!.message, /nfvo\.policy\.rules\[0\]\.operations: "5" is not an operation/);
});
