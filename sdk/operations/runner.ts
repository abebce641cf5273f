import { OperationState } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { runInCallContext } from '../call-context.ts';
import { aborted, cancelled, type RpcError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Logger } from '../ports/logger.ts';
import { runChains } from './chains.ts';
import type { FailurePolicy, Group, OperationDefinition, Step } from './definition.ts';
import { addWarnings, type Keeper, problemOf } from './keeper.ts';
import type { Direction } from './next-state.ts';
import { hasEffect, isHeld, isOver, isStuckHolding, planRewind, resetSteps } from './plan.ts';
import { StepExecutor, Stopped } from './step-executor.ts';
import { giveUp } from './step-records.ts';

/** Pauses before work goes on after the journal could not be written, in milliseconds: doubling, this many times. */
const stallDelayMs = 1_000;
const stallDelayMsMax = 60_000;
const stallsMax = 1_000;
/** How often a stop looks whether something is still held, in milliseconds. */
const heldPollMs = 50;

/** Carries one operation out: decides nothing (see next-state.ts, plan.ts), but does and records it. */
export class Runner {
  readonly keeper: Keeper;
  readonly #definition: OperationDefinition;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #executor: StepExecutor;
  #running: Promise<void> = Promise.resolve();
  /** Wakes the pauses of a stalled operation when the engine stops. */
  readonly #stop = new AbortController();

  constructor(keeper: Keeper, definition: OperationDefinition, clock: Clock, logger: Logger) {
    this.keeper = keeper;
    this.#definition = definition;
    this.#clock = clock;
    this.#logger = logger.child({ operation: keeper.entry.occurrence.id });
    this.#executor = new StepExecutor(keeper, clock, this.#logger);
  }

  /** Starts or goes on with the work, in the background. `recovered`: after a crash or a stop. */
  run(recovered = false): void {
    // Not part of the call that asked for it: its hops are not the work's.
    const work = () => runInCallContext({ hops: 0 }, () => this.#runThroughStalls(recovered));
    this.#running = this.#running.then(work);
  }

  /** Requests of a person; each returns when it is recorded. They throw what nextState throws. */
  async retry(): Promise<void> {
    await this.keeper.dispatch({ kind: 'retry' }, ({ occurrence }) => {
      occurrence.error = undefined;
    });
    this.run();
  }

  async rollBack(): Promise<void> {
    await this.keeper.dispatch({ kind: 'rollback', reversible: this.keeper.reversible });
    this.run();
  }

  async fail(): Promise<void> {
    await this.keeper.dispatch({ kind: 'fail' }, giveUp(this.keeper.plan));
  }

  async cancel(mode: 'graceful' | 'forceful'): Promise<void> {
    await this.keeper.dispatch({ kind: 'cancel', mode });
    if (mode === 'forceful') {
      this.#executor.interrupt(cancelled('OPERATION_CANCELLED', 'it was cancelled on request'));
    }
  }

  /**
   * Lets a hold come to its end for that long, so that what was captured under it counts. Then
   * interrupts the steps, lets go of what is held, and returns when nothing runs any more.
   */
  async stop(holdPatienceMs: number): Promise<void> {
    this.#stop.abort();
    for (let waitedMs = 0; waitedMs < holdPatienceMs && this.#holds(); waitedMs += heldPollMs) {
      await this.#clock.sleep(heldPollMs);
    }
    await this.#executor.stop(this.#running);
  }

  /** True while it works on something held, and not only to let it go. */
  #holds(): boolean {
    const { entry, plan, machine } = this.keeper;
    return machine.direction === 'forward' && plan.steps.some((step) => isHeld(entry, step));
  }

  /**
   * When the journal cannot be written (the disk is full), nothing more may be done, but nothing may stay held
   * either: let go, wait, read what is on the disk, and go on as after a crash.
   */
  async #runThroughStalls(recovered: boolean): Promise<void> {
    let recover = recovered;
    for (let stalls = 0; stalls < stallsMax; stalls++) {
      try {
        if (stalls > 0) await this.keeper.reload();
        if (recover) await this.#recover();
        await this.#drive();
        if (this.#executor.stopping) await this.#executor.letGoUnrecorded();
        return;
      } catch (error) {
        recover = true;
        if (!(error instanceof Stopped)) {
          this.#logger.error('operation stalled', { error });
        }
        await this.#executor.letGoUnrecorded();
        const pause = Math.min(stallDelayMsMax, stallDelayMs * 2 ** Math.min(stalls, 10));
        const woken = await this.#clock.sleep(pause, this.#stop.signal).catch(() => 'stopped');
        if (woken === 'stopped') return;
      }
    }
    this.#logger.error('operation given up until the next start', { stalls: stallsMax });
  }

  async #recover(): Promise<void> {
    const { entry, plan, reversible, machine } = this.keeper;
    if (machine.direction === 'none') return;
    const held = isStuckHolding(entry, plan);
    const policy = this.#definition.afterCrash ?? 'resume';
    await this.keeper.dispatch({ kind: 'crashed', held, policy, reversible }, (draft) => {
      if (!held || draft.occurrence.error !== undefined) return;
      const text = 'the manager was interrupted while it held components; they were let go';
      draft.occurrence.error = problemOf(aborted('INTERRUPTED', text));
    });
  }

  async #drive(): Promise<void> {
    const work: Record<Exclude<Direction, 'none'>, () => Promise<void>> = {
      forward: () => this.#forward(),
      release: () => this.#release(),
      rewind: () => this.#rewind(),
      back: () => this.#back(),
    };
    while (!this.#executor.stopping) {
      const { direction } = this.keeper.machine;
      if (direction === 'none') return;
      this.#executor.rearm();
      await work[direction]();
    }
  }

  async #forward(): Promise<void> {
    const { keeper } = this;
    for (;;) {
      const { entry, plan, machine, reversible } = keeper;
      if (this.#executor.stopping) return;
      if (machine.cancel !== 'none') return keeper.dispatch({ kind: 'cancelled', reversible });
      const group = plan.groups.find(({ chains }) =>
        chains.flat().some((step) => !isOver(entry, step)),
      );
      const starting = group?.chains.flat().every((step) => step.starting) ?? false;
      if (machine.state === OperationState.STARTING && !starting) {
        await keeper.dispatch({ kind: 'begin' });
        if (keeper.machine.direction !== 'forward') return;
        continue;
      }
      const error = group === undefined ? await this.#letGo() : await this.#runGroup(group);
      if (this.#executor.stopping) return;
      if (error !== undefined) return this.#failed(error);
      if (group === undefined) {
        return keeper.dispatch({ kind: 'succeeded', reversible: keeper.reversible });
      }
    }
  }

  async #failed(error: RpcError): Promise<void> {
    const { onFailure } = this.#definition;
    const policy: FailurePolicy = typeof onFailure === 'function' ? onFailure(error) : onFailure;
    const { reversible } = this.keeper;
    await this.keeper.dispatch({ kind: 'failed', policy, reversible }, ({ occurrence }) => {
      occurrence.error = problemOf(error);
    });
  }

  async #release(): Promise<void> {
    const error = await this.#letGo();
    if (this.#executor.stopping) return;
    const { reversible } = this.keeper;
    await this.keeper.dispatch({ kind: 'released', reversible }, (draft) => {
      if (error !== undefined) addWarnings(draft, [`not everything was let go: ${error.message}`]);
    });
  }

  async #rewind(): Promise<void> {
    const { keeper } = this;
    const failed = (error: RpcError) =>
      keeper.dispatch({ kind: 'undo-failed' }, ({ occurrence }) => {
        occurrence.error = problemOf(error);
      });
    const held = await this.#letGo();
    if (this.#executor.stopping) return;
    if (held !== undefined) return failed(held);
    const rewind = planRewind(keeper.entry, keeper.plan);
    for (const step of rewind.undo.toReversed()) {
      const error = await this.#executor.undo(step);
      if (this.#executor.stopping) return;
      if (error !== undefined) return failed(error);
    }
    await keeper.dispatch({ kind: 'rewound' }, (draft) => resetSteps(draft, rewind));
  }

  async #back(): Promise<void> {
    const { keeper } = this;
    let error = await this.#letGo();
    for (const { chains } of keeper.plan.groups.toReversed()) {
      if (error !== undefined) break;
      if (this.#executor.stopping) return;
      if (keeper.machine.cancel !== 'none') {
        return keeper.dispatch({ kind: 'cancelled', reversible: keeper.reversible });
      }
      error = await this.#each(
        chains.map((chain) => chain.toReversed()),
        (step) => this.#executor.undo(step),
        () => keeper.machine.cancel !== 'none',
      );
    }
    if (this.#executor.stopping) return;
    if (error === undefined) {
      const left = keeper.plan.steps.some(
        (step) => step.compensate && hasEffect(keeper.entry, step),
      );
      // A cancel may have ended the last group early.
      const { reversible } = keeper;
      return keeper.dispatch(left ? { kind: 'cancelled', reversible } : { kind: 'undone' });
    }
    const problem = problemOf(error);
    await keeper.dispatch({ kind: 'undo-failed' }, ({ occurrence }) => {
      occurrence.error ??= problem;
      addWarnings({ ...keeper.entry, occurrence }, [`undoing failed: ${problem.detail}`]);
    });
  }

  /** Runs what is left of a group. The first error interrupts the rest of the group. */
  #runGroup({ chains }: Group): Promise<RpcError | undefined> {
    const siblings = new AbortController();
    const interrupted = AbortSignal.any([this.#executor.interrupted, siblings.signal]);
    return this.#each(
      chains,
      async (step) => {
        if (isOver(this.keeper.entry, step)) return undefined;
        const error = await this.#executor.run(step, step.always ? undefined : interrupted);
        if (error === undefined) return undefined;
        siblings.abort(cancelled('STEP_INTERRUPTED', `step "${step.name}" failed beside it`));
        return error;
      },
      () => interrupted.aborted || this.keeper.machine.cancel !== 'none',
    );
  }

  /**
   * Runs the pending steps that always run, as far as there is something for them to do, then the compensations of
   * whatever is still held. Goes on after errors. Returns the first error of a hold that could not be let go; other
   * failures become warnings, because they must not keep effects from being undone.
   */
  async #letGo(): Promise<RpcError | undefined> {
    const { keeper } = this;
    for (const { chains } of keeper.plan.groups) {
      await this.#each(chains, async (step) => {
        if (!step.always || isOver(keeper.entry, step) || !this.#isNeeded(step)) return undefined;
        const failure = await this.#executor.run(step);
        if (failure === undefined) return undefined;
        await keeper.change((draft) => addWarnings(draft, [failure.message]));
        await this.#letGoHolds(step.releases ?? []);
        return undefined;
      });
    }
    return this.#letGoHolds(keeper.plan.steps.map(({ name }) => name));
  }

  #isNeeded(step: Step): boolean {
    const { entry, plan } = this.keeper;
    const works = (other: Step) => !other.starting && !other.always && hasEffect(entry, other);
    if (!step.releases) return plan.steps.some(works);
    return plan.steps.some((hold) => step.releases?.includes(hold.name) && isHeld(entry, hold));
  }

  async #letGoHolds(names: readonly string[]): Promise<RpcError | undefined> {
    let first: RpcError | undefined;
    for (const { chains } of this.keeper.plan.groups.toReversed()) {
      const error = await this.#each(chains, async (step) => {
        if (!names.includes(step.name) || !isHeld(this.keeper.entry, step)) return undefined;
        return this.#executor.undo(step);
      });
      first ??= error;
    }
    return first;
  }

  /** Runs chains; a journal that cannot be written interrupts all of them, and so does a stop. */
  #each(
    chains: readonly (readonly Step[])[],
    work: (step: Step) => Promise<RpcError | undefined>,
    halt: () => boolean = () => false,
  ): Promise<RpcError | undefined> {
    const executor = this.#executor;
    return runChains(chains, {
      work,
      halt: () => executor.stopping || halt(),
      broken: () => executor.interrupt(aborted('JOURNAL_FAILED', 'the journal is not writable')),
    });
  }
}
