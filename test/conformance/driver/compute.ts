import { strict as assert } from 'node:assert';
import { CapabilityName, ComputeOperation } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { Code } from '../../../sdk/errors.ts';
import {
  assertAlive,
  assertSilent,
  assertState,
  booted,
  bootGuest,
  compute,
  makeGuest,
  operate,
} from './guests.ts';
import { type Check, eventually, fails } from './kit.ts';

const running = [CapabilityName.COMPUTE, CapabilityName.VNF_CHANNEL];

export const computeChecks: readonly Check[] = [
  {
    title: 'compute §CreateCompute: a new guest is STOPPED, is what was asked for, and is listed',
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      const found = await compute(kit, guest);
      assert.equal(found.state, ComputeState.STOPPED);
      assert.equal(found.spec?.image, kit.options.guests.gateway.image);
      assert.deepEqual(
        found.spec?.volumes.map(({ volumeId }) => volumeId),
        Object.values(guest.volumes),
      );
      assert(found.driver && found.createTime && found.generationId && found.recoveryHandle);
      assert.equal(found.hold, undefined);
      const { computes } = await kit.client.listComputes({});
      assert(computes.some(({ computeId }) => computeId === guest.computeId));
    },
  },
  {
    title: 'compute §CreateCompute: the same id with another spec is ALREADY_EXISTS ID_REUSED',
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      const { image } = kit.options.guests.gateway;
      const call = kit.client.createCompute({ computeId: guest.computeId, spec: { image } });
      await fails(call, Code.ALREADY_EXISTS, 'ID_REUSED');
    },
  },
  {
    title:
      'compute §DeleteCompute: the guest is forgotten, its volumes stay, deleting again succeeds',
    async run(kit) {
      const { computeId, volumes } = await makeGuest(kit, 'gateway');
      await kit.client.deleteCompute({ computeId });
      await kit.client.deleteCompute({ computeId });
      await fails(kit.client.getCompute({ computeId }), Code.NOT_FOUND, 'COMPUTE_UNKNOWN');
      const listed = (await kit.client.listVolumes({})).volumes.map(({ storageId }) => storageId);
      for (const volumeId of Object.values(volumes)) assert(listed.includes(volumeId));
    },
  },
  {
    title:
      'compute §OperateCompute: what the state forbids is FAILED_PRECONDITION COMPUTE_STATE and changes nothing',
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      for (const operation of [ComputeOperation.PAUSE, ComputeOperation.UNPAUSE]) {
        await fails(operate(kit, guest, operation), Code.FAILED_PRECONDITION, 'COMPUTE_STATE');
        await assertState(kit, guest, ComputeState.STOPPED);
      }
      const { computeId } = guest;
      const hold = kit.client.holdCompute({ computeId, deadline: { seconds: 1n, nanos: 0 } });
      await fails(hold, Code.FAILED_PRECONDITION, 'COMPUTE_STATE');
    },
  },
  {
    title:
      'compute §OperateCompute: start, pause, unpause and a power cut reach the states they name [Nfvi.006]',
    needs: [...running, CapabilityName.PAUSE],
    async run(kit) {
      const guest = await bootGuest(kit);
      await assertState(kit, guest, ComputeState.RUNNING);
      const { generation } = await assertAlive(kit, guest);
      const paused = await operate(kit, guest, ComputeOperation.PAUSE);
      assert.equal(paused.state, ComputeState.PAUSED);
      await assertState(kit, guest, ComputeState.PAUSED);
      await assertSilent(kit, guest);
      await fails(
        operate(kit, guest, ComputeOperation.START),
        Code.FAILED_PRECONDITION,
        'COMPUTE_STATE',
      );
      const resumed = await operate(kit, guest, ComputeOperation.UNPAUSE);
      assert.equal(resumed.state, ComputeState.RUNNING);
      await assertState(kit, guest, ComputeState.RUNNING);
      assert.equal(
        (await assertAlive(kit, guest)).generation,
        generation,
        'its memory is the same',
      );
      const stopped = await operate(kit, guest, ComputeOperation.STOP_FORCEFUL);
      assert.equal(stopped.state, ComputeState.STOPPED);
      await assertState(kit, guest, ComputeState.STOPPED);
      await operate(kit, guest, ComputeOperation.START);
      assert.notEqual((await booted(kit, guest)).generation, generation, 'it booted anew');
    },
  },
  {
    title: 'compute §OperateCompute: a graceful stop ends in STOPPED within its time [Nfvi.006]',
    needs: running,
    async run(kit) {
      const guest = await bootGuest(kit);
      const answer = await kit.client.operateCompute({
        computeId: guest.computeId,
        operation: ComputeOperation.STOP_GRACEFUL,
        gracefulTimeout: { seconds: 30n, nanos: 0 },
      });
      assert.equal(answer.compute?.state, ComputeState.STOPPED);
      await assertState(kit, guest, ComputeState.STOPPED);
    },
  },
  {
    title:
      'compute §WatchComputes: what is there comes at once, then every change, then the deletion',
    needs: running,
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      const seen: string[] = [];
      const stop = new AbortController();
      const watching = (async () => {
        const stream = kit.client.watchComputes({}, { signal: stop.signal });
        for await (const { compute: found, deleted } of stream) {
          if (found?.computeId !== guest.computeId) continue;
          seen.push(deleted ? 'deleted' : (ComputeState[found.state] as string));
        }
      })().catch(() => undefined);
      try {
        await eventually('the first message', async () => seen.includes('STOPPED'));
        await operate(kit, guest, ComputeOperation.START);
        await eventually('the start', async () => seen.includes('RUNNING'));
        await kit.client.deleteCompute({ computeId: guest.computeId });
        await eventually('the deletion', async () => seen.at(-1) === 'deleted');
      } finally {
        stop.abort();
        await watching;
      }
    },
  },
];
