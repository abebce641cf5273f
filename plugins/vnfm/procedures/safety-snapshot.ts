/**
 * Not in the report: the present state is kept before a reversion, so that a failure can bring all
 * components back to it.
 */
import type { JsonValue } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { ComputeOperation, StateAfterRevert } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { RpcError } from '../../../sdk/errors.ts';
import type { Step, StepContext } from '../../../sdk/operations/engine.ts';
import { partId } from '../identifiers.ts';
import type { VnfcRevertPlan } from '../plan/revert-plan.ts';
import { detachedOf } from '../plan/volumes.ts';
import { callOf } from './define.ts';
import { isVnfcReversion } from './indirect-mode.ts';
import { type Held, hold, holdName, letGo, quickCallMs } from './phases.ts';
import { checkGuard, guardName, longCallMs, operate, type VnfcRevert } from './revert-work.ts';
import { attach, attachmentOf } from './volumes.ts';

const safetyName = (vnfc: string) => `safety ${vnfc}`;

/**
 * From here on a failure brings all components back. The compensations run in reverse order: first
 * every component that was touched goes back to its safety snapshot, held; then all are released;
 * then, here, the safety snapshots go.
 */
export function guardStep<I extends JsonValue>(
  work: VnfcRevert,
  vnfcs: readonly VnfcRevertPlan[],
): Step<I> {
  return {
    name: guardName,
    clause: 'Micromano',
    caller: 'vnfm',
    callee: 'vnfm',
    run: async () => ({ epoch: work.vnfm.epoch }),
    compensate: (context) => deleteAll(work, vnfcs, context, 'undo'),
  };
}

/** Pauses a component that runs. Its compensation lets it go, whatever holds it by then. */
export function holdPresentStep<I extends JsonValue>(
  work: VnfcRevert,
  vnfc: VnfcRevertPlan,
  deadlineMs: number,
): Step<I> {
  return {
    ...header(holdName(vnfc.vnfcInstanceId), vnfc),
    phase: 'hold',
    deadlineMs: quickCallMs,
    run: async (context): Promise<Held> => {
      checkGuard(work, context);
      return hold(work.vim, vnfc, deadlineMs, context);
    },
    compensate: (context) => letGo(work.vim, vnfc, context),
  };
}

/**
 * Captures the present state of a component. Of one that does not run it is taken where possible.
 */
export function safetyStep<I extends JsonValue>(work: VnfcRevert, vnfc: VnfcRevertPlan): Step<I> {
  const { vnfcInstanceId, computeId, running, safety } = vnfc;
  return {
    ...header(safetyName(vnfcInstanceId), vnfc),
    phase: 'capture',
    deadlineMs: longCallMs,
    run: async (context) => {
      checkGuard(work, context);
      if (vnfc.safetyNote !== '') context.note(vnfc.safetyNote);
      const leaseId = running ? context.output<Held>(holdName(vnfcInstanceId)).leaseId : '';
      try {
        await work.vim.compute.createVirtualisedComputeResourceSnapshot(
          {
            computeId,
            snapshotId: partId(work.safetyId, vnfcInstanceId),
            memory: safety === 'warm',
            storageIds: vnfc.disks.filter((disk) => disk.attached).map((disk) => disk.storageId),
            detachedVolumes: detachedOf(vnfc.disks).map(attachmentOf),
            leaseId,
            name: `before ${context.operationId}`,
            call: callOf(context),
          },
          { signal: context.signal, deadlineMs: longCallMs },
        );
      } catch (thrown) {
        if (running || context.signal.aborted) throw thrown;
        // What is dead already must not keep the VNF from being brought back.
        context.warn(`${vnfcInstanceId}: its present disks cannot be kept`);
        context.skip(`no safety snapshot: ${RpcError.from(thrown).message}`);
      }
      return { safety };
    },
  };
}

/**
 * The last look before all are let go again: each component that something was done to was brought
 * back, each other one is where it was as long as its hold lasts. One whose hold was lost meanwhile
 * (its watchdog let it run, or its machine died with the manager) goes back with the others: all are
 * where they were at one moment.
 */
export function togetherStep<I extends JsonValue>(
  work: VnfcRevert,
  vnfcs: readonly VnfcRevertPlan[],
): Step<I> {
  return {
    ...{ name: 'present kept', clause: 'Micromano', caller: 'vnfm', callee: 'vim' },
    phase: 'capture',
    deadlineMs: longCallMs,
    run: async (context) => checkGuard(work, context),
    compensate: (context) => restoreLost(work, vnfcs, context),
  };
}

async function restoreLost(
  work: VnfcRevert,
  vnfcs: readonly VnfcRevertPlan[],
  context: StepContext,
): Promise<void> {
  const touched = new Set(
    context.occurrence.steps
      .filter(({ clause, attempts }) => isVnfcReversion(clause) && attempts > 0)
      .map(({ vnfcInstanceId }) => vnfcInstanceId),
  );
  if (touched.size === 0) return;
  const { queryResult } = await work.vim.compute.queryVirtualisedComputeResource(
    { computeIds: vnfcs.map(({ computeId }) => computeId) },
    { signal: context.signal },
  );
  // One that is suspended has not run on.
  for (const vnfc of vnfcs.filter(({ running, suspended }) => running && !suspended)) {
    const { vnfcInstanceId: id, computeId, safety } = vnfc;
    const { hold: held } = queryResult.find((found) => found.computeId === computeId) ?? {};
    if (context.outputIfDone(safetyName(id)) === undefined) continue;
    // Without its memory it was brought back running, not held.
    if (touched.has(id) && (held || safety !== 'warm')) continue;
    if (!touched.has(id) && held?.leaseId === context.output<Held>(holdName(id)).leaseId) continue;
    context.warn(`${id} had run on since; it goes back with the others`);
    // Each start of the manager may have lost it anew.
    await restorePresent(work, vnfc, context, `undo/${id}/${work.vnfm.epoch}`);
  }
}

/** Brings a component back to where it was before the reversion, held when it ran. */
export async function restorePresent(
  work: VnfcRevert,
  vnfc: VnfcRevertPlan,
  context: StepContext,
  what = 'undo',
): Promise<void> {
  const { vnfcInstanceId, computeId, running, safety } = vnfc;
  // Detached for the reversion, which has stopped the component; what was kept is of a component that had them.
  if (vnfc.detach.length > 0) {
    await operate(work.vim, computeId, ComputeOperation.STOP_FORCEFUL, context, `${what}/stop`);
    await attach(work.vim, computeId, vnfc.detach, context, what);
  }
  if (context.outputIfDone(safetyName(vnfcInstanceId)) === undefined) {
    context.warn(
      `${vnfcInstanceId} was not running before and is stopped; its disks may have changed`,
    );
    await operate(work.vim, computeId, ComputeOperation.STOP_FORCEFUL, context, what);
    return;
  }
  const { HELD, RUNNING, STOPPED, UNSPECIFIED: asCaptured } = StateAfterRevert;
  const alive = safety !== 'warm' ? RUNNING : vnfc.suspended ? asCaptured : HELD;
  await work.vim.compute.revertVirtualisedComputeResourceToSnapshot(
    {
      computeId,
      snapshotId: partId(work.safetyId, vnfcInstanceId),
      detachedVolumes: detachedOf(vnfc.disks).map(attachmentOf),
      stateAfter: running ? alive : STOPPED,
      holdDeadline: durationFromMs(work.holdMs),
      call: callOf(context, what),
    },
    { signal: context.signal, deadlineMs: longCallMs },
  );
}

/**
 * The VNF is at the snapshot and runs: what was kept of the state before is not needed any more.
 */
export function deleteSafetyStep<I extends JsonValue>(
  work: VnfcRevert,
  vnfcs: readonly VnfcRevertPlan[],
): Step<I> {
  return {
    name: 'delete safety',
    clause: 'Micromano',
    caller: 'vnfm',
    callee: 'vim',
    irreversible: true,
    retryable: { attemptsMax: 5, delayMs: 200, delayMsMax: 2_000 },
    deadlineMs: longCallMs,
    run: (context) => deleteAll(work, vnfcs, context),
  };
}

async function deleteAll(
  work: VnfcRevert,
  vnfcs: readonly VnfcRevertPlan[],
  context: StepContext,
  what = '',
): Promise<void> {
  await Promise.all(
    vnfcs.map(({ vnfcInstanceId }) =>
      work.vim.compute.deleteVirtualisedComputeResourceSnapshot(
        {
          snapshotId: partId(work.safetyId, vnfcInstanceId),
          call: callOf(context, what === '' ? vnfcInstanceId : `${vnfcInstanceId}/${what}`),
        },
        { signal: context.signal, deadlineMs: longCallMs },
      ),
    ),
  );
}

function header(name: string, { vnfcInstanceId }: VnfcRevertPlan) {
  return { name, clause: 'Micromano', caller: 'vnfm', callee: 'vim', vnfcInstanceId };
}
