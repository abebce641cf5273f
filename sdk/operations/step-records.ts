import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { StepState } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import type { RpcError } from '../errors.ts';
import type { Step } from './definition.ts';
import type { Entry } from './journal.ts';
import { addWarnings, type Mutation, problemOf } from './keeper.ts';
import { hasEffect, isOver, type Plan, recordOf } from './plan.ts';
import type { StepReport } from './step-run.ts';

/** The intent of a step: committed before its effect. */
export function beginStep(step: Step, now: Date): Mutation {
  return (draft) => {
    const record = recordOf(draft, step);
    record.state = StepState.RUNNING;
    record.attempts++;
    record.startTime = timestampFromDate(now);
    record.endTime = undefined;
    record.error = undefined;
    record.note = '';
    record.progress = undefined;
    add(draft.journal.started, step.name);
  };
}

/** The end of a step that went well, or was not needed. */
export function endStep(step: Step, report: StepReport, plan: Plan, now: Date): Mutation {
  return (draft) => {
    const { occurrence, journal } = draft;
    const record = recordOf(draft, step);
    record.state = report.skipped ? StepState.SKIPPED : StepState.DONE;
    record.endTime = timestampFromDate(now);
    record.note = report.notes.join('; ');
    addWarnings(draft, report.warnings);
    for (const [key, value] of report.results) occurrence.result[key] = value;
    if (report.grantId !== undefined) occurrence.grantId = report.grantId;
    if (report.output !== undefined) journal.outputs[step.name] = report.output;
    if (report.skipped) remove(journal.started, step.name);
    for (const hold of report.skipped ? [] : (step.releases ?? [])) add(journal.released, hold);
    extendPlan(draft, step, plan);
  };
}

/** The steps that a group has planned take their place when the whole group is done, so that order is certain. */
function extendPlan(draft: Entry, step: Step, plan: Plan): void {
  const isMember = ({ name }: Step) => name === step.name;
  const group = plan.groups.find(({ chains }) => chains.flat().some(isMember));
  const members = group?.chains.flat() ?? [];
  if (!members.every((member) => isOver(draft, member))) return;
  for (const member of members) {
    const done = recordOf(draft, member).state === StepState.DONE;
    if (member.extend && done) add(draft.journal.extended, member.name);
  }
}

/** The end of a step, or of its compensation, that failed. */
export function failStep(step: Step, error: RpcError, now: Date): Mutation {
  return (draft) => {
    const record = recordOf(draft, step);
    record.state = StepState.FAILED;
    record.endTime = timestampFromDate(now);
    record.error = problemOf(error);
  };
}

/** Another attempt of a step begins within one run. */
export function repeatStep(step: Step, error: RpcError): Mutation {
  return (draft) => {
    const record = recordOf(draft, step);
    record.attempts++;
    record.note = `repeated after: ${error.message}`;
  };
}

/** The intent of a compensation. */
export function beginCompensation(step: Step): Mutation {
  return ({ journal }) => add(journal.undoing, step.name);
}

/** A step whose effect is gone. */
export function endCompensation(step: Step, report: StepReport | undefined, now: Date): Mutation {
  return (draft) => {
    const { journal } = draft;
    const record = recordOf(draft, step);
    record.state = StepState.COMPENSATED;
    record.endTime = timestampFromDate(now);
    if (report !== undefined) {
      record.note = [record.note, ...report.notes].filter((text) => text !== '').join('; ');
      addWarnings(draft, report.warnings);
    }
    if (step.hold) add(journal.released, step.name);
    remove(journal.started, step.name);
    remove(journal.undoing, step.name);
  };
}

/** The operation is given up: the record says what is left. */
export function giveUp(plan: Plan): Mutation {
  return (draft) => {
    const left = plan.steps.filter((step) => step.compensate && hasEffect(draft, step));
    if (left.length === 0) return;
    const names = left.map(({ name }) => `"${name}"`).join(', ');
    addWarnings(draft, [`effects of these steps may remain: ${names}`]);
  };
}

function add(names: string[], name: string): void {
  if (!names.includes(name)) names.push(name);
}

function remove(names: string[], name: string): void {
  const at = names.indexOf(name);
  if (at >= 0) names.splice(at, 1);
}
