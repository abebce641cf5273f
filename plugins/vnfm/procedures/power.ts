/** Powering components off and on around their snapshot: GR NFV-TST 005 clause 6.4.1 steps 5 and 34 (Vnfsd.009, Vnfsd.010). */
import type { JsonValue } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { ComputeOperation } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import type { Step, StepContext } from '../../../sdk/operations/engine.ts';
import type { VimClients } from '../peers.ts';
import { componentLost } from '../plan/situation.ts';
import type { VnfcSnapshotPlan } from '../plan/snapshot-plan.ts';
import { callOf } from './define.ts';

/** How long a guest may take to shut down before its power is cut. */
const gracefulMs = 30_000;
const powerDeadlineMs = 10 * 60_000;

const { STOPPED, FAILED } = ComputeState;

/** 6.4.1 step 5: shuts the component down. Undone, it boots again. */
export function stopBeforeStep<I extends JsonValue>(
  vim: VimClients,
  vnfc: VnfcSnapshotPlan,
): Step<I> {
  return {
    ...header(`stop ${vnfc.vnfcInstanceId}`, '5', vnfc),
    phase: 'prepare',
    run: (context) => power(vim, vnfc, 'off', context),
    compensate: (context) => power(vim, vnfc, 'on', context, 'undo'),
  };
}

/** 6.4.1 step 34: boots the component. Undone, it is as it was before the operation. */
export function startAfterStep<I extends JsonValue>(
  vim: VimClients,
  vnfc: VnfcSnapshotPlan,
): Step<I> {
  return {
    ...header(`start ${vnfc.vnfcInstanceId}`, '34', vnfc),
    phase: 'resume',
    run: (context) => power(vim, vnfc, 'on', context),
    compensate: async (context) => {
      if (!vnfc.stopBefore) await power(vim, vnfc, 'off', context, 'undo');
    },
  };
}

/** Not a step of the report's figures: shuts down what is captured (Vnfsd.009, "after"). Undone, it boots again. */
export function stopAfterStep<I extends JsonValue>(
  vim: VimClients,
  vnfc: VnfcSnapshotPlan,
): Step<I> {
  return {
    ...header(`stop ${vnfc.vnfcInstanceId}`, '', vnfc),
    phase: 'resume',
    run: (context) => power(vim, vnfc, 'off', context),
    compensate: (context) => power(vim, vnfc, 'on', context, 'undo'),
  };
}

async function power(
  vim: VimClients,
  { computeId, vnfcInstanceId }: VnfcSnapshotPlan,
  wanted: 'on' | 'off',
  context: StepContext,
  what = '',
): Promise<void> {
  const { signal } = context;
  const found = await vim.compute.queryVirtualisedComputeResource(
    { computeIds: [computeId] },
    { signal },
  );
  const state = found.queryResult[0]?.state;
  if (state === undefined) throw componentLost(vnfcInstanceId, computeId);
  const isOff = state === STOPPED || state === FAILED;
  if (isOff === (wanted === 'off')) return;
  await vim.compute.operateVirtualisedComputeResource(
    {
      computeId,
      computeOperation: wanted === 'on' ? ComputeOperation.START : ComputeOperation.STOP_GRACEFUL,
      gracefulTimeout: durationFromMs(gracefulMs),
      call: callOf(context, what),
    },
    { signal, deadlineMs: powerDeadlineMs },
  );
}

function header(name: string, clauseStep: string, { vnfcInstanceId }: VnfcSnapshotPlan) {
  const clause = clauseStep === '' ? 'Micromano' : '6.4.1';
  const who = { caller: 'vnfm', callee: 'vim', vnfcInstanceId };
  return { name, clause, clauseStep, ...who, deadlineMs: powerDeadlineMs, retryable: true };
}
