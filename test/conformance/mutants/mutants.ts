import { truncate } from 'node:fs/promises';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Lease } from '../../../gen/nfv/common/v1/common_pb.js';
import {
  CapabilityName,
  ComputeOperation,
  type RevertToInstanceSnapshotRequest,
  type RevertToInstanceSnapshotResponseSchema,
  StateAfterRevert,
} from '../../../gen/nfv/driver/v1/driver_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { isRpcError } from '../../../sdk/errors.ts';
import type { DriverClient } from '../driver/tracker.ts';
import type { Mutation } from './mutate.ts';

/** A driver with one planted fault, and the check of the kit that must find it. */
export type Mutant = { fault: string; caughtBy: string; mutation: Mutation };

export const mutants: readonly Mutant[] = [
  {
    fault: 'an opening gets a token of the driver’s own',
    caughtBy: 'an opening has the token that its caller chose',
    mutation: (driver) => ({
      openSnapshotData: (request) => driver.openSnapshotData({ ...request, token: '' }),
    }),
  },
  {
    fault: 'a release after the deadline succeeds',
    caughtBy: 'at the deadline the watchdog lets go',
    mutation: (driver) => ({
      releaseCompute: (request) =>
        driver.releaseCompute(request).catch((error) => {
          if (isRpcError(error, 'LEASE_EXPIRED')) return {};
          throw error;
        }),
    }),
  },
  {
    fault: 'a hold does not hold, and says that it does',
    caughtBy: 'a held guest stands with a lease',
    mutation: (driver) => {
      const leases = new Map<string, Lease>();
      return {
        holdCompute: async (request) => {
          const answer = await driver.holdCompute(request);
          const { computeId } = request;
          if (answer.lease) leases.set(computeId, answer.lease);
          await driver.releaseCompute({ computeId });
          return answer;
        },
        getCompute: async (request) => {
          const { compute } = await driver.getCompute(request);
          const hold = leases.get(request.computeId);
          if (!compute) return {};
          if (!hold) return { compute };
          return { compute: { ...compute, hold, state: ComputeState.PAUSED } };
        },
      };
    },
  },
  {
    fault: 'a capture does not look at its lease',
    caughtBy: 'a capture under a lease that expired',
    mutation: (driver) => ({
      createInstanceSnapshot: (request) =>
        driver.createInstanceSnapshot({ ...request, leaseId: '' }),
    }),
  },
  {
    fault: 'a changed-block map forgets its last extent',
    caughtBy: 'every block that differs is in the map',
    mutation: (driver) => ({
      async *getMetadataDelta(request) {
        for await (const { source, extents } of driver.getMetadataDelta(request)) {
          yield { source, extents: extents.slice(0, -1) };
        }
      },
    }),
  },
  {
    fault: 'the list of allocated blocks begins too late',
    caughtBy: 'what is not listed reads as zero',
    mutation: (driver) => ({
      async *getMetadataAllocated(request) {
        for await (const { extents } of driver.getMetadataAllocated(request)) {
          yield { extents: extents.slice(1) };
        }
      },
    }),
  },
  {
    fault: 'a warm revert boots the guest from its disks',
    caughtBy: 'a warm revert brings memory and disks back',
    mutation: (driver) => ({ revertToInstanceSnapshot: (request) => coldRevert(driver, request) }),
  },
  {
    fault: 'a repeated revert goes back again',
    caughtBy: 'does not go back again',
    mutation: (driver) => ({
      revertToInstanceSnapshot: ({ call: _, ...request }) =>
        driver.revertToInstanceSnapshot(request),
    }),
  },
  {
    fault: 'an id is reused for another volume without a word',
    caughtBy: 'the same id with another size',
    mutation: (driver) => ({
      createVolume: (request) =>
        driver.createVolume(request).catch(async (error) => {
          if (!isRpcError(error, 'ID_REUSED')) throw error;
          const { volumes } = await driver.listVolumes({});
          const volume = volumes.find(({ storageId }) => storageId === request.volumeId);
          return volume ? { volume } : {};
        }),
    }),
  },
  {
    fault: 'a snapshot is deleted under its reader',
    caughtBy: 'open data is SNAPSHOT_OPEN',
    mutation: deletesOpenSnapshots,
  },
  {
    fault: 'a short image is sealed, padded with zeros',
    caughtBy: 'a short image is refused',
    mutation: padsImports,
  },
  {
    fault: 'a technique is claimed that is not there',
    caughtBy: 'every technique that is claimed works',
    mutation: (driver) => ({
      async *watchCapabilities(request, { signal }) {
        for await (const { capabilities } of driver.watchCapabilities(request, { signal })) {
          yield {
            capabilities: capabilities.map((capability) =>
              capability.name === CapabilityName.MEMORY_INTERNAL
                ? { ...capability, available: true }
                : capability,
            ),
          };
        }
      },
    }),
  },
  {
    fault: 'the state of a guest is remembered instead of asked',
    caughtBy: 'start, pause, unpause and a power cut',
    mutation: (driver) => {
      const remembered = new Map<string, Awaited<ReturnType<DriverClient['getCompute']>>>();
      return {
        getCompute: async (request) => {
          const found = remembered.get(request.computeId) ?? (await driver.getCompute(request));
          remembered.set(request.computeId, found);
          return found;
        },
      };
    },
  },
];

async function coldRevert(
  driver: DriverClient,
  request: RevertToInstanceSnapshotRequest,
): Promise<MessageInitShape<typeof RevertToInstanceSnapshotResponseSchema>> {
  const { computeId } = request;
  const stateAfter = StateAfterRevert.STOPPED;
  await driver.revertToInstanceSnapshot({ ...request, stateAfter });
  const { compute } = await driver.operateCompute({
    computeId,
    operation: ComputeOperation.START,
  });
  return compute ? { compute } : {};
}

function deletesOpenSnapshots(driver: DriverClient): ReturnType<Mutation> {
  const tokens = new Set<string>();
  return {
    openSnapshotData: async (request) => {
      const answer = await driver.openSnapshotData(request);
      for (const { token } of answer.locations) tokens.add(token);
      return answer;
    },
    deleteInstanceSnapshot: async (request) => {
      for (const token of tokens) await driver.closeData({ token });
      return driver.deleteInstanceSnapshot(request);
    },
  };
}

function padsImports(driver: DriverClient): ReturnType<Mutation> {
  const places = new Map<string, { path: string; sizeBytes: number }[]>();
  return {
    beginSnapshotImport: async (request) => {
      const answer = await driver.beginSnapshotImport(request);
      const files = answer.locations.flatMap(({ location, sizeBytes }) =>
        location.case === 'localFile'
          ? [{ path: location.value.path, sizeBytes: Number(sizeBytes) }]
          : [],
      );
      places.set(request.snapshot?.snapshotId ?? '', files);
      return answer;
    },
    sealSnapshotImport: async (request) => {
      for (const { path, sizeBytes } of places.get(request.snapshotId) ?? []) {
        await truncate(path, sizeBytes);
      }
      return driver.sealSnapshotImport(request);
    },
  };
}
