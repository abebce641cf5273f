import { timestampMs } from '@bufbuild/protobuf/wkt';
import {
  type LifecycleOperationOccurrence,
  type OperationStep,
  StepState,
} from '../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { formatDuration } from './output.ts';

/** Column widths: the longest row of blocks are "vnfm → repository" and "vnfm → nfvo → vim". */
const whoColumns = 17;
const nameColumns = 34;

/** How long a step took, in milliseconds; undefined while it runs. */
export function stepMs(step: OperationStep): number | undefined {
  if (!step.startTime || !step.endTime) return undefined;
  return timestampMs(step.endTime) - timestampMs(step.startTime);
}

/** "6.5.1 (5)" for a step of the report, "Micromano" for one of ours. */
export function clauseText(step: OperationStep): string {
  return step.clauseStep ? `${step.clause} (${step.clauseStep})` : step.clause;
}

/** One line of a sequence in the manner of the report's figures: who called whom, clause and step, duration. */
export function stepLine(step: OperationStep): string {
  const ms = stepMs(step);
  const who = [...new Set([step.caller, step.via, step.callee])].filter(Boolean).join(' → ');
  const took = ms === undefined ? '' : formatDuration(ms);
  const note = step.error ? `FAILED ${step.error.reason}: ${step.error.detail}` : step.note;
  const name = `${stateMark(step.state)} ${step.name}`;
  const call = `${clauseText(step).padEnd(11)} ${who.padEnd(whoColumns)}`;
  return `  ${call} ${name.padEnd(nameColumns)} ${took.padStart(9)}  ${note}`.trimEnd();
}

/** The sequence of calls of a whole operation. */
export function sequenceLines(occurrence: LifecycleOperationOccurrence): string[] {
  return occurrence.steps.map(stepLine);
}

const marks: Record<StepState, string> = {
  [StepState.UNSPECIFIED]: ' ',
  [StepState.PENDING]: '·',
  [StepState.RUNNING]: '▸',
  [StepState.DONE]: '✓',
  [StepState.FAILED]: '✗',
  [StepState.COMPENSATED]: '↩',
  [StepState.SKIPPED]: '–',
};

function stateMark(state: StepState): string {
  return marks[state];
}
