/**
 * Bringing captured state to the host where it is wanted: a VNFC snapshot package of it (GR NFV-TST 005 clause 6.6.1), extracted there
 * (6.6.3).
 */
import type { JsonValue } from '@bufbuild/protobuf';
import { type PlanItem, type Step, sequence } from '../../../sdk/operations/engine.ts';
import type { VimClients } from '../peers.ts';
import type { Carried } from '../plan/hosts.ts';
import { requireRecord, unknownSnapshot, vnfSnapshots } from '../records.ts';
import type { Vnfm } from '../vnfm.ts';
import { notAvailable } from './availability.ts';
import { callOf } from './define.ts';
import { relay } from './progress.ts';

/** Reading, storing and writing the largest disks takes hours, not days. */
const carryDeadlineMs = 6 * 3_600_000;

type Work = { vnfm: Vnfm; vim: VimClients; vnfSnapshotInfoId: string };

/** Brings each over; undone, nothing is left of the copies. */
export function carrySteps<I extends JsonValue>(
  work: Work,
  carried: readonly Carried[],
): PlanItem<I>[] {
  if (carried.length === 0) return [];
  return [
    sequence(carried.flatMap((item) => [packStep<I>(work, item), extractStep<I>(work, item)])),
  ];
}

function packStep<I extends JsonValue>({ vnfm, vim }: Work, item: Carried): Step<I> {
  const { copyId: vnfcSnapshotPackageId, snapshotId, vnfcInstanceId } = item;
  return {
    ...header(`pack ${vnfcInstanceId}`, item),
    run: async (context) => {
      const { transport } = vnfm.config;
      const events = vim.packages.createVnfcSnapshotPackage(
        { vnfcSnapshotPackageId, snapshotId, transport, call: callOf(context) },
        { signal: context.signal, deadlineMs: carryDeadlineMs },
      );
      await relay(events, 'package', context, BigInt(item.sizeBytes));
    },
    compensate: (context) => deletePackage(vim, item, callOf(context, 'undo'), context.signal),
  };
}

function extractStep<I extends JsonValue>(work: Work, item: Carried): Step<I> {
  const { vim } = work;
  const { copyId, vnfcInstanceId, environment, host } = item;
  return {
    ...header(`extract ${vnfcInstanceId}`, item),
    run: async (context) => {
      const snapshot = await contentOf(work, vnfcInstanceId);
      const events = vim.packages.extractVnfcSnapshotPackage(
        {
          ...{ vnfcSnapshotPackageId: copyId, snapshotId: copyId, snapshot },
          ...{ virtualisationEnvironment: environment, targetHost: host, call: callOf(context) },
        },
        { signal: context.signal, deadlineMs: carryDeadlineMs },
      );
      await relay(events, 'snapshot', context, BigInt(item.sizeBytes));
      context.note(`on host ${host}`);
    },
    compensate: (context) => deleteCopy(vim, item, callOf(context, 'undo'), context.signal),
  };
}

/** The components are there: the copies are not needed any more. */
export function dropCopiesStep<I extends JsonValue>(
  { vim }: Work,
  carried: readonly Carried[],
): Step<I> {
  return {
    name: 'delete copies',
    clause: 'Micromano',
    caller: 'vnfm',
    callee: 'vim',
    irreversible: true,
    retryable: { attemptsMax: 5, delayMs: 200, delayMsMax: 2_000 },
    deadlineMs: carryDeadlineMs,
    run: async (context) => {
      for (const item of carried) {
        const { vnfcInstanceId: vnfc } = item;
        await deleteCopy(vim, item, callOf(context, `${vnfc}/copy`), context.signal);
        await deletePackage(vim, item, callOf(context, `${vnfc}/package`), context.signal);
      }
    },
  };
}

type Call = ReturnType<typeof callOf>;

async function deletePackage(
  vim: VimClients,
  { copyId: vnfcSnapshotPackageId }: Carried,
  call: Call,
  signal: AbortSignal,
): Promise<void> {
  await vim.packages.deleteVnfcSnapshotPackage({ vnfcSnapshotPackageId, call }, { signal });
}

async function deleteCopy(
  vim: VimClients,
  { copyId: snapshotId }: Carried,
  call: Call,
  signal: AbortSignal,
): Promise<void> {
  await vim.compute.deleteVirtualisedComputeResourceSnapshot(
    { snapshotId, call },
    { signal, deadlineMs: carryDeadlineMs },
  );
}

/** The snapshot as it was described when it was taken. */
async function contentOf({ vnfm, vnfSnapshotInfoId }: Work, vnfcInstanceId: string) {
  const { value } = await requireRecord(
    vnfm.store,
    vnfSnapshots,
    vnfSnapshotInfoId,
    unknownSnapshot,
  );
  const parts = value.vnfSnapshot?.vnfcSnapshots ?? [];
  const found = parts.find((part) => part.vnfcInstanceId === vnfcInstanceId)?.instanceSnapshot;
  if (found) return found;
  throw notAvailable(vnfSnapshotInfoId, `it has no part ${vnfcInstanceId}`);
}

function header(name: string, { vnfcInstanceId }: Carried) {
  const who = { caller: 'vnfm', callee: 'vim', vnfcInstanceId };
  return { name, clause: 'Micromano', ...who, deadlineMs: carryDeadlineMs };
}
