import { clone, create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import {
  type ProblemDetails,
  ProblemDetailsSchema,
  ProgressSchema,
} from '../../gen/nfv/common/v1/common_pb.js';
import {
  type LifecycleOperationOccurrence,
  LifecycleOperationOccurrenceSchema,
  OperationState,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { cancelled, RpcError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { RecordStore, Transaction } from '../records/record-store.ts';
import type { OperationDefinition, Step } from './definition.ts';
import {
  type Entry,
  finishEntry,
  type Journal,
  journals,
  occurrences,
  saveEntry,
} from './journal.ts';
import { isFinal, type Machine, nextState, type OperationEvent } from './next-state.ts';
import { buildPlan, isReversible, type Plan, syncSteps } from './plan.ts';

/** How often watchers hear of progress at most, in milliseconds. */
const progressIntervalMs = 200;
/** The most revisions that may exist in memory only; after a crash that many are skipped. */
const unsavedRevisionsMax = 1000n;
/** The most warnings of an occurrence. */
const warningsMax = 100;

/** Changes a draft of an operation before it is committed. */
export type Mutation = (draft: Entry) => void;

export type KeeperOptions = {
  readonly store: RecordStore;
  readonly clock: Clock;
  readonly definition: OperationDefinition;
  readonly retainedFinishedMax: number;
  /** Called after each change with the occurrence as it is now. */
  readonly changed: (occurrence: LifecycleOperationOccurrence) => void;
};

/** The caller's own records refused the change. */
export class OwnRecordsError extends Error {
  constructor(cause: unknown) {
    super('the change of the records that go with the operation failed', { cause });
  }
}

/**
 * Keeps one operation: its present state in memory is always one that was committed, plus progress. Changes
 * are made one after the other, each on a copy that takes the place of the present when it is on the disk.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  #entry: Entry;
  #plan: Plan;
  #saved: bigint;
  #last: Promise<unknown> = Promise.resolve();
  #progress = new Map<string, { done: bigint; total: bigint | undefined; activity: string }>();
  #progressAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: KeeperOptions, entry: Entry) {
    this.#options = options;
    this.#entry = entry;
    this.#plan = buildPlan(options.definition, entry.journal);
    this.#saved = entry.occurrence.revision;
  }

  /** The operation as it is now; never changed in place. */
  get entry(): Entry {
    return this.#entry;
  }

  get plan(): Plan {
    return this.#plan;
  }

  get machine(): Machine {
    return machineOf(this.#entry);
  }

  get reversible(): boolean {
    return isReversible(this.#entry, this.#plan);
  }

  /** Reads the operation again after a change whose outcome is not known. */
  reload(): Promise<void> {
    return this.#inTurn(async () => {
      const { id } = this.#entry.occurrence;
      const { occurrence, journal } = await loadEntry(this.#options.store, id);
      this.#saved = occurrence.revision;
      // Without a journal, a final state was committed although the commit seemed to fail.
      const resting = { ...this.#entry.journal, direction: 'none', cancel: 'none' } as const;
      this.#take({ occurrence, journal: journal ?? resting });
    });
  }

  /** Commits a change within the present state, and `own` with it (its errors come as OwnRecordsError). */
  change(mutate: Mutation, own?: (tx: Transaction) => Promise<void>): Promise<void> {
    return this.#inTurn(async () => this.#take(await this.#commit(this.#draft(mutate), own)));
  }

  /** Commits what an event makes of the state. Throws what nextState throws. */
  dispatch(event: OperationEvent, mutate: Mutation = () => {}): Promise<void> {
    return this.#inTurn(() => this.#dispatch(event, mutate));
  }

  /** Notes progress in memory and tells watchers now and then. */
  progress(
    step: Step,
    done: bigint,
    total: bigint | undefined,
    activity: string | undefined,
  ): void {
    const before = this.#progress.get(step.name);
    this.#progress.set(step.name, {
      done: before !== undefined && before.done > done ? before.done : done,
      total: total ?? before?.total,
      activity: activity ?? before?.activity ?? '',
    });
    const now = this.#options.clock.monotonicMs();
    if (now - this.#progressAtMs < progressIntervalMs) return;
    this.#progressAtMs = now;
    // In turn, because a change in flight has taken its copy already.
    void this.#inTurn(async () => {
      const { revision } = this.#entry.occurrence;
      if (revision - this.#saved >= unsavedRevisionsMax - 1n) return;
      this.#take(this.#draft(() => {}));
    });
  }

  /** The step has ended: what it said of its progress is in its record. */
  forgetProgress(step: Step): void {
    this.#progress.delete(step.name);
  }

  async #dispatch(event: OperationEvent, mutate: Mutation): Promise<void> {
    const before = this.machine;
    const after = nextState(before, event);
    const draft = this.#draft((entry) => {
      mutate(entry);
      this.#enter(entry, before, after);
    });
    const { definition } = this.#options;
    if (before.state === after.state || !definition.stateChanged) {
      return this.#take(await this.#commit(draft));
    }
    const change = {
      from: before.state,
      to: after.state,
      input: draft.journal.input,
      occurrence: draft.occurrence,
      outputs: draft.journal.outputs,
    };
    try {
      this.#take(await this.#commit(draft, (tx) => definition.stateChanged?.(tx, change)));
    } catch (error) {
      if (!(error instanceof OwnRecordsError)) throw error;
      await this.#refused(after.state, draft, RpcError.from(error.cause));
    }
  }

  /** The definition's own records could not follow the change of state. */
  async #refused(state: OperationState, draft: Entry, error: RpcError): Promise<void> {
    const setError: Mutation = (entry) => {
      entry.occurrence.error = problemOf(error);
    };
    if (state === OperationState.COMPLETED) {
      const { reversible } = this;
      return this.#dispatch({ kind: 'failed', policy: 'failed-temp', reversible }, setError);
    }
    if (state === OperationState.ROLLED_BACK)
      return this.#dispatch({ kind: 'undo-failed' }, setError);
    addWarnings(draft, [
      `own records did not follow to ${OperationState[state]}: ${error.message}`,
    ]);
    this.#take(await this.#commit(draft));
  }

  #enter(entry: Entry, before: Machine, after: Machine): void {
    const { occurrence, journal } = entry;
    const now = timestampFromDate(this.#options.clock.now());
    if (before.state !== after.state) {
      occurrence.operationState = after.state;
      occurrence.stateEnteredTime = now;
    }
    journal.direction = after.direction;
    journal.cancel = after.cancel;
    occurrence.isCancelPending = after.cancel !== 'none';
    if (isFinal(after.state)) occurrence.endTime = now;
    if (after.state === OperationState.COMPLETED) occurrence.error = undefined;
    const answered = before.cancel !== 'none' && after.cancel === 'none';
    if (answered && after.state !== OperationState.COMPLETED && occurrence.error === undefined) {
      occurrence.error = problemOf(cancelled('OPERATION_CANCELLED', 'it was cancelled on request'));
    }
  }

  #draft(mutate: Mutation): Entry {
    const draft: Entry = {
      occurrence: clone(LifecycleOperationOccurrenceSchema, this.#entry.occurrence),
      journal: structuredClone(this.#entry.journal),
    };
    mutate(draft);
    this.#showProgress(draft);
    draft.occurrence.revision += 1n;
    syncSteps(draft.occurrence, this.#planFor(draft));
    return draft;
  }

  #planFor({ journal }: Entry): Plan {
    const { extended } = this.#entry.journal;
    if (extended.join('\n') === journal.extended.join('\n')) return this.#plan;
    return buildPlan(this.#options.definition, journal);
  }

  #showProgress({ occurrence }: Entry): void {
    for (const step of occurrence.steps) {
      const progress = this.#progress.get(step.name);
      if (progress === undefined) continue;
      step.progress = create(ProgressSchema, {
        doneBytes: progress.done,
        activity: progress.activity,
        ...(progress.total !== undefined && { totalBytes: progress.total }),
      });
    }
  }

  async #commit(
    draft: Entry,
    own?: (tx: Transaction) => Promise<void> | undefined,
  ): Promise<Entry> {
    const { store, retainedFinishedMax } = this.#options;
    await store.transaction(async (tx) => {
      try {
        await own?.(tx);
      } catch (error) {
        throw new OwnRecordsError(error);
      }
      if (isFinal(draft.occurrence.operationState))
        await finishEntry(tx, draft, retainedFinishedMax);
      else await saveEntry(tx, draft);
    });
    this.#saved = draft.occurrence.revision;
    return draft;
  }

  #take(entry: Entry): void {
    this.#plan = this.#planFor(entry);
    this.#entry = entry;
    this.#options.changed(entry.occurrence);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => {});
    return mine;
  }
}

/**
 * An operation from the store; without a journal when it is in a final state. Its revision skips those that
 * may have been shown before a crash without being saved.
 */
export async function loadEntry(
  store: RecordStore,
  id: string,
): Promise<{ occurrence: LifecycleOperationOccurrence; journal: Journal | undefined }> {
  const { value: occurrence } = await store.collection(occurrences).require(id);
  const journal = (await store.collection(journals).get(id))?.value;
  if (journal !== undefined) occurrence.revision += unsavedRevisionsMax;
  return { occurrence, journal };
}

/** The error of a step or an operation as the record has it. */
export function problemOf(error: RpcError, step?: Step): ProblemDetails {
  return create(ProblemDetailsSchema, {
    detail: step === undefined ? error.message : `step "${step.name}": ${error.message}`,
    reason: error.reason,
    code: error.code,
    metadata: { ...error.metadata, ...(step !== undefined && { step: step.name }) },
  });
}

/** Adds warnings up to the limit; one that is there already is not repeated. */
export function addWarnings({ occurrence }: Entry, warnings: readonly string[]): void {
  const all = new Set([...occurrence.warnings, ...warnings]);
  occurrence.warnings = [...all].slice(0, warningsMax);
}

function machineOf({ occurrence, journal }: Entry): Machine {
  return {
    state: occurrence.operationState,
    direction: journal.direction,
    cancel: journal.cancel,
  };
}
