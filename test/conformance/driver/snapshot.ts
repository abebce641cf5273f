import { strict as assert } from 'node:assert';
import { stat } from 'node:fs/promises';
import { ImageRole } from '../../../gen/nfv/common/v1/common_pb.js';
import {
  CapabilityName,
  ComputeOperation,
  StateAfterRevert,
} from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  ComputeState,
  DiskTechnique,
  MemoryTechnique,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { Code } from '../../../sdk/errors.ts';
import {
  assertAlive,
  assertSilent,
  assertState,
  bootGuest,
  bootPair,
  compute,
  counts,
  makeGuest,
  operate,
  snapshot,
} from './guests.ts';
import { snapshotDigests, volumeDigest } from './images.ts';
import { type Check, fails, type Kit, seconds } from './kit.ts';

const warm = [CapabilityName.COMPUTE, CapabilityName.VNF_CHANNEL, CapabilityName.MEMORY_EXTERNAL];

async function listed(kit: Kit, computeId: string): Promise<string[]> {
  const { snapshots } = await kit.client.listInstanceSnapshots({ computeId });
  return snapshots.map(({ snapshotId }) => snapshotId);
}

export const snapshotChecks: readonly Check[] = [
  {
    title:
      'snapshot §CreateInstanceSnapshot: every technique that is claimed works and is recorded [Vim.001 Nfvi.001 5.3-2/utilize]',
    needs: [CapabilityName.COMPUTE, CapabilityName.VNF_CHANNEL],
    run: claimedTechniques,
  },
  {
    title:
      'snapshot §CreateInstanceSnapshot: a warm snapshot has memory, devices and all disks, and says how and when [5.1.3.2/instance 5.1.3.2/memory 5.1.3.2/disk 5.1.3.2/live 5.1.3.2/metadata Nfvi.002 6.3/nfvi]',
    needs: warm,
    async run(kit) {
      const guest = await bootGuest(kit);
      const taken = await snapshot(kit, guest);
      const roles = new Map(taken.images.map(({ name, role }) => [name, role]));
      for (const name of Object.keys(guest.volumes)) assert.equal(roles.get(name), ImageRole.DISK);
      assert.equal(roles.get('memory'), ImageRole.MEMORY);
      assert(taken.images.every(({ sizeBytes }) => sizeBytes > 0n));
      // A driver that keeps them elsewhere than in files names none.
      for (const { name, file } of taken.images) {
        if (file !== undefined) assert((await stat(file.path)).size > 0, name);
      }
      assert(taken.memory && taken.compatibility && taken.spec && !taken.imported);
      assert.equal(taken.memoryTechnique, MemoryTechnique.EXTERNAL);
      assert.notEqual(taken.diskTechnique, DiskTechnique.UNSPECIFIED);
      assert.equal(taken.stateWhenTaken, ComputeState.RUNNING);
      assert(taken.captureTime && taken.completeTime);
      assert(taken.completeTime.seconds >= taken.captureTime.seconds);
      const shown = await kit.client.showInstanceSnapshot({ snapshotId: taken.snapshotId });
      assert.deepEqual(shown.snapshot, taken);
      assert.deepEqual(await listed(kit, guest.computeId), [taken.snapshotId]);
    },
  },
  {
    title:
      'snapshot §CreateInstanceSnapshot: a cold snapshot of a stopped guest has its disks; memory is COMPUTE_STATE',
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      const volumeIds = Object.values(guest.volumes);
      const { computeId } = guest;
      const snapshotId = kit.id('no-memory');
      kit.tracker.snapshots.add(snapshotId);
      const call = kit.client.createInstanceSnapshot({
        computeId,
        snapshotId,
        volumeIds,
        memory: true,
      });
      await fails(call, Code.FAILED_PRECONDITION, 'COMPUTE_STATE');
      assert.deepEqual(await listed(kit, computeId), []);
      const taken = await snapshot(kit, guest, { memory: false });
      assert.equal(taken.memory, false);
      assert.equal(taken.images.length, volumeIds.length);
    },
  },
  {
    title:
      'snapshot §CreateInstanceSnapshot: snapshots stay as they are while the guest runs on; the list is oldest first [5.1.3.5/list 5.1.3.6/show]',
    needs: warm,
    async run(kit) {
      const { gateway } = await bootPair(kit);
      const first = await snapshot(kit, gateway);
      const before = await snapshotDigests(kit, first.snapshotId);
      await counts(kit, gateway, 20);
      const second = await snapshot(kit, gateway);
      assert.equal(second.parentSnapshotId, first.snapshotId);
      const order = [first.snapshotId, second.snapshotId];
      assert.deepEqual(await listed(kit, gateway.computeId), order);
      assert.deepEqual(await snapshotDigests(kit, first.snapshotId), before);
      assert.notDeepEqual(await snapshotDigests(kit, second.snapshotId), before);
    },
  },
  {
    title:
      'snapshot §CreateInstanceSnapshot: stop_after leaves the guest stopped at what was captured [5.1.3.2/stop]',
    needs: warm,
    async run(kit) {
      const guest = await bootGuest(kit);
      const snapshotId = kit.id('last');
      kit.tracker.snapshots.add(snapshotId);
      await kit.client.createInstanceSnapshot({
        computeId: guest.computeId,
        snapshotId,
        memory: true,
        volumeIds: Object.values(guest.volumes),
        stopAfter: true,
      });
      await assertState(kit, guest, ComputeState.STOPPED);
      const digests = await snapshotDigests(kit, snapshotId);
      for (const [name, volumeId] of Object.entries(guest.volumes)) {
        assert.equal(await volumeDigest(kit, volumeId), digests[name], name);
      }
    },
  },
  {
    title:
      'snapshot §RevertToInstanceSnapshot: a warm revert brings memory and disks back, and a new generation [5.1.3.3/revert 5.1.3.3/state Nfvi.002 6.3/nfvi]',
    needs: warm,
    run: warmRevert,
  },
  {
    title: 'snapshot §RevertToInstanceSnapshot: HELD stands with a lease, and its watchdog lets go',
    needs: [...warm, CapabilityName.PAUSE],
    async run(kit) {
      const guest = await bootGuest(kit);
      const { generation } = await assertAlive(kit, guest);
      const { snapshotId } = await snapshot(kit, guest);
      const { computeId } = guest;
      const revert = { computeId, snapshotId, stateAfter: StateAfterRevert.HELD };
      const held = await kit.client.revertToInstanceSnapshot({
        ...revert,
        holdDeadline: seconds(120),
      });
      const leaseId = held.compute?.hold?.leaseId ?? '';
      assert(leaseId);
      await assertSilent(kit, guest);
      await kit.client.releaseCompute({ computeId, leaseId });
      assert.equal((await assertAlive(kit, guest)).generation, generation);
      await kit.client.revertToInstanceSnapshot({ ...revert, holdDeadline: seconds(1) });
      assert.equal((await assertAlive(kit, guest)).generation, generation);
    },
  },
  {
    title:
      'snapshot §RevertToInstanceSnapshot: STOPPED brings the disks back and nothing runs [5.1.3.3/state]',
    needs: warm,
    async run(kit) {
      const { gateway } = await bootPair(kit);
      const { snapshotId } = await snapshot(kit, gateway);
      const digests = await snapshotDigests(kit, snapshotId);
      await counts(kit, gateway, 20);
      const { computeId } = gateway;
      const stateAfter = StateAfterRevert.STOPPED;
      const { compute: found } = await kit.client.revertToInstanceSnapshot({
        ...{ computeId, snapshotId, stateAfter },
      });
      assert.equal(found?.state, ComputeState.STOPPED);
      for (const [name, volumeId] of Object.entries(gateway.volumes)) {
        assert.equal(await volumeDigest(kit, volumeId), digests[name], name);
      }
    },
  },
  {
    title:
      'snapshot §RevertToInstanceSnapshot: a guest with other volumes is FAILED_PRECONDITION INCOMPATIBLE, and stays as it is',
    needs: warm,
    async run(kit) {
      const guest = await bootGuest(kit);
      const { snapshotId } = await snapshot(kit, guest);
      const computeId = kit.id('other');
      kit.tracker.computes.add(computeId);
      const { image } = kit.options.guests.gateway;
      await kit.client.createCompute({ computeId, spec: { image } });
      const call = kit.client.revertToInstanceSnapshot({ computeId, snapshotId });
      await fails(call, Code.FAILED_PRECONDITION, 'INCOMPATIBLE');
      const { compute: found } = await kit.client.getCompute({ computeId });
      assert.equal(found?.state, ComputeState.STOPPED);
    },
  },
  {
    title:
      'snapshot §UpdateInstanceSnapshot: the name and pairs change, an empty value removes a pair [5.1.3.4/metadata 5.1.3.4/rename]',
    async run(kit) {
      const { snapshotId } = await snapshot(kit, await makeGuest(kit, 'gateway'), {
        memory: false,
      });
      const change = { name: 'new name', metadata: { kept: 'yes', gone: 'soon' } };
      await kit.client.updateInstanceSnapshot({ snapshotId, ...change });
      await kit.client.updateInstanceSnapshot({ snapshotId, metadata: { gone: '' } });
      const { snapshot: found } = await kit.client.showInstanceSnapshot({ snapshotId });
      assert.equal(found?.name, 'new name');
      assert.deepEqual(found?.metadata, { kept: 'yes' });
    },
  },
  {
    title:
      'snapshot §ListInstanceSnapshots: the filter is ETSI’s, and an unknown attribute is INVALID_ARGUMENT [5.1.3.5/filter]',
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      const one = await snapshot(kit, guest, { memory: false });
      const two = await snapshot(kit, guest, { memory: false });
      const filter = `(eq,snapshot_id,${two.snapshotId})`;
      const { snapshots } = await kit.client.listInstanceSnapshots({ filter });
      assert.deepEqual(
        snapshots.map(({ snapshotId }) => snapshotId),
        [two.snapshotId],
      );
      assert.notEqual(one.snapshotId, two.snapshotId);
      const wrong = kit.client.listInstanceSnapshots({ filter: '(eq,nothing,1)' });
      await fails(wrong, Code.INVALID_ARGUMENT);
    },
  },
  {
    title:
      'snapshot §DeleteInstanceSnapshot: open data is SNAPSHOT_OPEN; closed it goes, and going again succeeds',
    async run(kit) {
      const { snapshotId } = await snapshot(kit, await makeGuest(kit, 'gateway'), {
        memory: false,
      });
      const { locations } = await kit.client.openSnapshotData({ snapshotId });
      const call = kit.client.deleteInstanceSnapshot({ snapshotId });
      await fails(call, Code.FAILED_PRECONDITION, 'SNAPSHOT_OPEN');
      await kit.client.closeData({ token: locations[0]?.token ?? '' });
      await kit.client.deleteInstanceSnapshot({ snapshotId });
      await kit.client.deleteInstanceSnapshot({ snapshotId });
      const show = kit.client.showInstanceSnapshot({ snapshotId });
      await fails(show, Code.NOT_FOUND, 'SNAPSHOT_UNKNOWN');
    },
  },
  {
    title:
      'snapshot §DeleteInstanceSnapshot: deleting the middle of three leaves the others whole [5.1.3.7/consolidate]',
    needs: warm,
    run: deleteTheMiddle,
  },
];

type Techniques = { memoryTechnique?: MemoryTechnique; diskTechnique?: DiskTechnique };

const techniques: readonly (readonly [CapabilityName, Techniques])[] = [
  [CapabilityName.MEMORY_EXTERNAL, { memoryTechnique: MemoryTechnique.EXTERNAL }],
  [CapabilityName.MEMORY_INTERNAL, { memoryTechnique: MemoryTechnique.INTERNAL }],
  [CapabilityName.DISK_EXTERNAL_INCREMENTAL, { diskTechnique: DiskTechnique.EXTERNAL_INCREMENTAL }],
  [CapabilityName.DISK_EXTERNAL_SEQUENTIAL, { diskTechnique: DiskTechnique.EXTERNAL_SEQUENTIAL }],
];

async function claimedTechniques(kit: Kit): Promise<void> {
  const guest = await bootGuest(kit);
  for (const [capability, asked] of techniques) {
    if (!kit.can(capability)) continue;
    const snapshotId = kit.id('technique');
    kit.tracker.snapshots.add(snapshotId);
    const { snapshot: taken } = await kit.client.createInstanceSnapshot({
      computeId: guest.computeId,
      snapshotId,
      memory: asked.memoryTechnique !== undefined,
      volumeIds: Object.values(guest.volumes),
      ...asked,
    });
    const { memoryTechnique, diskTechnique } = asked;
    if (memoryTechnique) assert.equal(taken?.memoryTechnique, memoryTechnique);
    if (diskTechnique) assert.equal(taken?.diskTechnique, diskTechnique);
    await assertAlive(kit, guest);
  }
}

async function warmRevert(kit: Kit): Promise<void> {
  const { gateway } = await bootPair(kit);
  const { generation } = await assertAlive(kit, gateway);
  const { snapshotId } = await snapshot(kit, gateway);
  const atSnapshot = await assertAlive(kit, gateway);
  const before = await compute(kit, gateway);
  await counts(kit, gateway, 50);
  await operate(kit, gateway, ComputeOperation.STOP_FORCEFUL);
  const { computeId } = gateway;
  const { compute: after } = await kit.client.revertToInstanceSnapshot({
    computeId,
    snapshotId,
    stateAfter: StateAfterRevert.HELD,
    holdDeadline: seconds(120),
  });
  assert.notEqual(after?.generationId, before.generationId);
  await kit.client.releaseCompute({ computeId });
  const back = await assertAlive(kit, gateway);
  assert.equal(back.generation, generation, 'the memory of the boot before');
  // Alone it issues one more number at most: the database has gone on without it.
  assert(back.counter <= atSnapshot.counter + 1, `${back.counter} after ${atSnapshot.counter}`);
}

async function deleteTheMiddle(kit: Kit): Promise<void> {
  const { gateway } = await bootPair(kit);
  const taken = [];
  for (let count = 0; count < 3; count++) {
    taken.push(await snapshot(kit, gateway));
    await counts(kit, gateway, 5);
  }
  const [first, middle, last] = taken.map(({ snapshotId }) => snapshotId) as [
    string,
    string,
    string,
  ];
  const before = [await snapshotDigests(kit, first), await snapshotDigests(kit, last)];
  await kit.client.deleteInstanceSnapshot({ snapshotId: middle });
  assert.deepEqual(await listed(kit, gateway.computeId), [first, last]);
  const after = [await snapshotDigests(kit, first), await snapshotDigests(kit, last)];
  assert.deepEqual(after, before);
  await counts(kit, gateway, 5);
}
