import { strict as assert } from 'node:assert';
import { CapabilityName } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { Code } from '../../../sdk/errors.ts';
import {
  assertAlive,
  assertSilent,
  bootGuest,
  bootPair,
  compute,
  counts,
  type Guest,
  snapshot,
} from './guests.ts';
import { type Check, eventually, fails, type Kit, seconds } from './kit.ts';

const needs = [CapabilityName.COMPUTE, CapabilityName.PAUSE, CapabilityName.VNF_CHANNEL];
const warm = [...needs, CapabilityName.MEMORY_EXTERNAL];

async function hold(kit: Kit, { computeId }: Guest, forSeconds: number): Promise<string> {
  const { lease } = await kit.client.holdCompute({ computeId, deadline: seconds(forSeconds) });
  assert(lease?.leaseId);
  return lease.leaseId;
}

const isLetGo = (kit: Kit, guest: Guest) =>
  eventually('the watchdog lets go', async () => !(await compute(kit, guest)).hold);

export const holdChecks: readonly Check[] = [
  {
    title:
      'hold §HoldCompute: a held guest stands with a lease that says until when, and runs on with its memory',
    needs,
    async run(kit) {
      const guest = await bootGuest(kit);
      const { generation } = await assertAlive(kit, guest);
      const { computeId } = guest;
      const { lease } = await kit.client.holdCompute({ computeId, deadline: seconds(60) });
      assert(lease?.leaseId && lease.startTime && lease.expireTime);
      const lasts = Number(lease.expireTime.seconds - lease.startTime.seconds);
      assert(lasts >= 59 && lasts <= 61, `it lasts 60 s, not ${lasts}`);
      const held = await compute(kit, guest);
      assert.equal(held.hold?.leaseId, lease.leaseId);
      assert.equal(held.state, ComputeState.PAUSED);
      await assertSilent(kit, guest);
      const { releaseTime } = await kit.client.releaseCompute({
        computeId,
        leaseId: lease.leaseId,
      });
      assert(releaseTime);
      assert.equal((await assertAlive(kit, guest)).generation, generation);
      assert.equal((await compute(kit, guest)).state, ComputeState.RUNNING);
    },
  },
  {
    title: 'hold §ReleaseCompute: releasing what is not held succeeds, and so does releasing again',
    needs,
    async run(kit) {
      const guest = await bootGuest(kit);
      const { computeId } = guest;
      await kit.client.releaseCompute({ computeId });
      const leaseId = await hold(kit, guest, 60);
      await kit.client.releaseCompute({ computeId, leaseId });
      await kit.client.releaseCompute({ computeId, leaseId });
      await assertAlive(kit, guest);
    },
  },
  {
    title:
      'hold §HoldCompute: at the deadline the watchdog lets go, and ReleaseCompute is ABORTED LEASE_EXPIRED',
    needs,
    async run(kit) {
      const guest = await bootGuest(kit);
      const leaseId = await hold(kit, guest, 0.5);
      await isLetGo(kit, guest);
      await assertAlive(kit, guest);
      const { computeId } = guest;
      const call = kit.client.releaseCompute({ computeId, leaseId });
      await fails(call, Code.ABORTED, 'LEASE_EXPIRED');
    },
  },
  {
    title: 'hold §HoldCompute: a hold does not end before its deadline',
    needs,
    async run(kit) {
      const guest = await bootGuest(kit);
      const leaseId = await hold(kit, guest, 60);
      await assertSilent(kit, guest);
      assert.equal((await compute(kit, guest)).hold?.leaseId, leaseId);
      await kit.client.releaseCompute({ computeId: guest.computeId, leaseId });
    },
  },
  {
    title: 'hold §CreateInstanceSnapshot: a capture under a lease leaves the guest held',
    needs: warm,
    async run(kit) {
      const guest = await bootGuest(kit);
      const leaseId = await hold(kit, guest, 120);
      await snapshot(kit, guest, { leaseId });
      assert.equal((await compute(kit, guest)).hold?.leaseId, leaseId);
      await assertSilent(kit, guest);
      await kit.client.releaseCompute({ computeId: guest.computeId, leaseId });
      await assertAlive(kit, guest);
    },
  },
  {
    title:
      'hold §CreateInstanceSnapshot: a capture under a lease that expired is ABORTED LEASE_EXPIRED, and nothing is kept',
    needs: warm,
    async run(kit) {
      const guest = await bootGuest(kit);
      const leaseId = await hold(kit, guest, 0.2);
      await isLetGo(kit, guest);
      const snapshotId = kit.id('late');
      await fails(snapshot(kit, guest, { leaseId, snapshotId }), Code.ABORTED, 'LEASE_EXPIRED');
      const { computeId } = guest;
      const { snapshots } = await kit.client.listInstanceSnapshots({ computeId });
      assert.deepEqual(snapshots, []);
      await assertAlive(kit, guest);
    },
  },
  {
    title:
      'hold §CreateInstanceSnapshot: a capture without a lease leaves the guest running [5.1.3.2/leave-running]',
    needs: warm,
    async run(kit) {
      const guest = await bootGuest(kit);
      await snapshot(kit, guest);
      await assertAlive(kit, guest);
      assert.equal((await compute(kit, guest)).hold, undefined);
    },
  },
  {
    title:
      'hold §all: captures under a common hold are one moment: after a revert no number is missing or ahead',
    needs: warm,
    run: commonHold,
  },
  {
    title:
      'hold §QuiesceCompute: file systems are frozen and thawed, and the guest says how many [5.1.3.2/quiesce Nfvi.005]',
    needs: [...needs, CapabilityName.QUIESCE],
    async run(kit) {
      const guest = await bootGuest(kit);
      const { computeId } = guest;
      const call = { computeId, deadline: seconds(60) };
      const { lease, frozenFileSystems } = await kit.client.quiesceCompute(call);
      assert(frozenFileSystems > 0);
      assert.equal((await compute(kit, guest)).quiesced, true);
      const leaseId = lease?.leaseId ?? '';
      const { thawedFileSystems } = await kit.client.unquiesceCompute({ computeId, leaseId });
      assert(thawedFileSystems > 0);
      assert.equal((await compute(kit, guest)).quiesced, false);
    },
  },
  {
    title:
      'hold §QuiesceCompute: at the deadline the watchdog thaws, and UnquiesceCompute is ABORTED LEASE_EXPIRED',
    needs: [...needs, CapabilityName.QUIESCE],
    async run(kit) {
      const guest = await bootGuest(kit);
      const { computeId } = guest;
      const { lease } = await kit.client.quiesceCompute({ computeId, deadline: seconds(1) });
      const thawed = async () => !(await compute(kit, guest)).quiesced;
      await eventually('the watchdog thaws', thawed);
      const leaseId = lease?.leaseId ?? '';
      const call = kit.client.unquiesceCompute({ computeId, leaseId });
      await fails(call, Code.ABORTED, 'LEASE_EXPIRED');
    },
  },
];

async function commonHold(kit: Kit): Promise<void> {
  const { client } = kit;
  const { gateway, database } = await bootPair(kit);
  const pair = [gateway, database];
  const leases = new Map<Guest, string>();
  for (const guest of pair) leases.set(guest, await hold(kit, guest, 300));
  const taken = new Map<Guest, string>();
  for (const guest of pair) {
    const { snapshotId } = await snapshot(kit, guest, { leaseId: leases.get(guest) as string });
    taken.set(guest, snapshotId);
  }
  for (const guest of pair) {
    const leaseId = leases.get(guest) as string;
    await client.releaseCompute({ computeId: guest.computeId, leaseId });
  }
  const later = await counts(kit, database, 5);
  for (const guest of pair) {
    await client.revertToInstanceSnapshot({
      computeId: guest.computeId,
      snapshotId: taken.get(guest) as string,
      stateAfter: 2,
      holdDeadline: seconds(300),
    });
  }
  for (const { computeId } of pair) await client.releaseCompute({ computeId });
  const back = await assertAlive(kit, gateway);
  assert(back.counter < later.counter + 5, 'memory went back');
  const recorded = await counts(kit, database, 5);
  const issued = await assertAlive(kit, gateway);
  assert(issued.counter >= recorded.counter - 1, 'the database is not ahead of the gateway');
  assert.equal(issued.fault, undefined);
  assert.equal(recorded.fault, undefined);
}
