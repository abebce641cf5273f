import { hostname } from 'node:os';
import { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { InstanceSnapshotSchema } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { parseFilter } from '../../../sdk/filter.ts';
import {
  type HandlerContext,
  type Handlers,
  implement,
  type ServiceImplementation,
} from '../../../sdk/server.ts';
import { capabilities } from './capabilities.ts';
import { createCompute, deleteCompute, operateCompute, recoverCompute } from './computes.ts';
import type { Core } from './core.ts';
import type { Driver } from './driver.ts';
import { holdCompute, quiesceCompute, releaseCompute, unquiesceCompute } from './holds.ts';
import {
  compatibilityStamp,
  computeMessage,
  describeCompute,
  driverVersion,
  networkMessage,
  volumeMessage,
} from './messages.ts';
import { createNetwork, deleteNetwork } from './networks.ts';
import { revertCompute } from './revert.ts';
import { createSnapshot } from './snapshot-create.ts';
import {
  metadataAllocated,
  metadataDelta,
  openSnapshotData,
  openVolumeData,
} from './snapshot-data.ts';
import { beginImport, sealImport } from './snapshot-import.ts';
import { deleteSnapshot, listSnapshots, updateSnapshot, withFiles } from './snapshots.ts';
import { attachVolume, createVolume, deleteVolume, detachVolume } from './volumes.ts';

/** Serves nfv.driver.v1.DriverService over an open driver. */
export function driverService(driver: Driver): ServiceImplementation {
  const { core, openings } = driver;
  const once = core.outcomes;
  return implement(
    DriverService,
    {
      getDriverInfo: async () => ({
        driver: 'wasmvm',
        driverVersion,
        compatibility: compatibilityStamp(),
        hostId: hostname(),
        snapshotFolders: core.config.snapshotFolders,
      }),
      watchCapabilities: (_request, context) => watchCapabilities(context),
      ...computeHandlers(core),
      ...volumeHandlers(driver),
      ...holdHandlers(core),
      createInstanceSnapshot: async (request) => ({
        snapshot: withFiles(core, await createSnapshot(core, request)),
      }),
      revertToInstanceSnapshot: (request) =>
        once.run('revert', request.computeId, request.call, async () => ({
          compute: await revertCompute(core, request),
        })),
      updateInstanceSnapshot: async (request) => ({
        snapshot: withFiles(core, await updateSnapshot(core, request)),
      }),
      listInstanceSnapshots: async ({ computeId, filter }) => ({
        snapshots: listSnapshots(core, computeId)
          .map((snapshot) => withFiles(core, snapshot))
          .filter(parseFilter(InstanceSnapshotSchema, filter)),
      }),
      showInstanceSnapshot: async ({ snapshotId }) => ({
        snapshot: withFiles(core, core.inventory.snapshot(snapshotId).snapshot),
      }),
      deleteInstanceSnapshot: async ({ snapshotId }) => {
        await deleteSnapshot(core, openings, snapshotId);
        return {};
      },
      openSnapshotData: async (request) => ({
        locations: await openSnapshotData(core, openings, request),
      }),
      closeData: async ({ token }) => {
        openings.close(token);
        return {};
      },
      getMetadataDelta: (request) => metadataDelta(core, request),
      getMetadataAllocated: (request) => metadataAllocated(core, request),
      beginSnapshotImport: async (request) => ({ locations: await beginImport(core, request) }),
      sealSnapshotImport: async ({ snapshotId }) => ({
        snapshot: withFiles(core, await sealImport(core, snapshotId)),
      }),
    },
    { logger: core.logger, random: core.random },
  );
}

function computeHandlers(core: Core) {
  return {
    createCompute: async (request) => ({ compute: await createCompute(core, request) }),
    getCompute: async ({ computeId }) => ({ compute: await computeMessage(core, computeId) }),
    listComputes: async () => {
      const ids = [...core.inventory.computes.keys()];
      return { computes: await Promise.all(ids.map((id) => computeMessage(core, id))) };
    },
    watchComputes: (_request, context) => watchComputes(core, context),
    recoverCompute: async (request) => ({ compute: await recoverCompute(core, request) }),
    operateCompute: (request) =>
      core.outcomes.run('operate', request.computeId, request.call, async () => ({
        compute: await operateCompute(core, request),
      })),
    deleteCompute: async ({ computeId }) => {
      await deleteCompute(core, computeId);
      return {};
    },
  } satisfies Handlers<typeof DriverService>;
}

function volumeHandlers({ core, openings }: Driver) {
  return {
    createVolume: async (request) => ({ volume: await createVolume(core, request) }),
    listVolumes: async () => ({
      volumes: [...core.inventory.volumes.values()].map((volume) => volumeMessage(core, volume)),
    }),
    deleteVolume: async ({ volumeId }) => {
      await deleteVolume(core, volumeId);
      return {};
    },
    attachVolume: async (request) => ({ compute: await attachVolume(core, request) }),
    detachVolume: async (request) => ({ compute: await detachVolume(core, request) }),
    openVolumeData: async ({ volumeId }) => ({
      location: await openVolumeData(core, openings, volumeId),
    }),
    createNetwork: async ({ networkId }) => ({ network: await createNetwork(core, networkId) }),
    listNetworks: async () => ({
      networks: [...core.inventory.networks.values()].map((item) => networkMessage(core, item)),
    }),
    deleteNetwork: async ({ networkId }) => {
      await deleteNetwork(core, networkId);
      return {};
    },
  } satisfies Handlers<typeof DriverService>;
}

function holdHandlers(core: Core) {
  const once = core.outcomes;
  return {
    quiesceCompute: (request) =>
      once.run('quiesce', request.computeId, request.call, () => quiesceCompute(core, request)),
    unquiesceCompute: (request) =>
      once.run('unquiesce', request.computeId, request.call, () => unquiesceCompute(core, request)),
    holdCompute: (request) =>
      once.run('hold', request.computeId, request.call, () => holdCompute(core, request)),
    releaseCompute: (request) =>
      once.run('release', request.computeId, request.call, () => releaseCompute(core, request)),
  } satisfies Handlers<typeof DriverService>;
}

async function* watchCapabilities({ signal }: HandlerContext) {
  yield { capabilities: capabilities() };
  if (signal.aborted) return;
  await new Promise<void>((resolve) =>
    signal.addEventListener('abort', () => resolve(), { once: true }),
  );
}

async function* watchComputes(core: Core, { signal }: HandlerContext) {
  const { inventory, watchers } = core;
  for await (const computeId of watchers.watch(inventory.computes.keys(), signal)) {
    const compute = inventory.computes.get(computeId);
    if (!compute) {
      yield { compute: { computeId, driver: core.instanceId }, deleted: true };
      continue;
    }
    const status = await core.room.call('status', { computeId });
    const present = inventory.computes.get(computeId) ?? compute;
    yield { compute: describeCompute(core, present, status) };
  }
}
