import { rm } from 'node:fs/promises';
import { fromJson, toJson } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  type CreateInstanceSnapshotRequest,
  CreateInstanceSnapshotRequestSchema,
  type DriverService,
  type RevertToInstanceSnapshotRequest,
  StateAfterRevert,
} from '../../../../gen/nfv/driver/v1/driver_pb.js';
import {
  DiskTechnique,
  InstanceSnapshotSchema,
  MemoryTechnique,
} from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { alreadyExists, failedPrecondition, invalidArgument } from '../../../../sdk/errors.ts';
import { failpoint } from '../../../../sdk/failpoint.ts';
import { parseFilter } from '../../../../sdk/filter.ts';
import type { Handlers } from '../../../../sdk/server.ts';
import { callersFolder } from '../../../../sdk/snapshot-folder.ts';
import { computeLock, tidyLayers, withPinned } from '../disks/tidy.ts';
import { capabilityMissing, unknownSnapshot } from '../errors.ts';
import { capture, snapshotsInOrder } from '../snapshots/capture.ts';
import { detachedOf } from '../snapshots/detached.ts';
import { removeSnapshotFolder } from '../snapshots/folder.ts';
import { revert } from '../snapshots/revert.ts';
import type { DriverContext } from '../state/context.ts';
import type { SnapshotRecord } from '../state/records.ts';
import { computeMessage, snapshotMessage } from './messages.ts';
import { withFiles } from './snapshot-files.ts';

const holdMsDefault = 60_000;
const holdMsMax = 600_000;

type SnapshotHandlers = Pick<
  Handlers<typeof DriverService>,
  | 'createInstanceSnapshot'
  | 'revertToInstanceSnapshot'
  | 'updateInstanceSnapshot'
  | 'listInstanceSnapshots'
  | 'showInstanceSnapshot'
  | 'deleteInstanceSnapshot'
>;

/** The calls about instance snapshots. */
export function snapshotHandlers(context: DriverContext): SnapshotHandlers {
  return {
    createInstanceSnapshot: (request) =>
      context.locks.run(computeLock(request.computeId), async () => ({
        snapshot: withFiles(context, await createSnapshot(context, request)),
      })),
    revertToInstanceSnapshot: (request) =>
      loading(context, request, async () => {
        const compute = context.compute(request.computeId);
        snapshotRecord(context, request.snapshotId);
        if (!context.earlierCall(compute, 'revert', request.call)) {
          const { holdDeadline, stateAfter } = request;
          const holdMs = holdDeadline ? durationMs(holdDeadline) : holdMsDefault;
          if (holdMs < 1 || holdMs > holdMsMax) {
            const text = `hold_deadline: ${holdMs} ms is not between 1 and ${holdMsMax} ms`;
            throw invalidArgument('FIELD_VIOLATION', text);
          }
          if (!(stateAfter in StateAfterRevert)) {
            throw invalidArgument('FIELD_VIOLATION', `state_after: ${stateAfter} is unknown`);
          }
          const detached = detachedOf(context, compute, request.detachedVolumes);
          await revert(context, { ...request, call: request.call, holdMs, detached });
        }
        tidyLater(context);
        return { compute: await computeMessage(context, request.computeId) };
      }),
    updateInstanceSnapshot: async ({ snapshotId, name, metadata }) => {
      const record = snapshotRecord(context, snapshotId);
      const snapshot = snapshotMessage(record);
      if (name !== undefined) snapshot.name = name;
      for (const [key, value] of Object.entries(metadata)) {
        if (value === '') delete snapshot.metadata[key];
        else snapshot.metadata[key] = value;
      }
      const instance = toJson(InstanceSnapshotSchema, snapshot);
      const changed = { ...record, instance };
      context.store.put('snapshot', snapshotId, changed);
      return { snapshot: withFiles(context, changed) };
    },
    listInstanceSnapshots: async ({ computeId, filter }) => {
      const matches = parseFilter(InstanceSnapshotSchema, filter);
      const snapshots = snapshotsInOrder(context).map((record) => withFiles(context, record));
      return {
        snapshots: snapshots.filter(
          (snapshot) => (computeId === '' || snapshot.computeId === computeId) && matches(snapshot),
        ),
      };
    },
    showInstanceSnapshot: async ({ snapshotId }) => ({
      snapshot: withFiles(context, snapshotRecord(context, snapshotId)),
    }),
    deleteInstanceSnapshot: async ({ snapshotId }) => {
      await context.locks.run(`snapshot ${snapshotId}`, () => deleteSnapshot(context, snapshotId));
      await tidyLayers(context);
      return {};
    },
  };
}

/** Does the work while the compute resource changes for nobody else and nothing that the snapshot has is merged. */
function loading<T>(
  context: DriverContext,
  { computeId, snapshotId }: RevertToInstanceSnapshotRequest,
  work: () => Promise<T>,
): Promise<T> {
  const layers = () => Object.values(context.store.get('snapshot', snapshotId)?.layers ?? {});
  return withPinned(context, layers, () => context.locks.run(computeLock(computeId), work));
}

export function snapshotRecord(context: DriverContext, snapshotId: string): SnapshotRecord {
  const record = context.store.get('snapshot', snapshotId);
  if (!record) throw unknownSnapshot(snapshotId);
  return record;
}

/** Merging what a failure or a revert left over may take long; nobody needs to wait for it. */
export function tidyLater(context: DriverContext): void {
  const work = tidyLayers(context)
    .catch((error) => {
      const text = 'layers could not be merged now; the next start or deletion tries again';
      context.logger.warn(text, { error });
    })
    .finally(() => context.background.delete(work));
  context.background.add(work);
}

async function createSnapshot(
  context: DriverContext,
  request: CreateInstanceSnapshotRequest,
): Promise<SnapshotRecord> {
  const asked = canonical(request);
  const existing = context.store.get('snapshot', request.snapshotId);
  if (existing) {
    if (existing.request === asked) return existing;
    const text = `snapshot "${request.snapshotId}" exists and was made by another request`;
    throw alreadyExists('ID_REUSED', text, { snapshot_id: request.snapshotId });
  }
  const compute = context.compute(request.computeId);
  assertAskedForPossible(request);
  const detached = detachedOf(context, compute, request.detachedVolumes);
  const attached = compute.attachments.map(({ volumeId }) => volumeId);
  const foreign = request.volumeIds.find((volumeId) => !attached.includes(volumeId));
  if (foreign !== undefined) {
    const text = `volume_ids: "${foreign}" is not attached to ${request.computeId}`;
    throw invalidArgument('FIELD_VIOLATION', text, { volume_id: foreign });
  }
  const { folder } = request;
  const allowed = context.config.snapshotFolders;
  const place = folder === '' ? undefined : await callersFolder(folder, allowed);
  try {
    return await capture(context, {
      ...{ ...request, request: asked, detached, callersFolder: place },
    });
  } catch (error) {
    tidyLater(context);
    throw error;
  }
}

function assertAskedForPossible(request: CreateInstanceSnapshotRequest): void {
  const { memory, memoryTechnique, diskTechnique, leaseId, stopAfter } = request;
  const disks = request.volumeIds.length + request.detachedVolumes.length;
  if (!memory && disks === 0) {
    throw invalidArgument('FIELD_VIOLATION', 'ask for memory, for volumes, or for both');
  }
  if (leaseId !== '' && stopAfter) {
    throw invalidArgument('FIELD_VIOLATION', 'stop_after: not with a lease');
  }
  if (memory && memoryTechnique === MemoryTechnique.INTERNAL) {
    throw capabilityMissing('MEMORY_INTERNAL', 'memory is kept in files of its own only');
  }
  const possible = [DiskTechnique.UNSPECIFIED, DiskTechnique.EXTERNAL_INCREMENTAL];
  if (disks > 0 && !possible.includes(diskTechnique)) {
    const name = DiskTechnique[diskTechnique];
    throw capabilityMissing(`DISK_${name}`, 'disks are kept as external incremental layers only');
  }
}

/** What makes two requests the same: everything but on whose behalf they are made. */
function canonical(request: CreateInstanceSnapshotRequest): string {
  const metadata = Object.fromEntries(Object.entries(request.metadata).sort());
  const json = toJson(CreateInstanceSnapshotRequestSchema, { ...request, metadata });
  const { call: _, leaseId: __, ...rest } = json as Record<string, unknown>;
  return JSON.stringify(rest);
}

async function deleteSnapshot(context: DriverContext, snapshotId: string): Promise<void> {
  const record = context.store.get('snapshot', snapshotId);
  if (!record) {
    // Also an import that nobody seals any more.
    context.store.delete('import', snapshotId);
    await rm(`${context.folders.snapshot(snapshotId)}.import`, { recursive: true, force: true });
    return;
  }
  const open = context.store.list('opening').find((opening) => opening.snapshotId === snapshotId);
  if (open) {
    const text = `snapshot ${snapshotId} is open for reading; close it first`;
    throw failedPrecondition('SNAPSHOT_OPEN', text, { snapshot_id: snapshotId });
  }
  context.store.transaction(() => {
    context.store.delete('snapshot', snapshotId);
    const parent = snapshotMessage(record).parentSnapshotId;
    forgetParent(context, snapshotId, parent);
  });
  await failpoint('qemu.delete.recorded');
  await removeSnapshotFolder(context, context.folders.snapshot(snapshotId));
}

/** Whoever descended from the deleted snapshot descends from its parent now. */
function forgetParent(context: DriverContext, snapshotId: string, parentId: string): void {
  for (const record of context.store.list('snapshot')) {
    const snapshot = fromJson(InstanceSnapshotSchema, record.instance);
    if (snapshot.parentSnapshotId !== snapshotId) continue;
    snapshot.parentSnapshotId = parentId;
    const instance = toJson(InstanceSnapshotSchema, snapshot);
    context.store.put('snapshot', record.snapshotId, { ...record, instance });
  }
  for (const { computeId, parentSnapshotId } of context.store.list('compute')) {
    if (parentSnapshotId === snapshotId) context.update(computeId, { parentSnapshotId: parentId });
  }
}
