import type { JsonValue } from '@bufbuild/protobuf';
import type { LifecycleOperationOccurrence } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import {
  Code,
  deadlineExceeded,
  failedPrecondition,
  invalidArgument,
  RpcError,
} from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Transaction } from '../records/record-store.ts';
import {
  type RetryPolicy,
  type Step,
  type StepContext,
  stepDeadlineMsDefault,
} from './definition.ts';

/** How long a step may take to end after its signal, in milliseconds; then it counts as failed. */
export const abortGraceMs = 10_000;
/** The largest output of a step as JSON, in bytes: it is written with every later step. */
export const stepOutputBytesMax = 64 * 1024;
const textCharactersMax = 1024;
const entriesMax = 32;

const repeated = new Set([
  Code.UNAVAILABLE,
  Code.ABORTED,
  Code.RESOURCE_EXHAUSTED,
  Code.DEADLINE_EXCEEDED,
]);
const once: RetryPolicy = { attemptsMax: 1, delayMs: 0, delayMsMax: 0 };
const thrice: RetryPolicy = { attemptsMax: 3, delayMs: 200, delayMsMax: 5_000 };

/** What a step said and did besides its effect. */
export type StepReport = {
  output: JsonValue | undefined;
  skipped: boolean;
  notes: string[];
  warnings: string[];
  results: Map<string, string>;
  grantId: string | undefined;
  atEnd: ((tx: Transaction) => Promise<void>)[];
};

/** What the engine lends to a running step. */
export type StepSituation = {
  readonly step: Step;
  readonly mode: 'run' | 'compensate';
  readonly operationId: string;
  readonly stepId: string;
  readonly input: JsonValue;
  readonly outputs: Readonly<Record<string, JsonValue>>;
  /** The attempt that is about to begin, from 1. */
  readonly attempt: number;
  readonly resumed: boolean;
  /** Interrupts the step. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  occurrence(): LifecycleOperationOccurrence;
  progress(doneBytes: bigint, totalBytes: bigint | undefined, activity: string | undefined): void;
  /** Journals that another attempt begins. */
  again(error: RpcError): Promise<void>;
};

/** Thrown by `context.skip`. */
class Skip extends Error {}

/** How often and how a step is repeated. A compensation may always be repeated, so it is. */
function retryPolicy({ step, mode }: StepSituation): RetryPolicy {
  if (typeof step.retryable === 'object') return step.retryable;
  return step.retryable === true || mode === 'compensate' ? thrice : once;
}

/**
 * Runs a step or its compensation to its end, with its deadline and its repeats. Throws RpcError: the step's own,
 * DEADLINE_EXCEEDED with reason STEP_DEADLINE, or the reason of the signal.
 */
export async function runStep(situation: StepSituation): Promise<StepReport> {
  const { attemptsMax, delayMs, delayMsMax } = retryPolicy(situation);
  for (let count = 1; ; count++) {
    try {
      return await runOnce(situation, count);
    } catch (thrown) {
      const error = RpcError.from(thrown);
      const interrupted = situation.signal.aborted;
      if (interrupted || count >= attemptsMax || !repeated.has(error.code)) throw error;
      const pause = Math.min(delayMsMax, delayMs * 2 ** (count - 1));
      await situation.clock.sleep(pause, situation.signal);
      await situation.again(error);
    }
  }
}

async function runOnce(situation: StepSituation, count: number): Promise<StepReport> {
  const { step, clock, signal } = situation;
  signal.throwIfAborted();
  const report = emptyReport();
  const stop = new AbortController();
  const interrupt = () => stop.abort(signal.reason);
  signal.addEventListener('abort', interrupt, { once: true });
  const finished = new AbortController();
  try {
    watchDeadline(step, clock, stop, finished.signal);
    const context = contextOf(situation, count, stop.signal, report);
    const work = (async () => await step[situation.mode]?.(context))();
    const output = await Promise.race([work, giveUp(step, clock, stop.signal, finished.signal)]);
    // It may have ended well in spite of its signal: then it is done.
    report.output = checkOutput(step, output ?? undefined);
    return report;
  } catch (thrown) {
    if (thrown instanceof Skip) {
      report.skipped = true;
      return report;
    }
    // Whatever a step throws because it was interrupted, the interruption is the reason.
    throw stop.signal.aborted ? stop.signal.reason : thrown;
  } finally {
    finished.abort();
    signal.removeEventListener('abort', interrupt);
  }
}

/** Aborts `stop` at the deadline, unless the step finished before. */
function watchDeadline(
  step: Step,
  clock: Clock,
  stop: AbortController,
  finished: AbortSignal,
): void {
  const ms = step.deadlineMs ?? stepDeadlineMsDefault;
  const text = `step "${step.name}" took over ${ms} ms; see what its peer is doing`;
  const error = deadlineExceeded('STEP_DEADLINE', text, { step: step.name, ms: String(ms) });
  clock.sleep(ms, finished).then(
    () => stop.abort(error),
    () => {},
  );
}

/** Rejects when the step ignores its signal for too long. */
async function giveUp(
  step: Step,
  clock: Clock,
  stopped: AbortSignal,
  finished: AbortSignal,
): Promise<never> {
  await new Promise<void>((resolve) => {
    if (stopped.aborted) resolve();
    stopped.addEventListener('abort', () => resolve(), { once: true });
    finished.addEventListener('abort', () => resolve(), { once: true });
  });
  await clock.sleep(abortGraceMs, finished).catch(() => {});
  throw deadlineExceeded('STEP_STUCK', `step "${step.name}" ignores its signal`, {
    step: step.name,
  });
}

function emptyReport(): StepReport {
  return {
    output: undefined,
    skipped: false,
    notes: [],
    warnings: [],
    results: new Map(),
    grantId: undefined,
    atEnd: [],
  };
}

function contextOf(
  situation: StepSituation,
  count: number,
  signal: AbortSignal,
  report: StepReport,
): StepContext {
  const { operationId, stepId, input, outputs } = situation;
  const outputIfDone = <T extends JsonValue>(name: string) => outputs[name] as T | undefined;
  return {
    operationId,
    stepId,
    input,
    attempt: situation.attempt + count - 1,
    resumed: situation.resumed || count > 1,
    signal,
    get occurrence() {
      return situation.occurrence();
    },
    outputIfDone,
    output<T extends JsonValue>(name: string) {
      const output = outputIfDone<T>(name);
      if (output !== undefined) return output;
      throw failedPrecondition('STEP_OUTPUT', `step "${name}" has no output yet`, { step: name });
    },
    progress: (done, total, activity) =>
      situation.progress(whole(done), total === undefined ? undefined : whole(total), activity),
    note: (text) => push(report.notes, text),
    warn: (text) => push(report.warnings, text),
    result: (key, value) => {
      if (report.results.size < entriesMax) report.results.set(key, value);
    },
    grant: (grantId) => {
      report.grantId = grantId;
    },
    skip: (text) => {
      push(report.notes, text);
      throw new Skip(text);
    },
    withEnd: (work) => report.atEnd.push(work),
  };
}

function whole(bytes: number | bigint): bigint {
  return typeof bytes === 'bigint' ? bytes : BigInt(Math.max(0, Math.floor(bytes)));
}

function push(texts: string[], text: string): void {
  if (texts.length < entriesMax) texts.push(text.slice(0, textCharactersMax));
}

function checkOutput(step: Step, output: JsonValue | undefined): JsonValue | undefined {
  if (output === undefined) return undefined;
  const bytes = Buffer.byteLength(JSON.stringify(output));
  if (bytes <= stepOutputBytesMax) return output;
  throw invalidArgument(
    'STEP_OUTPUT_TOO_LARGE',
    `the output of step "${step.name}" has ${bytes} bytes, at most ${stepOutputBytesMax}`,
    { step: step.name, bytes: String(bytes) },
  );
}
