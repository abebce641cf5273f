import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import test, { type ExecutionContext } from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { VnfLifecycleOperationGrantingService } from '../../../gen/nfv/grant/v1/grant_pb.js';
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { OperationOccurrenceService } from '../../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import type { VnfInstance } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  GrantingPolicy,
  OperationGrantingSchema,
  type Vnfd,
} from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const { COMPLETED, ROLLED_BACK, STARTING } = OperationState;

/** A whole Micromano whose NFVO has this policy, with a VNF that runs. */
async function siteWith(
  t: ExecutionContext,
  policy: unknown,
  adapt: (vnfd: Vnfd) => void = () => {},
) {
  t.timeout(120_000);
  const folder = join(await tempFolder(t), 'site');
  const site = await Site.start('A', folder, { version: 1, drivers: ['wasmvm'], nfvo: { policy } });
  t.teardown(() => site.stop());
  const lab = new Lab(site, () => {});
  t.teardown(() => lab.stopAgents());
  const vnf = await lab.instantiate('wasmvm', false, adapt);
  await lab.agent(vnf);
  const granting = site.client(VnfLifecycleOperationGrantingService, 'oss');
  const operations = site.client(OperationOccurrenceService, 'em');
  const occurrence = async (id: string) => {
    const request = { lifecycleOperationOccurrenceId: id };
    return (await operations.getLifecycleOperationOccurrence(request)).occurrence!;
  };
  const ended = async (id: string) => {
    const over = async () =>
      [COMPLETED, ROLLED_BACK].includes((await occurrence(id)).operationState);
    await eventually('the operation ends', over, 30_000);
    return occurrence(id);
  };
  return { site, lab, vnf, granting, operations, occurrence, ended };
}

async function begin({ lab, vnf }: { lab: Lab; vnf: VnfInstance }): Promise<string> {
  const started = await lab.lcm.createVnfSnapshot({ vnfInstanceId: vnf.id });
  return started.lifecycleOperationOccurrenceId;
}

const ask = {
  rules: [
    { name: 'four eyes', operations: ['CREATE_SNAPSHOT'], decision: 'ask', reason: 'four eyes' },
  ],
};

test.serial(
  'granting: nothing is done before a person approves, and then it is [Nfvo.001 Vnfsd.015]',
  async (t) => {
    const rig = await siteWith(t, ask);
    const id = await begin(rig);
    await eventually(
      'it waits',
      async () => (await rig.granting.listPendingGrants({})).pendingGrants.length > 0,
      20_000,
    );
    const { pendingGrants } = await rig.granting.listPendingGrants({});
    t.is(pendingGrants.length, 1);
    t.like(pendingGrants[0]!, { id, rule: 'four eyes', reason: 'four eyes' });
    t.is(pendingGrants[0]!.grantRequest!.operation, OperationType.CREATE_SNAPSHOT);
    const waiting = await rig.occurrence(id);
    t.is(waiting.operationState, STARTING);
    t.regex(
      waiting.steps.find(({ name }) => name === 'grant')!.progress!.activity,
      /waits for a person/,
    );
    await rig.granting.decideGrant({ pendingGrantId: id, granted: true });
    const done = await rig.ended(id);
    t.is(done.operationState, COMPLETED, done.error?.detail);
    t.deepEqual((await rig.granting.listPendingGrants({})).pendingGrants, []);
    await rig.granting.decideGrant({ pendingGrantId: id, granted: true });
    const late = rig.granting.decideGrant({ pendingGrantId: id, granted: false });
    await throwsRpc(t, late, { code: Code.FAILED_PRECONDITION, reason: 'GRANT_DECIDED' });

    const refused = await begin(rig);
    await eventually(
      'it waits',
      async () => (await rig.granting.listPendingGrants({})).pendingGrants.length > 0,
      20_000,
    );
    await rig.granting.decideGrant({
      pendingGrantId: refused,
      granted: false,
      reason: 'not tonight',
    });
    const end = await rig.ended(refused);
    t.is(end.error?.reason, 'GRANT_REFUSED');
    t.regex(end.error!.detail, /not tonight/);

    const cancelled = await begin(rig);
    await eventually(
      'it waits',
      async () => (await rig.granting.listPendingGrants({})).pendingGrants.length > 0,
      20_000,
    );
    await rig.operations.cancelLifecycleOperation({
      ...{ lifecycleOperationOccurrenceId: cancelled, cancelMode: 2 },
    });
    t.is((await rig.ended(cancelled)).operationState, ROLLED_BACK);
    const { vnfSnapshotInfos } = await rig.lab.lcm.queryVnfSnapshotInfo({});
    t.is(vnfSnapshotInfos.length, 1);
    const nobody = rig.granting.decideGrant({ pendingGrantId: 'nobody', granted: true });
    await throwsRpc(t, nobody, { code: Code.NOT_FOUND, reason: 'GRANT_UNKNOWN' });
  },
);

test.serial(
  'granting: a quota is counted at the VNFM, for each VNF where it has no tenant [Nfvo.001]',
  async (t) => {
    const quota = { snapshots: 2, perMetadata: 'tenant' };
    const rig = await siteWith(t, { rules: [{ name: 'quota', quota, decision: 'refuse' }] });
    const first = await rig.ended(await begin(rig));
    t.is(first.operationState, COMPLETED, first.error?.detail);
    const second = await rig.lab.instantiate('wasmvm', false);
    await rig.lab.agent(second);
    const other = await rig.ended(await begin({ lab: rig.lab, vnf: second }));
    t.is(other.operationState, COMPLETED, 'VNFs without a tenant are counted one by one');
    t.is((await rig.ended(await begin(rig))).operationState, COMPLETED);
    const over = await rig.ended(await begin(rig));
    t.is(over.error?.reason, 'GRANT_REFUSED');
    t.regex(over.error!.detail, /rule "quota"/);
    const { vnfSnapshotInfos } = await rig.lab.lcm.queryVnfSnapshotInfo({});
    t.is(vnfSnapshotInfos.length, 3);
  },
);

test.serial(
  'granting: what the descriptor never allows is refused, and the rest is granted [Vnfsd.015]',
  async (t) => {
    const rig = await siteWith(t, undefined, (vnfd) => {
      const never = create(OperationGrantingSchema, {
        ...{ operation: OperationType.REVERT_TO_SNAPSHOT, policy: GrantingPolicy.NEVER },
      });
      vnfd.snapshotDescriptor!.grantingPolicies.push(never);
    });
    const taken = await rig.ended(await begin(rig));
    t.is(taken.operationState, COMPLETED, taken.error?.detail);
    const started = await rig.lab.lcm.revertToVnfSnapshot({
      ...{ vnfInstanceId: rig.vnf.id, vnfSnapshotInfoId: taken.vnfSnapshotInfoId },
    });
    const end = await rig.ended(started.lifecycleOperationOccurrenceId);
    t.is(end.error?.reason, 'GRANT_REFUSED');
    t.regex(end.error!.detail, /the descriptor of the VNF says so/);
  },
);

test.serial(
  'granting: of two VNFs of a tenant that come at once, one gets its last place [Nfvo.001]',
  async (t) => {
    const quota = { snapshots: 1, perMetadata: 'tenant' };
    const rig = await siteWith(t, { rules: [{ name: 'quota', quota, decision: 'refuse' }] });
    const vnfs = await Promise.all(
      ['one', 'two'].map(async () => {
        const { vnfInstance } = await rig.lab.lcm.createVnfIdentifier({
          ...{ vnfd: rig.vnf.vnfd!, metadata: { tenant: 'red' } },
        });
        const vnfInstanceId = vnfInstance!.id;
        const started = await rig.lab.lcm.instantiateVnf({ vnfInstanceId });
        t.is((await rig.ended(started.lifecycleOperationOccurrenceId)).operationState, COMPLETED);
        const vnf = await rig.lab.vnf(vnfInstanceId);
        await rig.lab.agent(vnf);
        return vnf;
      }),
    );
    const begun = await Promise.all(vnfs.map((vnf) => begin({ lab: rig.lab, vnf })));
    const ends = await Promise.all(begun.map((id) => rig.ended(id)));
    t.deepEqual(
      ends.map(({ operationState }) => operationState).sort(),
      [COMPLETED, ROLLED_BACK].sort(),
    );
  },
);
