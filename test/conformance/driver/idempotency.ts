import { strict as assert } from 'node:assert';
import {
  CapabilityName,
  ComputeOperation,
  StateAfterRevert,
} from '../../../gen/nfv/driver/v1/driver_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { assertAlive, bootGuest, compute, makeGuest, makeVolume, snapshot } from './guests.ts';
import { type Check, eventually, fails, type Kit, seconds } from './kit.ts';

const times = 10;
const running = [CapabilityName.COMPUTE, CapabilityName.VNF_CHANNEL];

/** The same call, one after the other and all at once: every answer is the same. */
async function same<T>(call: () => Promise<T>): Promise<T> {
  const first = await call();
  for (let count = 1; count < times; count++) assert.deepEqual(await call(), first);
  for (const answer of await Promise.all(Array.from({ length: times }, call))) {
    assert.deepEqual(answer, first);
  }
  return first;
}

export const idempotencyChecks: readonly Check[] = [
  {
    title: 'idempotency §CreateVolume, CreateNetwork: ten times the same call make one thing',
    async run(kit) {
      const volumeId = kit.id('volume');
      const networkId = kit.id('net');
      kit.tracker.volumes.add(volumeId);
      kit.tracker.networks.add(networkId);
      await same(() => kit.client.createVolume({ volumeId, sizeBytes: 1048576n }));
      await same(() => kit.client.createNetwork({ networkId }));
      const { volumes } = await kit.client.listVolumes({});
      assert.equal(volumes.filter(({ storageId }) => storageId === volumeId).length, 1);
    },
  },
  {
    title: 'idempotency §CreateCompute: ten times the same call make one guest',
    async run(kit) {
      const computeId = kit.id('compute');
      kit.tracker.computes.add(computeId);
      const { image } = kit.options.guests.gateway;
      await same(() => kit.client.createCompute({ computeId, spec: { image } }));
      const { computes } = await kit.client.listComputes({});
      assert.equal(computes.filter((found) => found.computeId === computeId).length, 1);
    },
  },
  {
    title: 'idempotency §OperateCompute: ten starts of one step are one boot',
    needs: running,
    async run(kit) {
      const guest = await bootGuest(kit);
      const { generation } = await assertAlive(kit, guest);
      for (let count = 0; count < times; count++) {
        await kit.client.operateCompute({
          computeId: guest.computeId,
          operation: ComputeOperation.START,
          call: { operationId: 'op', stepId: 'start' },
        });
      }
      assert.equal((await assertAlive(kit, guest)).generation, generation);
    },
  },
  {
    title: 'idempotency §HoldCompute: a repeat for the same step returns the same lease',
    needs: [...running, CapabilityName.PAUSE],
    async run(kit) {
      const { computeId } = await bootGuest(kit);
      const call = { operationId: kit.id('op'), stepId: 'hold' };
      const first = await kit.client.holdCompute({ computeId, deadline: seconds(60), call });
      const again = await kit.client.holdCompute({ computeId, deadline: seconds(60), call });
      assert.deepEqual(again, first);
      await kit.client.releaseCompute({ computeId, leaseId: first.lease?.leaseId ?? '' });
    },
  },
  {
    title:
      'idempotency §CreateInstanceSnapshot: a repeat returns the snapshot, another body is ID_REUSED',
    needs: [...running, CapabilityName.MEMORY_EXTERNAL],
    async run(kit) {
      const guest = await bootGuest(kit);
      const snapshotId = kit.id('once');
      kit.tracker.snapshots.add(snapshotId);
      const volumeIds = Object.values(guest.volumes);
      const metadata = { one: '1', two: '2' };
      const request = { computeId: guest.computeId, snapshotId, memory: true, volumeIds, metadata };
      const first = await kit.client.createInstanceSnapshot(request);
      const turned = { ...request, metadata: { two: '2', one: '1' } };
      assert.deepEqual(await kit.client.createInstanceSnapshot(turned), first);
      for (const change of [{ memory: false }, { metadata: { ...metadata, two: '3' } }]) {
        const other = kit.client.createInstanceSnapshot({ ...request, ...change });
        await fails(other, Code.ALREADY_EXISTS, 'ID_REUSED');
      }
    },
  },
  {
    title:
      'idempotency §RevertToInstanceSnapshot: a repeat for the same step does not go back again',
    needs: [...running, CapabilityName.MEMORY_EXTERNAL],
    run: revertOnce,
  },
  {
    title: 'idempotency §Delete…: deleting three times, and what never was, succeeds',
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      const { snapshotId } = await snapshot(kit, guest, { memory: false });
      const volumeId = await makeVolume(kit, { name: 'spare' });
      for (let count = 0; count < 3; count++) {
        await kit.client.deleteInstanceSnapshot({ snapshotId });
        await kit.client.deleteCompute({ computeId: guest.computeId });
        await kit.client.deleteVolume({ volumeId });
      }
      await kit.client.deleteNetwork({ networkId: 'kit-never' });
      await kit.client.deleteInstanceSnapshot({ snapshotId: 'kit-never' });
    },
  },
];

async function revertOnce(kit: Kit): Promise<void> {
  const guest = await bootGuest(kit);
  const { snapshotId } = await snapshot(kit, guest);
  const request = {
    computeId: guest.computeId,
    snapshotId,
    stateAfter: StateAfterRevert.RUNNING,
    call: { operationId: kit.id('op'), stepId: 'revert' },
  };
  await kit.client.revertToInstanceSnapshot(request);
  const { generationId } = await compute(kit, guest);
  await eventually('the guest runs', () => assertAlive(kit, guest));
  await kit.client.revertToInstanceSnapshot(request);
  assert.equal((await compute(kit, guest)).generationId, generationId);
}
