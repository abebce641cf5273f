import type { JsonValue } from '@bufbuild/protobuf';
import { durationFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { StepState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { failedPrecondition, isRpcError } from '../../../sdk/errors.ts';
import {
  type Group,
  parallel,
  type Step,
  type StepContext,
  sequence,
} from '../../../sdk/operations/engine.ts';
import type { VimClients } from '../peers.ts';
import { callOf, stepRecord } from './define.ts';

/**
 * Letting go is worth more tries than anything else: a component that is not let go stands still.
 */
export const letGoRetries = { attemptsMax: 5, delayMs: 100, delayMsMax: 1_000 };
/** How long one call may take that only pauses, lets run, freezes or thaws, in milliseconds. */
export const quickCallMs = 20_000;

/** A hold or freeze as the driver took it; times by its clock. */
export type Held = { leaseId: string; atMs: number; expiresMs: number };
/** When it ended. */
export type LetGo = { atMs: number };

type Target = { vnfcInstanceId: string; computeId: string };

/**
 * The steps of one phase: with an order (Vnfsd.017, Vnfsd.018) one component after the other, else
 * all together, so that the first waits as little as possible for the last.
 */
export function phase<Input extends JsonValue, Item>(
  items: readonly Item[],
  ordered: boolean,
  stepsOf: (item: Item) => Step<Input> | readonly Step<Input>[],
): Group<Input>[] {
  const chains = items.map((item) => [stepsOf(item)].flat() as Step<Input>[]);
  const filled = chains.filter((chain) => chain.length > 0);
  if (filled.length === 0) return [];
  return [ordered ? sequence(filled.flat()) : parallel(filled)];
}

export const holdName = (vnfc: string) => `hold ${vnfc}`;

/** Pauses a component, with a deadline that is kept without the VNFM. */
export async function hold(
  vim: VimClients,
  { computeId }: Target,
  deadlineMs: number,
  context: StepContext,
): Promise<Held> {
  const { lease } = await vim.compute.holdVirtualisedComputeResource(
    { computeId, deadline: durationFromMs(deadlineMs), call: callOf(context) },
    { signal: context.signal, deadlineMs: quickCallMs },
  );
  return heldOf(lease);
}

export function heldOf(lease: Parameters<typeof leaseTimes>[0]): Held {
  return { leaseId: lease?.leaseId ?? '', ...leaseTimes(lease) };
}

function leaseTimes(
  lease:
    | {
        leaseId: string;
        startTime?: Parameters<typeof timestampMs>[0];
        expireTime?: Parameters<typeof timestampMs>[0];
      }
    | undefined,
) {
  return {
    atMs: lease?.startTime ? timestampMs(lease.startTime) : 0,
    expiresMs: lease?.expireTime ? timestampMs(lease.expireTime) : 0,
  };
}

/**
 * Lets a component run on. FAILED_PRECONDITION with reason LEASE_EXPIRED when the watchdog was
 * first, so that what was done under the hold belongs to no common moment.
 */
export async function release(
  vim: VimClients,
  { computeId, vnfcInstanceId }: Target,
  leaseId: string,
  context: StepContext,
  what = '',
): Promise<LetGo> {
  try {
    const { releaseTime } = await vim.compute.releaseVirtualisedComputeResource(
      { computeId, leaseId, call: callOf(context, what) },
      { signal: context.signal, deadlineMs: quickCallMs },
    );
    return { atMs: releaseTime ? timestampMs(releaseTime) : 0 };
  } catch (thrown) {
    throw expired(thrown, vnfcInstanceId, 'hold');
  }
}

/** Lets go of whatever holds a component; that the watchdog was first does not matter. */
export async function letGo(vim: VimClients, target: Target, context: StepContext): Promise<void> {
  try {
    await release(vim, target, '', context, 'undo');
  } catch (thrown) {
    if (!isRpcError(thrown, 'LEASE_EXPIRED') && !isRpcError(thrown, 'COMPUTE_UNKNOWN'))
      throw thrown;
  }
}

/**
 * Thaws file systems. False when the watchdog was first. An empty lease thaws whatever is frozen.
 */
export async function thaw(
  vim: VimClients,
  { computeId }: Target,
  leaseId: string,
  context: StepContext,
  what = '',
): Promise<boolean> {
  try {
    await vim.compute.unquiesceVirtualisedComputeResource(
      { computeId, leaseId, call: callOf(context, what) },
      { signal: context.signal, deadlineMs: quickCallMs },
    );
    return true;
  } catch (thrown) {
    if (isRpcError(thrown, 'LEASE_EXPIRED')) return false;
    throw thrown;
  }
}

/** True when the step ended as not needed. */
export function wasSkipped(context: StepContext, name: string): boolean {
  return stepRecord(context, name)?.state === StepState.SKIPPED;
}

/** The driver's ABORTED would be tried again by the engine, and the hold is over for good. */
function expired(thrown: unknown, vnfc: string, what: string): unknown {
  if (!isRpcError(thrown, 'LEASE_EXPIRED')) return thrown;
  const why = 'its time was over, or the component started anew';
  const text = `the ${what} of ${vnfc} ended before it was let go: ${why}`;
  return failedPrecondition('LEASE_EXPIRED', text, { vnfc_instance_id: vnfc });
}
