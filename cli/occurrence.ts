import {
  type LifecycleOperationOccurrence,
  LifecycleOperationOccurrenceSchema,
  OperationState,
  type OperationStep,
  StepState,
} from '../gen/nfv/operation/v1/operation_occurrence_pb.js';
import type { OperationOccurrenceService } from '../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import type { Client } from '../sdk/client.ts';
import { Code, isRpcError } from '../sdk/errors.ts';
import { exitCode } from './exit-codes.ts';
import { messageJson, printJson } from './output.ts';
import { ProgressLine } from './progress.ts';
import { sequenceLines, stepLine } from './steps.ts';

type Operations = Client<typeof OperationOccurrenceService>;

/** How often a broken watch is opened again before its failure is reported. */
const watchAttemptsMax = 20;
const watchPauseMs = 500;

export type FollowOptions = { json: boolean; wait: boolean };

/**
 * Follows an operation to its end with live progress, and returns its last state. A watch that breaks, as when the
 * server restarts, is opened again where it stood.
 */
export async function follow(
  operations: Operations,
  id: string,
  onChange: (occurrence: LifecycleOperationOccurrence) => void,
): Promise<LifecycleOperationOccurrence> {
  let last: LifecycleOperationOccurrence | undefined;
  for (let attempt = 1; ; attempt++) {
    try {
      const request = {
        lifecycleOperationOccurrenceId: id,
        afterRevision: last?.revision ?? 0n,
      };
      for await (const { occurrence } of operations.watchLifecycleOperationOccurrence(request)) {
        if (!occurrence) continue;
        last = occurrence;
        attempt = 1;
        onChange(occurrence);
      }
      if (last && isSettled(last.operationState)) return last;
    } catch (thrown) {
      const again = [Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED].some((code) =>
        isRpcError(thrown, code),
      );
      if (!again || attempt >= watchAttemptsMax) throw thrown;
    }
    await new Promise((resolve) => setTimeout(resolve, watchPauseMs));
  }
}

/** True when an operation will not change by itself any more. */
export function isSettled(state: OperationState): boolean {
  return [
    OperationState.COMPLETED,
    OperationState.FAILED,
    OperationState.FAILED_TEMP,
    OperationState.ROLLED_BACK,
  ].includes(state);
}

/**
 * Follows an operation and prints it: steps as they end and a progress line on a terminal, the sequence and the outcome
 * else; with `json` one line at the end. Returns the exit code.
 */
export async function reportOperation(
  operations: Operations,
  id: string,
  options: FollowOptions,
  extra: Record<string, unknown> = {},
): Promise<number> {
  if (!options.wait) {
    if (options.json) printJson({ ...extra, operation: { id } });
    else process.stdout.write(`operation ${id} accepted; follow it: mano operation watch ${id}\n`);
    return exitCode.ok;
  }
  const line = new ProgressLine(process.stderr.isTTY === true && !options.json);
  const shown = new Set<number>();
  const last = await follow(operations, id, (occurrence) => {
    if (options.json) return;
    showSteps(occurrence, shown, line);
  });
  line.clear();
  if (options.json) {
    printJson({ ...extra, operation: messageJson(LifecycleOperationOccurrenceSchema, last) });
  } else {
    process.stdout.write(`${outcomeText(last)}\n`);
  }
  return last.operationState === OperationState.COMPLETED ? exitCode.ok : exitCode.failed;
}

function showSteps(
  occurrence: LifecycleOperationOccurrence,
  shown: Set<number>,
  line: ProgressLine,
): void {
  for (const step of occurrence.steps) {
    const over = ![StepState.PENDING, StepState.RUNNING].includes(step.state);
    if (!over || shown.has(step.index)) continue;
    shown.add(step.index);
    line.clear();
    process.stdout.write(`${stepLine(step)}\n`);
  }
  const running = occurrence.steps.filter((step) => step.state === StepState.RUNNING);
  if (running.length > 0) line.show(amountOf(running));
}

function amountOf(running: OperationStep[]) {
  const progress = running.flatMap((step) => (step.progress ? [step.progress] : []));
  const totals = progress.map((item) => Number(item.totalBytes ?? 0));
  return {
    doneBytes: progress.reduce((sum, item) => sum + Number(item.doneBytes), 0),
    totalBytes: totals.every((total) => total > 0) ? totals.reduce((a, b) => a + b, 0) : undefined,
    activity: running.map((step) => step.progress?.activity || step.name).join(', '),
  };
}

function outcomeText(occurrence: LifecycleOperationOccurrence): string {
  const name = OperationState[occurrence.operationState];
  const result = Object.entries(occurrence.result).map(([key, value]) => `${key} ${value}`);
  const { error } = occurrence;
  const why = error ? `: ${error.reason}: ${error.detail}` : '';
  const warnings = occurrence.warnings.map((text) => `\nwarning: ${text}`).join('');
  return `operation ${occurrence.id} ${name}${why}${result.length ? ` (${result.join(', ')})` : ''}${warnings}`;
}

/** Prints a whole occurrence for people. */
export function printOccurrence(occurrence: LifecycleOperationOccurrence): void {
  process.stdout.write(`${sequenceLines(occurrence).join('\n')}\n${outcomeText(occurrence)}\n`);
}
