/**
 * Revert to VNFC snapshot in direct resource management mode: GR NFV-TST 005 clause 6.4.3, by its
 * step numbers.
 */
import type { JsonValue } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { ComputeOperation, StateAfterRevert } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import type { Step, StepContext } from '../../../sdk/operations/engine.ts';
import type { VnfcRevertPlan } from '../plan/revert-plan.ts';
import { detachedOf } from '../plan/volumes.ts';
import { callOf } from './define.ts';
import {
  type Held,
  heldOf,
  type LetGo,
  letGoRetries,
  quickCallMs,
  release,
  thaw,
} from './phases.ts';
import { checkGuard, longCallMs, operate, type VnfcRevert } from './revert-work.ts';
import { restorePresent } from './safety-snapshot.ts';
import { attachmentOf } from './volumes.ts';

export const revertName = (vnfc: string) => `revert ${vnfc}`;

/** 6.4.3 step 5: a cold snapshot replaces the disks of a component that does not run. */
export function stopStep<I extends JsonValue>(work: VnfcRevert, vnfc: VnfcRevertPlan): Step<I> {
  return {
    ...header(`stop ${vnfc.vnfcInstanceId}`, '5', vnfc),
    deadlineMs: longCallMs,
    ...undoing(work, vnfc),
    run: async (context) => {
      checkGuard(work, context);
      await operate(work.vim, vnfc.computeId, ComputeOperation.STOP_FORCEFUL, context);
    },
  };
}

/**
 * 6.4.3 steps 13 and 17: loads memory and disks in one call; the component is held, or stopped when
 * there is no memory to load.
 */
export function revertStep<I extends JsonValue>(work: VnfcRevert, vnfc: VnfcRevertPlan): Step<I> {
  const { vnfcInstanceId, computeId, snapshotId, warm, suspendedAfter } = vnfc;
  const { HELD, STOPPED, UNSPECIFIED: asCaptured } = StateAfterRevert;
  const stateAfter = suspendedAfter ? asCaptured : warm ? HELD : STOPPED;
  return {
    ...header(revertName(vnfcInstanceId), '13, 17', vnfc),
    deadlineMs: longCallMs,
    ...undoing(work, vnfc),
    run: async (context): Promise<Held | { leaseId: '' }> => {
      checkGuard(work, context);
      const { computeData } = await work.vim.compute.revertVirtualisedComputeResourceToSnapshot(
        {
          computeId,
          snapshotId,
          stateAfter,
          force: vnfc.force,
          detachedVolumes: detachedOf(vnfc.disks, vnfc.detach).map(attachmentOf),
          holdDeadline: durationFromMs(work.holdMs),
          call: callOf(context),
        },
        { signal: context.signal, deadlineMs: longCallMs },
      );
      const expected = warm ? ComputeState.PAUSED : ComputeState.STOPPED;
      if (computeData?.state !== expected) {
        const state = ComputeState[computeData?.state ?? 0];
        const text = `${vnfcInstanceId} is ${state} after the reversion, not ${ComputeState[expected]}`;
        throw failedPrecondition('COMPUTE_STATE', text, { vnfc_instance_id: vnfcInstanceId });
      }
      context.note([...(warm ? ['memory'] : []), ...vnfc.images].join(', '));
      return stateAfter === HELD ? heldOf(computeData.hold) : { leaseId: '' };
    },
  };
}

/** Not in the report: all are loaded, so they run on. */
export function releaseStep<I extends JsonValue>(
  work: VnfcRevert,
  vnfc: VnfcRevertPlan,
  all: readonly VnfcRevertPlan[],
): Step<I> {
  const { vnfcInstanceId, computeId } = vnfc;
  const reverted = revertName(vnfcInstanceId);
  const loaded = (context: StepContext) =>
    all.every((other) => context.outputIfDone(revertName(other.vnfcInstanceId)) !== undefined);
  return {
    ...header(`release ${vnfcInstanceId}`, '', vnfc),
    phase: 'release',
    retryable: letGoRetries,
    // Without a safety snapshot what is loaded cannot go back: it runs when all are loaded, else it
    // is stopped.
    ...(work.withoutSafety && { always: true, releases: [reverted] }),
    run: async (context): Promise<LetGo | undefined> => {
      if (work.withoutSafety && !loaded(context)) {
        context.warn(`${vnfcInstanceId} was stopped, because not all components were loaded`);
        await operate(work.vim, computeId, ComputeOperation.STOP_FORCEFUL, context);
        return undefined;
      }
      checkGuard(work, context);
      if (vnfc.suspendedAfter) context.skip('it was captured suspended and stays so');
      const { leaseId } = context.output<Held>(reverted);
      return release(work.vim, vnfc, leaseId, context);
    },
  };
}

/** Not in the report: memory that was captured with frozen file systems comes back frozen. */
export function thawStep<I extends JsonValue>(work: VnfcRevert, vnfc: VnfcRevertPlan): Step<I> {
  return {
    ...header(`unquiesce ${vnfc.vnfcInstanceId}`, '', vnfc),
    phase: 'resume',
    deadlineMs: 2 * quickCallMs,
    retryable: letGoRetries,
    run: async (context) => {
      await thaw(work.vim, vnfc, '', context);
    },
  };
}

/** 6.4.3 step 25: boots a component of which only disks were captured. */
export function startStep<I extends JsonValue>(work: VnfcRevert, vnfc: VnfcRevertPlan): Step<I> {
  return {
    ...header(`start ${vnfc.vnfcInstanceId}`, '25', vnfc),
    phase: 'resume',
    deadlineMs: longCallMs,
    run: async (context) => {
      await operate(work.vim, vnfc.computeId, ComputeOperation.START, context);
    },
  };
}

/** How the first step that changes a component is undone. */
function undoing<I extends JsonValue>(
  work: VnfcRevert,
  vnfc: VnfcRevertPlan,
): Pick<Step<I>, 'compensate' | 'irreversible' | 'hold'> {
  const stop = (context: StepContext) =>
    operate(work.vim, vnfc.computeId, ComputeOperation.STOP_FORCEFUL, context, 'undo');
  // What it left is where it was.
  if (vnfc.moved) return { compensate: stop };
  if (!work.withoutSafety) {
    return { compensate: (context) => restorePresent(work, vnfc, context) };
  }
  return {
    irreversible: true,
    ...(vnfc.warm && work.runsOn && { hold: true }),
    compensate: stop,
  };
}

function header(name: string, clauseStep: string, { vnfcInstanceId }: VnfcRevertPlan) {
  const clause = clauseStep === '' ? 'Micromano' : '6.4.3';
  return { name, clause, clauseStep, caller: 'vnfm', callee: 'vim', vnfcInstanceId };
}
