import { create, type JsonValue } from '@bufbuild/protobuf';
import {
  type LifecycleOperationOccurrence,
  type OperationStep,
  OperationStepSchema,
  StepState,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { internal } from '../errors.ts';
import {
  checkSteps,
  type Group,
  type OperationDefinition,
  type PlanItem,
  type Step,
} from './definition.ts';
import type { Entry, Journal } from './journal.ts';

/** The groups of an operation in order, as far as they are known. */
export type Plan = { readonly groups: readonly Group[]; readonly steps: readonly Step[] };

/** The steps of an operation as the input and the journaled outputs determine them. Pure. */
export function buildPlan(
  definition: OperationDefinition,
  journal: Pick<Journal, 'input' | 'outputs' | 'extended'>,
): Plan {
  const groups: Group[] = [];
  const add = (items: readonly PlanItem[]): void => {
    for (const item of items) {
      const group = 'chains' in item ? item : { chains: [[item]] };
      const steps = group.chains.flat();
      if (steps.some((step) => step.starting) && !steps.every((step) => step.starting)) {
        const text = `group of "${steps[0]?.name}": starting steps are grouped with others`;
        throw internal('OPERATION_DEFINITION', text);
      }
      groups.push(group);
      for (const step of steps) {
        if (!step.extend || !journal.extended.includes(step.name)) continue;
        add(step.extend(journal.outputs[step.name], journal.input));
      }
    }
  };
  add(definition.plan(journal.input));
  const steps = groups.flatMap((group) => group.chains.flat());
  checkSteps(steps);
  return { groups, steps };
}

/** Gives the occurrence one entry for each planned step, keeping what it has. */
export function syncSteps(occurrence: LifecycleOperationOccurrence, plan: Plan): void {
  const known = new Map(occurrence.steps.map((step) => [step.name, step]));
  occurrence.steps = plan.steps.map((step, at) => {
    const entry = known.get(step.name) ?? create(OperationStepSchema, { state: StepState.PENDING });
    entry.index = at + 1;
    entry.name = step.name;
    entry.clause = step.clause;
    entry.clauseStep = step.clauseStep ?? '';
    entry.caller = step.caller;
    entry.callee = step.callee;
    entry.via = step.via ?? '';
    entry.phase = step.phase ?? '';
    entry.vnfcInstanceId = step.vnfcInstanceId ?? '';
    return entry;
  });
}

/** True when the occurrence's steps are those of the plan: the program still knows what it was doing. */
export function matchesPlan(occurrence: LifecycleOperationOccurrence, plan: Plan): boolean {
  const { steps } = occurrence;
  return (
    steps.length === plan.steps.length &&
    steps.every((step, at) => step.name === plan.steps[at]?.name)
  );
}

/** The record of a step. */
export function recordOf(entry: Pick<Entry, 'occurrence'>, step: Step): OperationStep {
  const found = entry.occurrence.steps.find(({ name }) => name === step.name);
  if (found === undefined) throw internal('OPERATION_STEP', `step "${step.name}" has no record`);
  return found;
}

/** True when a step has nothing left to do. */
export function isOver(entry: Entry, step: Step): boolean {
  const { state } = recordOf(entry, step);
  if (state === StepState.DONE || state === StepState.SKIPPED) return true;
  // On the way forward the only holds that were compensated are those that last until the end.
  const ended = step.hold && entry.journal.direction === 'forward';
  return Boolean(ended) && state === StepState.COMPENSATED;
}

/** True when the step may have an effect that is still there. */
export function hasEffect(entry: Entry, step: Step): boolean {
  return entry.journal.started.includes(step.name);
}

/** True when the step may hold something now. */
export function isHeld(entry: Entry, step: Step): boolean {
  return Boolean(step.hold) && hasEffect(entry, step) && !isReleased(entry, step);
}

function isReleased({ journal }: Entry, step: Step): boolean {
  return journal.released.includes(step.name);
}

/** False once a step that cannot be undone was started. */
export function isReversible(entry: Entry, plan: Plan): boolean {
  return !plan.steps.some((step) => step.irreversible && hasEffect(entry, step));
}

/**
 * True when something is held and the next steps are not those that let it go: going on would mean
 * to rely on a hold that nobody watched.
 */
export function isStuckHolding(entry: Entry, plan: Plan): boolean {
  const held = plan.steps.filter((step) => isHeld(entry, step));
  if (held.length === 0) return false;
  const left = plan.steps.filter((step) => !isOver(entry, step));
  const next = left.findIndex((step) => !step.always);
  const soon = next < 0 ? left : left.slice(0, next);
  const goesFree = (hold: Step) => soon.some((step) => step.releases?.includes(hold.name));
  return next >= 0 && !held.every(goesFree);
}

/** What a retry undoes and repeats. */
export type Rewind = {
  readonly undo: readonly Step[];
  readonly repeat: readonly Step[];
  /** A hold was lost, so that nothing of the repeated steps may be taken over. */
  readonly afresh: boolean;
};

/**
 * A retry goes on at the first step that is not done. But a hold that was let go because of the failure
 * has to be taken again, and whatever was done under it belongs to another moment: it is undone first. So is a step
 * whose compensation was left half done.
 */
export function planRewind(entry: Entry, plan: Plan): Rewind {
  const failedAt = plan.groups.findIndex(({ chains }) =>
    chains.flat().some((step) => !isOver(entry, step)),
  );
  if (failedAt < 0) return { undo: [], repeat: [], afresh: false };
  const lostAt = plan.groups.findIndex(
    ({ chains }, at) => at <= failedAt && chains.flat().some((hold) => isLost(hold, failedAt)),
  );
  const undoneHalf = (step: Step) => entry.journal.undoing.includes(step.name);
  if (lostAt < 0) {
    // The failure ran steps that always run; they run again in their place.
    const repeat = stepsFrom(failedAt).filter((step) => step.always || !isOver(entry, step));
    return { undo: repeat.filter(undoneHalf), repeat, afresh: false };
  }
  const repeat = stepsFrom(lostAt);
  const undo = repeat.filter((step) => hasEffect(entry, step) || undoneHalf(step));
  return { undo, repeat, afresh: true };

  function stepsFrom(at: number): Step[] {
    return plan.groups.slice(at).flatMap(({ chains }) => chains.flat());
  }

  /** Let go by the failure, not by reaching the step that lets it go. */
  function isLost(hold: Step, before: number): boolean {
    if (!hold.hold || !isReleased(entry, hold)) return false;
    const done = plan.groups.slice(0, before).flatMap(({ chains }) => chains.flat());
    return !done.some((step) => step.releases?.includes(hold.name));
  }
}

/** Forgets that these steps ever ran, so that they run again under new step ids where they were undone. */
export function resetSteps(entry: Entry, { repeat, afresh }: Rewind): void {
  const names = new Set(repeat.map(({ name }) => name));
  const { journal } = entry;
  for (const step of repeat) {
    const record = recordOf(entry, step);
    // What failed or was interrupted keeps its id, so that its peer can tell what became of it.
    if (afresh || isOver(entry, step) || record.state === StepState.COMPENSATED) {
      journal.rounds[step.name] = (journal.rounds[step.name] ?? 0) + 1;
      journal.started = journal.started.filter((name) => name !== step.name);
    }
    record.state = StepState.PENDING;
    record.error = undefined;
    record.note = '';
    record.progress = undefined;
    record.startTime = undefined;
    record.endTime = undefined;
    delete journal.outputs[step.name];
  }
  journal.released = journal.released.filter((name) => !names.has(name));
  journal.extended = journal.extended.filter((name) => !names.has(name));
  journal.undoing = journal.undoing.filter((name) => !names.has(name));
}

/** The id under which a peer knows the step: new when the step is repeated after it was undone. */
export function stepIdOf(journal: Journal, step: Step): string {
  const round = journal.rounds[step.name] ?? 0;
  return round === 0 ? step.name : `${step.name}#${round}`;
}

/** The type of inputs is known to the definition only; the engine handles them as JSON. */
export function asPlain<Input extends JsonValue>(
  definition: OperationDefinition<Input>,
): OperationDefinition {
  return definition as unknown as OperationDefinition;
}
