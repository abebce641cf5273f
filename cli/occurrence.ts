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
import { messageJson } from './message-json.ts';
import { formatBytes, printJson } from './output.ts';
import { ProgressLine } from './progress.ts';
import { sequenceLines, stepLine } from './steps.ts';

type Operations = Client<typeof OperationOccurrenceService>;

/** How long a watch that broke is opened again before its failure is reported. */
const reconnectMsMax = 60_000;
const reconnectPauseMs = 500;

export type FollowOptions = {
  json: boolean;
  wait: boolean;
  /** Prints nothing of success: one of several, and the command sums up. */
  quiet?: boolean;
  /** The state that counts as success; COMPLETED when nothing is said. */
  wanted?: OperationState;
};

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
  let heardMs = performance.now();
  for (;;) {
    try {
      const request = {
        lifecycleOperationOccurrenceId: id,
        afterRevision: last?.revision ?? 0n,
      };
      for await (const { occurrence } of operations.watchLifecycleOperationOccurrence(request)) {
        if (!occurrence) continue;
        last = occurrence;
        heardMs = performance.now();
        onChange(occurrence);
      }
      if (last && isSettled(last.operationState)) return last;
    } catch (thrown) {
      const again = [Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED].some((code) =>
        isRpcError(thrown, code),
      );
      if (!again || performance.now() - heardMs > reconnectMsMax) throw thrown;
    }
    await new Promise((resolve) => setTimeout(resolve, reconnectPauseMs));
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
    else if (!options.quiet)
      process.stdout.write(`operation ${id} accepted; follow it: mano operation watch ${id}\n`);
    return exitCode.ok;
  }
  const isShown = !options.json && !options.quiet;
  const line = new ProgressLine(process.stderr.isTTY === true && isShown);
  const onInterrupt = () => leave(id, line);
  process.once('SIGINT', onInterrupt);
  const shown = new Set<number>();
  const last = await follow(operations, id, (occurrence) => {
    if (!isShown) return;
    showSteps(occurrence, shown, line);
  }).finally(() => {
    process.off('SIGINT', onInterrupt);
    line.clear();
  });
  const isDone = last.operationState === (options.wanted ?? OperationState.COMPLETED);
  if (!isDone) process.stderr.write(`mano: ${outcomeText(last)}\n`);
  else if (isShown) process.stdout.write(`${outcomeText(last)}\n`);
  if (options.json) {
    printJson({ ...extra, operation: messageJson(LifecycleOperationOccurrenceSchema, last) });
  }
  return isDone ? exitCode.ok : exitCode.failed;
}

/** Who interrupts a command stops waiting; the operation is the server's and goes on. */
function leave(id: string, line: ProgressLine): void {
  line.clear();
  process.stderr.write(
    `mano: not waiting any more; operation ${id} goes on.\n` +
      `Follow it: mano operation watch ${id}; stop and undo it: mano operation cancel ${id}\n`,
  );
  process.exit(exitCode.interrupted);
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
    activity: running.map(activityOf).join(', '),
  };
}

function activityOf({ name, progress }: OperationStep): string {
  return progress?.activity ? `${name}: ${progress.activity}` : name;
}

function outcomeText(occurrence: LifecycleOperationOccurrence): string {
  const name = OperationState[occurrence.operationState];
  // Where each part of a snapshot lies is a table: `mano snapshot show`.
  const told = Object.entries(occurrence.result).filter(([key]) => !key.includes('/'));
  const result = told.map(resultText);
  const { error } = occurrence;
  const why = error ? `: ${error.reason}: ${error.detail}` : '';
  const warnings = occurrence.warnings.map((text) => `\nwarning: ${text}`).join('');
  const facts = result.length > 0 ? ` (${result.join(', ')})` : '';
  return `operation ${occurrence.id} ${name}${why}${facts}${warnings}${adviceOn(occurrence)}`;
}

/** An operation in FAILED_TEMP waits for somebody to decide. */
function adviceOn({ id, operationState }: LifecycleOperationOccurrence): string {
  if (operationState !== OperationState.FAILED_TEMP) return '';
  const choices = { 'go on': 'retry', 'undo it': 'rollback', 'give it up': 'fail' };
  const lines = Object.entries(choices).map(
    ([text, verb]) => `${text}: mano operation ${verb} ${id}`,
  );
  return `\n${lines.join('\n')}`;
}

/** "packageBytes 1234" becomes "packageBytes 1.21 KiB". */
function resultText([key, value]: [string, string]): string {
  return `${key} ${/bytes$/i.test(key) && /^\d+$/.test(value) ? formatBytes(BigInt(value)) : value}`;
}

/** Prints a whole occurrence for people. */
export function printOccurrence(occurrence: LifecycleOperationOccurrence): void {
  process.stdout.write(`${sequenceLines(occurrence).join('\n')}\n${outcomeText(occurrence)}\n`);
}
