import { failedPrecondition } from '../errors.ts';
import type { OperationDefinition, Step } from './definition.ts';
import type { Entry } from './journal.ts';
import { buildPlan, matchesPlan } from './plan.ts';

/**
 * The definition of a stored operation, or, when this program does not know it or plans other steps, one that
 * does nothing: every step and every compensation fails, so that the operation comes to rest in FAILED_TEMP
 * without a claim that anything was done or undone. A program that knows it can take it up again.
 */
export function standIn(definition: OperationDefinition | undefined, entry: Entry) {
  if (definition !== undefined && isKnown(definition, entry)) return definition;
  const { occurrence, journal } = entry;
  const refuse = async (): Promise<never> => {
    throw failedPrecondition(
      'OPERATION_DEFINITION_CHANGED',
      `this release does not know the steps of "${journal.definition}"; use the release that began it, or fail it`,
      { definition: journal.definition },
    );
  };
  const steps = occurrence.steps.map(
    (record): Step => ({
      name: record.name,
      clause: record.clause,
      clauseStep: record.clauseStep,
      caller: record.caller,
      callee: record.callee,
      via: record.via,
      phase: record.phase,
      vnfcInstanceId: record.vnfcInstanceId,
      irreversible: true,
      run: refuse,
      compensate: refuse,
    }),
  );
  const replacement: OperationDefinition = {
    name: journal.definition,
    operation: occurrence.operation,
    onFailure: 'failed-temp',
    plan: () => steps,
  };
  return replacement;
}

function isKnown(definition: OperationDefinition, entry: Entry): boolean {
  try {
    return matchesPlan(entry.occurrence, buildPlan(definition, entry.journal));
  } catch {
    // A plan that cannot be made any more is as unknown as another one.
    return false;
  }
}
