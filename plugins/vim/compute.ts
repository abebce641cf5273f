import type { DriverCapabilities } from '../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import { VirtualisedComputeResourceService } from '../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import {
  type VirtualCompute,
  VirtualComputeSchema,
} from '../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { failedPrecondition, RpcError } from '../../sdk/errors.ts';
import { parseFilter } from '../../sdk/filter.ts';
import { type Handlers, implement } from '../../sdk/server.ts';
import { forwarded, type Vim } from './vim.ts';

/**
 * How long calls to a driver may take that start, stop, capture or load a guest. A caller with a shorter deadline ends
 * them earlier.
 */
const longDeadlineMs = 10 * 60_000;

/** The compute interface: finds the driver that has the resource and passes the call on, errors unchanged. */
export function computeService(vim: Vim) {
  return implement(
    VirtualisedComputeResourceService,
    { ...lifeCycle(vim), ...volumesAndPhases(vim), ...snapshots(vim) },
    { logger: vim.logger },
  );
}

type ComputeHandlers = Handlers<typeof VirtualisedComputeResourceService>;

function lifeCycle(vim: Vim): ComputeHandlers {
  return {
    allocateVirtualisedComputeResource: async (request, context) => {
      const driver = await vim.placeOf(request);
      await vim.resources.place('compute', request.computeId, driver);
      const { compute } = await vim.drivers
        .client(driver)
        .createCompute(forwarded(request), vim.options(context, longDeadlineMs));
      return { computeData: await remember(vim, driver, compute) };
    },
    queryVirtualisedComputeResource: async (request) => {
      const found =
        request.computeIds.length > 0
          ? await vim.each(request.computeIds, 'compute', async (client, computeId) => {
              return (await client.getCompute({ computeId })).compute;
            })
          : await vim.all(async (client) => (await client.listComputes({})).computes);
      const matches = parseFilter(VirtualComputeSchema, request.queryComputeFilter);
      return { queryResult: found.filter((compute) => matches(compute)) };
    },
    terminateVirtualisedComputeResource: async (request, context) => {
      const driver = await vim.resources.find('compute', request.computeId);
      if (!driver) return {};
      await vim.drivers
        .client(driver)
        .deleteCompute(forwarded(request), vim.options(context, longDeadlineMs));
      await vim.resources.forget('compute', request.computeId);
      return {};
    },
    operateVirtualisedComputeResource: async (request, context) => {
      const { driver, client } = await vim.of('compute', request.computeId);
      const { computeOperation: operation, ...rest } = forwarded(request);
      const { compute } = await client.operateCompute(
        { ...rest, operation },
        vim.options(context, longDeadlineMs),
      );
      return { computeData: await remember(vim, driver, compute) };
    },
  };
}

function volumesAndPhases(vim: Vim): ComputeHandlers {
  return {
    attachVirtualisedStorageResource: async (request, context) => {
      const { client } = await vim.of('compute', request.computeId);
      const { compute } = await client.attachVolume(forwarded(request), vim.options(context));
      return { computeData: compute };
    },
    detachVirtualisedStorageResource: async (request, context) => {
      const { client } = await vim.of('compute', request.computeId);
      const { storageId: volumeId, ...rest } = forwarded(request);
      const { compute } = await client.detachVolume({ ...rest, volumeId }, vim.options(context));
      return { computeData: compute };
    },
    quiesceVirtualisedComputeResource: async (request, context) => {
      const { client } = await vim.of('compute', request.computeId);
      const { lease, frozenFileSystems } = await client.quiesceCompute(
        forwarded(request),
        vim.options(context),
      );
      return { lease, frozenFileSystems };
    },
    unquiesceVirtualisedComputeResource: async (request, context) => {
      const { client } = await vim.of('compute', request.computeId);
      const { thawedFileSystems } = await client.unquiesceCompute(
        forwarded(request),
        vim.options(context),
      );
      return { thawedFileSystems };
    },
    holdVirtualisedComputeResource: async (request, context) => {
      const { client } = await vim.of('compute', request.computeId);
      const { lease } = await client.holdCompute(forwarded(request), vim.options(context));
      return { lease };
    },
    releaseVirtualisedComputeResource: async (request, context) => {
      const { client } = await vim.of('compute', request.computeId);
      const { releaseTime } = await client.releaseCompute(forwarded(request), vim.options(context));
      return { releaseTime };
    },
  };
}

function snapshots(vim: Vim): ComputeHandlers {
  return {
    createVirtualisedComputeResourceSnapshot: async (request, context) => {
      const { driver, client } = await vim.of('compute', request.computeId);
      await vim.resources.place('snapshot', request.snapshotId, driver);
      const { storageIds: volumeIds, ...rest } = forwarded(request);
      const { snapshot } = await client.createInstanceSnapshot(
        { ...rest, volumeIds },
        vim.options(context, longDeadlineMs),
      );
      return { snapshot: snapshot && { ...snapshot, driver } };
    },
    revertVirtualisedComputeResourceToSnapshot: async (request, context) => {
      const { driver, client } = await vim.of('compute', request.computeId);
      await requireHere(vim, driver, request.snapshotId);
      const { compute } = await client.revertToInstanceSnapshot(
        forwarded(request),
        vim.options(context, longDeadlineMs),
      );
      return { computeData: await remember(vim, driver, compute) };
    },
    queryVirtualisedComputeResourceSnapshots: async ({ snapshotIds, computeId }) => {
      const found =
        snapshotIds.length > 0
          ? await vim.each(snapshotIds, 'snapshot', async (client, snapshotId) => {
              return (await client.showInstanceSnapshot({ snapshotId })).snapshot;
            })
          : await vim.all(
              async (client) => (await client.listInstanceSnapshots({ computeId })).snapshots,
            );
      return {
        snapshots: found.filter((item) => computeId === '' || item.computeId === computeId),
      };
    },
    deleteVirtualisedComputeResourceSnapshot: async (request, context) => {
      const driver = await vim.resources.find('snapshot', request.snapshotId);
      if (!driver) return {};
      await vim.drivers
        .client(driver)
        .deleteInstanceSnapshot(forwarded(request), vim.options(context, longDeadlineMs));
      await vim.resources.forget('snapshot', request.snapshotId);
      return {};
    },
    querySnapshotCapabilities: async ({ virtualisationEnvironment }) => {
      const described = await Promise.all(
        vim.drivers.instances.map((instance) => describe(vim, instance)),
      );
      return {
        drivers: described.filter(
          (driver) =>
            virtualisationEnvironment === '' ||
            driver.virtualisationEnvironment === virtualisationEnvironment,
        ),
      };
    },
  };
}

/** A snapshot that another driver has is nothing that this one could know of. */
async function requireHere(vim: Vim, driver: string, snapshotId: string): Promise<void> {
  const owner = await vim.resources.find('snapshot', snapshotId);
  if (!owner || owner === driver) return;
  const text = `snapshot "${snapshotId}" is on host "${owner}", the compute resource on "${driver}"; revert the VNF, which brings it over, or extract a package there`;
  throw failedPrecondition('SNAPSHOT_ELSEWHERE', text, { host: owner, wanted: driver });
}

/** One driver's answer; a driver that is silent is listed with the reason, never left out. */
async function describe(
  vim: Vim,
  instance: string,
): Promise<Omit<DriverCapabilities, '$typeName'>> {
  try {
    const info = await vim.drivers.info(instance);
    return {
      driver: instance,
      virtualisationEnvironment: info.driver,
      capabilities: await vim.drivers.capabilities(instance),
      unavailableReason: '',
      snapshotFolders: info.snapshotFolders,
      ...(info.compatibility && { compatibility: info.compatibility }),
    };
  } catch (thrown) {
    return {
      driver: instance,
      virtualisationEnvironment: '',
      capabilities: [],
      snapshotFolders: [],
      unavailableReason: RpcError.from(thrown).message,
    };
  }
}

/** Keeps the recovery handle that came with a compute resource, and names the driver in the answer. */
async function remember(vim: Vim, driver: string, compute: VirtualCompute | undefined) {
  if (!compute) return undefined;
  const handle = compute.recoveryHandle;
  if (handle) {
    await vim.resources.keepRecovery(compute.computeId, driver, handle.version, handle.data);
  }
  return { ...compute, driver };
}
