import { aborted, deadlineExceeded, RpcError } from '../errors.ts';
import { failpoint } from '../failpoint.ts';
import type { Clock } from '../ports/clock.ts';
import type { Logger } from '../ports/logger.ts';
import type { Transaction } from '../records/record-store.ts';
import type { Step } from './definition.ts';
import { type Keeper, OwnRecordsError } from './keeper.ts';
import { hasEffect, isHeld, recordOf, stepIdOf } from './plan.ts';
import {
  beginCompensation,
  beginStep,
  endCompensation,
  endStep,
  failStep,
  repeatStep,
} from './step-records.ts';
import { runStep, type StepReport } from './step-run.ts';

/** How long letting go may take when the engine stops or has lost its journal, in milliseconds. */
const letGoMsMax = 20_000;

/** Says that the engine stops while a step runs: the step stays open and is resumed at the next start. */
export class Stopped extends Error {}

/** Runs single steps and compensations of one operation, each with its records around it. */
export class StepExecutor {
  readonly #keeper: Keeper;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** Interrupts the steps that are running, but not those that let go. */
  #interrupt = new AbortController();
  /** Interrupts even those, when the engine has been stopping for long. */
  readonly #hurry = new AbortController();
  #stopping = false;

  constructor(keeper: Keeper, clock: Clock, logger: Logger) {
    this.#keeper = keeper;
    this.#clock = clock;
    this.#logger = logger;
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  /** Aborts when the steps that are running should end. */
  get interrupted(): AbortSignal {
    return this.#interrupt.signal;
  }

  /** Interrupts the steps that are running. */
  interrupt(reason: RpcError): void {
    this.#interrupt.abort(reason);
  }

  /** Lets steps run again after an interruption. */
  rearm(): void {
    if (!this.#stopping) this.#interrupt = new AbortController();
  }

  /** From now on nothing new starts. Waits for `quiet`, at last without patience for steps that let go. */
  async stop(quiet: Promise<void>): Promise<void> {
    this.#stopping = true;
    const reason = aborted('ENGINE_STOPPED', 'the engine stops; the step is resumed at its start');
    this.#interrupt.abort(reason);
    const done = new AbortController();
    const late = this.#after(letGoMsMax, done.signal);
    late.addEventListener('abort', () => this.#hurry.abort(reason), { once: true });
    await quiet;
    done.abort();
  }

  /**
   * Runs a step. Returns the step's own error. Throws Stopped when the engine stops meanwhile, and the store's error
   * when the journal cannot be written.
   */
  async run(step: Step, signal?: AbortSignal): Promise<RpcError | undefined> {
    const keeper = this.#keeper;
    const resumed = hasEffect(keeper.entry, step);
    await keeper.change(beginStep(step, this.#clock.now()));
    let report: StepReport;
    try {
      await failpoint('operations.step-begun');
      report = await this.#call(step, 'run', signal, resumed);
      await failpoint('operations.step-done');
    } catch (thrown) {
      return this.#failed(step, thrown, step.always ?? false);
    }
    const end = endStep(step, report, keeper.plan, this.#clock.now());
    return this.#recordEnd(step, () => keeper.change(end, ownRecords(report)));
  }

  /** Undoes a step that may have an effect. Returns the error of its compensation; throws as `run` does. */
  async undo(step: Step): Promise<RpcError | undefined> {
    const keeper = this.#keeper;
    const { journal } = keeper.entry;
    const half = journal.undoing.includes(step.name);
    if (!step.compensate || (!hasEffect(keeper.entry, step) && !half)) return undefined;
    if (step.hold && journal.released.includes(step.name)) {
      await keeper.change(endCompensation(step, undefined, this.#clock.now()));
      return undefined;
    }
    await keeper.change(beginCompensation(step));
    let report: StepReport;
    try {
      await failpoint('operations.undo-begun');
      const signal = step.hold ? undefined : this.#interrupt.signal;
      report = await this.#call(step, 'compensate', signal, half);
      await failpoint('operations.undo-done');
    } catch (thrown) {
      return this.#failed(step, thrown, step.hold ?? false);
    }
    const end = endCompensation(step, report, this.#clock.now());
    return this.#recordEnd(step, () => keeper.change(end, ownRecords(report)));
  }

  /** Lets go without the journal, when it cannot be written or the engine stops. The next start does it again. */
  async letGoUnrecorded(): Promise<void> {
    const { entry, plan, machine } = this.#keeper;
    if (machine.direction === 'none') return;
    const done = new AbortController();
    const signal = this.#after(letGoMsMax, done.signal);
    const letGo = (step: Step) =>
      this.#call(step, 'compensate', signal).catch((error) => {
        this.#logger.error('hold not let go', { step: step.name, error });
      });
    // Backwards, as when it is undone: what is paused cannot thaw.
    for (const { chains } of plan.groups.toReversed()) {
      await Promise.all(
        chains
          .flat()
          .filter((step) => isHeld(entry, step))
          .map(letGo),
      );
    }
    done.abort();
  }

  #call(
    step: Step,
    mode: 'run' | 'compensate',
    signal: AbortSignal = this.#hurry.signal,
    resumed = true,
  ): Promise<StepReport> {
    const keeper = this.#keeper;
    const { occurrence, journal } = keeper.entry;
    return runStep({
      step,
      mode,
      operationId: occurrence.id,
      stepId: stepIdOf(journal, step),
      input: journal.input,
      outputs: journal.outputs,
      attempt: Math.max(1, recordOf(keeper.entry, step).attempts),
      resumed,
      signal,
      clock: this.#clock,
      occurrence: () => keeper.entry.occurrence,
      progress: (done, total, activity) => keeper.progress(step, done, total, activity),
      again: (error) => keeper.change(repeatStep(step, error)),
    });
  }

  async #recordEnd(step: Step, record: () => Promise<void>): Promise<RpcError | undefined> {
    try {
      await record();
      this.#keeper.forgetProgress(step);
      return undefined;
    } catch (thrown) {
      if (!(thrown instanceof OwnRecordsError)) throw thrown;
      return this.#recordFailure(step, thrown.cause);
    }
  }

  /** While stopping, a step that was interrupted is not a step that failed. */
  #failed(step: Step, thrown: unknown, letsGo: boolean): Promise<RpcError> {
    const interrupted = letsGo ? this.#hurry.signal.aborted : this.#stopping;
    if (interrupted) throw new Stopped();
    return this.#recordFailure(step, thrown);
  }

  async #recordFailure(step: Step, thrown: unknown): Promise<RpcError> {
    const error = this.#stepError(step, thrown);
    await this.#keeper.change(failStep(step, error, this.#clock.now()));
    this.#keeper.forgetProgress(step);
    return error;
  }

  #stepError(step: Step, thrown: unknown): RpcError {
    const error = RpcError.from(thrown);
    // The record has a fixed text for what was not meant for others; the log has the cause.
    if (!(thrown instanceof RpcError)) {
      this.#logger.error('step failed', { step: step.name, error: thrown });
    }
    return new RpcError(
      error.code,
      error.reason,
      `step "${step.name}": ${error.message}`,
      { ...error.metadata, step: step.name },
      { violations: error.violations, details: error.details, cause: thrown },
    );
  }

  /** A signal that aborts after a time, unless it is no longer needed. */
  #after(ms: number, done: AbortSignal): AbortSignal {
    const late = new AbortController();
    const reason = deadlineExceeded('LET_GO_DEADLINE', `letting go took over ${ms} ms`);
    this.#clock.sleep(ms, done).then(
      () => late.abort(reason),
      () => {},
    );
    return late.signal;
  }
}

function ownRecords({ atEnd }: StepReport): ((tx: Transaction) => Promise<void>) | undefined {
  if (atEnd.length === 0) return undefined;
  return async (tx) => {
    for (const work of atEnd) await work(tx);
  };
}
