import type { JsonValue } from '@bufbuild/protobuf';
import {
  OperationState,
  type OperationStep,
  type OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { RpcError } from '../../../sdk/errors.ts';
import { FailpointError, failpoint } from '../../../sdk/failpoint.ts';
import type {
  FailurePolicy,
  OperationDefinition,
  PlanItem,
  StateChange,
  Step,
  StepContext,
} from '../../../sdk/operations/engine.ts';
import type { Transaction } from '../../../sdk/records/record-store.ts';
import { changeRecord, vnfInstances, vnfPackages, vnfSnapshots } from '../records.ts';
import { giveBack, type Use } from '../usage.ts';

/** What every procedure is journaled with. */
export type ProcedureInput = { uses: Use[] };

/**
 * A procedure: an operation of the engine that gives back what it used when it ends, whatever the
 * end.
 */
export type Procedure<Input extends JsonValue & ProcedureInput> = {
  name: string;
  operation: OperationType;
  onFailure: FailurePolicy;
  plan(input: Input): PlanItem<Input>[];
  /** In the transaction that records the final state. */
  ended(tx: Transaction, change: StateChange<Input>): Promise<void>;
};

/**
 * Makes an operation of a procedure. Around each step there are failpoints
 * "vnfm.<procedure>.<step>" and, when its effect has happened and is not recorded yet, the same
 * with ".done".
 */
export function defineProcedure<Input extends JsonValue & ProcedureInput>(
  procedure: Procedure<Input>,
): OperationDefinition<Input> {
  const { name, operation, onFailure } = procedure;
  return {
    name,
    operation,
    onFailure,
    plan: (input) => procedure.plan(input).map((item) => withFailpoints(name, item)),
    stateChanged: async (tx, change) => {
      if (!isEnd(change.to)) return;
      await procedure.ended(tx, change);
      await giveBack(tx, change.input.uses, change.occurrence.id);
      await clearInProgress(tx, change.input.uses, change.occurrence.id);
    },
  };
}

function isEnd(state: OperationState): boolean {
  const { COMPLETED, FAILED, ROLLED_BACK } = OperationState;
  return state === COMPLETED || state === FAILED || state === ROLLED_BACK;
}

/** The record of a thing names the operation that changes it. */
export async function setInProgress(
  tx: Transaction,
  uses: readonly Use[],
  operationId: string,
): Promise<void> {
  await eachRecord(tx, uses, (record) => {
    record.operationInProgress = operationId;
  });
}

async function clearInProgress(
  tx: Transaction,
  uses: readonly Use[],
  operationId: string,
): Promise<void> {
  await eachRecord(tx, uses, (record) => {
    if (record.operationInProgress === operationId) record.operationInProgress = '';
  });
}

async function eachRecord(
  tx: Transaction,
  uses: readonly Use[],
  change: (record: { operationInProgress: string }) => void,
): Promise<void> {
  for (const { kind, id, mode } of uses) {
    if (mode === 'shared') continue;
    if (kind === 'vnf') await changeRecord(tx, vnfInstances, id, change);
    if (kind === 'snapshot') await changeRecord(tx, vnfSnapshots, id, change);
    if (kind === 'package') await changeRecord(tx, vnfPackages, id, change);
  }
}

function withFailpoints<Input extends JsonValue>(
  procedure: string,
  item: PlanItem<Input>,
): PlanItem<Input> {
  if ('chains' in item) {
    return { chains: item.chains.map((chain) => chain.map((step) => instrument(procedure, step))) };
  }
  return instrument(procedure, item);
}

function instrument<Input extends JsonValue>(procedure: string, step: Step<Input>): Step<Input> {
  const point = `vnfm.${procedure}.${step.name}`;
  const { extend } = step;
  return {
    ...step,
    run: async (context) => {
      await reach(point);
      const output = await step.run(context);
      await reach(`${point}.done`);
      return output;
    },
    ...(extend && {
      extend: (output: JsonValue | undefined, input: Input) =>
        extend(output, input).map((item) => withFailpoints(procedure, item)),
    }),
  };
}

/** A failpoint's error is meant to be seen as it is. */
async function reach(point: string): Promise<void> {
  try {
    await failpoint(point);
  } catch (thrown) {
    if (!(thrown instanceof FailpointError)) throw thrown;
    throw new RpcError(13, 'FAILPOINT', `failpoint "${point}": ${thrown.message}`, { point });
  }
}

/** On whose behalf a step calls a peer: a repeat after a crash returns the first outcome. */
export function callOf(context: Pick<StepContext, 'operationId' | 'stepId'>, what = '') {
  const { operationId, stepId } = context;
  return { operationId, stepId: what === '' ? stepId : `${stepId}/${what}` };
}

/** The record of another step of the same operation. */
export function stepRecord(
  context: Pick<StepContext, 'occurrence'>,
  name: string,
): OperationStep | undefined {
  return context.occurrence.steps.find((step) => step.name === name);
}
