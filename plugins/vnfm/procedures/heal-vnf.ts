/**
 * Heal VNF (ETSI GS NFV-SOL 003 clause 5.4.9): a requested action that may need a snapshot, a
 * reversion or neither (GR NFV-TST 005 clauses 4.3.1, 6.5.1 steps 1, 2 and 13, 6.5.2 steps 1, 2 and
 * 12). Everything that it does to the VNF is an operation of its own.
 */
import type { JsonObject } from '@bufbuild/protobuf';
import { OperationType } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { SnapshotPurpose } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { RpcError } from '../../../sdk/errors.ts';
import type {
  OperationDefinition,
  PlanItem,
  Step,
  StepContext,
} from '../../../sdk/operations/engine.ts';
import { diagnose, type Finding } from '../automation/diagnosis.ts';
import { awaitHealth } from '../automation/recovery.ts';
import type { Vnfm } from '../vnfm.ts';
import { defineProcedure } from './define.ts';
import { grantStep } from './grant.ts';
import { type HealVnfInput, restart, revertTo, takeSnapshot } from './heal-work.ts';

export const healVnfName = 'heal-vnf';
/** The most that its operations may take together: those of a large VNF move much data. */
const workDeadlineMs = 6 * 3_600_000;
const diagnosisDeadlineMs = 60_000;

type Input = HealVnfInput;
type Item = PlanItem<Input>;

/**
 * The procedure. What was done is undone by going back to the snapshot before. Without one nothing brings back what a
 * restart or a reversion took: the failure ends in FAILED_TEMP, not as if it had been rolled back.
 */
export function healVnf(vnfm: Vnfm): OperationDefinition<Input> {
  return defineProcedure<Input>({
    name: healVnfName,
    operation: OperationType.HEAL,
    onFailure: 'rollback',
    plan: () => [
      grantStep(vnfm, { clause: 'Micromano', clauseStep: '' }, ({ vnfInstanceId, vnfdId }) => ({
        vnfInstanceId,
        vnfdId,
        operation: OperationType.HEAL,
      })),
      diagnosis(vnfm),
    ],
    ended: async () => {},
  });
}

/** Looks at the VNF and decides; what follows depends on it. */
function diagnosis(vnfm: Vnfm): Step<Input> {
  return {
    name: 'diagnose',
    clause: '6.5.1',
    clauseStep: '2',
    caller: 'vnfm',
    callee: 'vim',
    retryable: true,
    deadlineMs: diagnosisDeadlineMs,
    run: async (context): Promise<Finding> => {
      const finding = await diagnose(vnfm, context.input, context.signal);
      context.note(`${finding.action}: ${finding.why}`);
      context.result('action', finding.action);
      return finding;
    },
    extend: (output, input) => treatment(vnfm, output as Finding, input),
  };
}

function treatment(vnfm: Vnfm, finding: Finding, input: Input): Item[] {
  switch (finding.action) {
    case 'nothing':
      return [];
    case 'snapshot':
      return [snapshotStep(vnfm, finding, SnapshotPurpose.POST_MORTEM)];
    case 'revert':
      return [revertStep(vnfm, finding), healthStep(vnfm, 'well after the reversion')];
    case 'restart':
      return [
        ...(input.snapshotBefore ? [snapshotStep(vnfm, finding, SnapshotPurpose.RECOVERY)] : []),
        restartStep(vnfm, finding, input),
        // With a snapshot before, going back to it is what a failure leads to.
        ...(finding.snapshotId === '' || input.snapshotBefore
          ? [healthStep(vnfm, 'well after the restart', finding)]
          : [
              lookStep(vnfm),
              revertStep(vnfm, finding),
              healthStep(vnfm, 'well after the reversion'),
            ]),
      ];
  }
}

/** 4.3.1 steps 1 to 4, or 4.2.1: a snapshot; as RECOVERY it is what a failure goes back to. */
function snapshotStep(vnfm: Vnfm, finding: Finding, purpose: SnapshotPurpose): Step<Input> {
  const isBefore = purpose === SnapshotPurpose.RECOVERY;
  const name = isBefore ? 'snapshot before' : 'snapshot';
  return {
    ...work(name, '6.5.1', '8'),
    run: (context) => takeSnapshot(vnfm, context, purpose, finding),
    ...(isBefore && {
      compensate: async (context: StepContext<Input>) => {
        const taken = context.outputIfDone<JsonObject>(name);
        // Nothing was done to the VNF without it.
        if (taken !== undefined) await revertTo(vnfm, context, `${taken.snapshotId}`);
      },
    }),
  };
}

/** 6.5.1 step 13: the requested action. */
function restartStep(vnfm: Vnfm, finding: Finding, { snapshotBefore }: Input): Step<Input> {
  return {
    ...work('restart', '6.5.1', '13'),
    irreversible: !snapshotBefore,
    run: (context) =>
      sayingWhatStays(context, finding, () => restart(vnfm, context, finding.vnfcInstanceIds)),
  };
}

function healthStep(vnfm: Vnfm, name: string, finding?: Finding): Step<Input> {
  return {
    ...work(name, 'Micromano', ''),
    callee: 'vnf',
    run: (context) =>
      sayingWhatStays(context, finding, async () => {
        context.note(await awaitHealth(vnfm, context.input, context.signal));
      }),
  };
}

/** A failure without a snapshot before says what of the healing stays done. */
async function sayingWhatStays(
  context: StepContext<Input>,
  finding: Finding | undefined,
  run: () => Promise<void>,
): Promise<void> {
  try {
    await run();
  } catch (thrown) {
    if (finding === undefined || context.input.snapshotBefore) throw thrown;
    const { code, reason, message, metadata } = RpcError.from(thrown);
    const which = finding.vnfcInstanceIds.join(', ') || 'all components';
    const stays = `there is no snapshot to undo the healing with: ${which} may be stopped or restarted, and what was in their memory is lost`;
    throw new RpcError(code, reason, `${message}; ${stays}`, metadata);
  }
}

/** Whether the restart was enough; if not, the reversion follows. */
function lookStep(vnfm: Vnfm): Step<Input> {
  return {
    ...work('look', '6.5.2', '2'),
    callee: 'vnf',
    run: async (context) => {
      try {
        context.note(await awaitHealth(vnfm, context.input, context.signal));
        return { well: true };
      } catch (thrown) {
        context.signal.throwIfAborted();
        context.note((thrown as Error).message);
        return { well: false };
      }
    },
  };
}

function revertStep(vnfm: Vnfm, finding: Finding): Step<Input> {
  return {
    ...work('revert', '6.5.2', '8'),
    irreversible: true,
    run: async (context) => {
      const looked = context.outputIfDone<JsonObject>('look');
      if (looked?.well === true) context.skip('the restart was enough');
      await revertTo(vnfm, context, finding.snapshotId);
    },
  };
}

function work(name: string, clause: string, clauseStep: string) {
  const deadlineMs = workDeadlineMs;
  return { name, clause, clauseStep, caller: 'vnfm', callee: 'vnfm', deadlineMs };
}
