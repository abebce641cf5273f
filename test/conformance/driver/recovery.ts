import { strict as assert } from 'node:assert';
import { CapabilityName } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { Code } from '../../../sdk/errors.ts';
import {
  assertAlive,
  assertState,
  booted,
  bootGuest,
  compute,
  type Guest,
  makeGuest,
  snapshot,
} from './guests.ts';
import { snapshotDigests, volumeDigest } from './images.ts';
import { type Check, fails, type Kit, seconds } from './kit.ts';

const running = [CapabilityName.COMPUTE, CapabilityName.VNF_CHANNEL];

async function recover(kit: Kit, { computeId }: Guest, recoveryHandle: Handle) {
  return (await kit.client.recoverCompute({ computeId, recoveryHandle })).compute;
}
type Handle = { version: number; data: Uint8Array };

export const recoveryChecks: readonly Check[] = [
  {
    title:
      'recovery §RecoverCompute: nothing changes for a guest that is attached; another life of it is COMPUTE_UNKNOWN',
    needs: running,
    async run(kit) {
      const guest = await bootGuest(kit);
      const { generation } = await assertAlive(kit, guest);
      const { recoveryHandle } = await compute(kit, guest);
      assert(recoveryHandle);
      const found = await recover(kit, guest, recoveryHandle);
      assert.equal(found?.state, ComputeState.RUNNING);
      assert.equal((await assertAlive(kit, guest)).generation, generation);
      const { computeId } = guest;
      await kit.client.deleteCompute({ computeId });
      const call = kit.client.recoverCompute({ computeId, recoveryHandle });
      await fails(call, Code.NOT_FOUND, 'COMPUTE_UNKNOWN');
    },
  },
  {
    title:
      'recovery §kill: what was acknowledged is there after the driver was killed, byte for byte',
    kills: true,
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      const taken = await snapshot(kit, guest, { memory: false });
      const digests = await snapshotDigests(kit, taken.snapshotId);
      const before = await compute(kit, guest);
      await kit.killAndReopen();
      assert.deepEqual(await compute(kit, guest), before);
      const { snapshotId } = taken;
      const { snapshot: found } = await kit.client.showInstanceSnapshot({ snapshotId });
      assert.deepEqual(found, taken);
      assert.deepEqual(await snapshotDigests(kit, snapshotId), digests);
      for (const [name, volumeId] of Object.entries(guest.volumes)) {
        assert.equal(await volumeDigest(kit, volumeId), digests[name]);
      }
    },
  },
  {
    title: 'recovery §kill: a guest that ran runs again, or still, and a hold found is released',
    kills: true,
    needs: [...running, CapabilityName.PAUSE],
    async run(kit) {
      const guest = await bootGuest(kit);
      const { recoveryHandle } = await compute(kit, guest);
      assert(recoveryHandle);
      const { computeId } = guest;
      await kit.client.holdCompute({ computeId, deadline: seconds(600) });
      await kit.killAndReopen();
      await recover(kit, guest, recoveryHandle);
      await booted(kit, guest);
      await assertState(kit, guest, ComputeState.RUNNING);
      assert.equal((await compute(kit, guest)).hold, undefined);
    },
  },
  {
    title:
      'recovery §kill: a warm snapshot that was acknowledged reverts after the driver was killed',
    kills: true,
    needs: [...running, CapabilityName.MEMORY_EXTERNAL],
    async run(kit) {
      const guest = await bootGuest(kit);
      const { generation } = await assertAlive(kit, guest);
      const { recoveryHandle } = await compute(kit, guest);
      assert(recoveryHandle);
      const { snapshotId } = await snapshot(kit, guest);
      await kit.killAndReopen();
      await recover(kit, guest, recoveryHandle);
      await kit.client.revertToInstanceSnapshot({ computeId: guest.computeId, snapshotId });
      assert.equal((await assertAlive(kit, guest)).generation, generation);
    },
  },
];
