import type { ComputeOperation } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { aborted } from '../../../sdk/errors.ts';
import type { StepContext } from '../../../sdk/operations/engine.ts';
import type { VimClients } from '../peers.ts';
import type { Vnfm } from '../vnfm.ts';
import { callOf } from './define.ts';

/**
 * Loading the memory of one component may take long, and those that are loaded wait for it, held.
 */
export const loadedHoldMs = 5 * 60_000;
export const longCallMs = 10 * 60_000;

/** What the steps of one component work with. */
export type VnfcRevert = {
  vnfm: Vnfm;
  vim: VimClients;
  /** Prefix of the safety snapshots' identifiers. */
  safetyId: string;
  /** The request asked for none: a failure leaves components stopped. */
  withoutSafety: boolean;
  /** Components run when all are loaded; if not, they stay held. */
  runsOn: boolean;
  /** How long loaded components stay held at most. */
  holdMs: number;
};

export const guardName = 'guard';
/**
 * After a crash nothing is known of what was held since: the step fails, and all go back to where
 * they were. Steps after the release do not look here, so that an operation whose components run
 * already is brought to its end.
 */
export function checkGuard(work: VnfcRevert, context: StepContext): void {
  const guard = context.outputIfDone<{ epoch: string }>(guardName);
  if (!guard || guard.epoch === work.vnfm.epoch) return;
  const text =
    'the manager was interrupted while it held components; all go back to where they were';
  throw aborted('INTERRUPTED', text);
}

/** Starts or stops a compute resource. */
export async function operate(
  vim: VimClients,
  computeId: string,
  computeOperation: ComputeOperation,
  context: StepContext,
  what = '',
): Promise<void> {
  await vim.compute.operateVirtualisedComputeResource(
    { computeId, computeOperation, call: callOf(context, what) },
    { signal: context.signal, deadlineMs: longCallMs },
  );
}
