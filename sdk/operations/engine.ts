/**
 * The durable operations engine: procedures that never half-happen.
 *
 *     const createSnapshot: OperationDefinition<{ vnfInstanceId: string; snapshotId: string }> = {
 *       name: 'create-snapshot',
 *       operation: OperationType.CREATE_SNAPSHOT,
 *       onFailure: 'rollback',
 *       plan: (input) => [
 *         { name: 'grant', clause: '6.5.1', clauseStep: '3', caller: 'vnfm', callee: 'nfvo', starting: true,
 *           run: async (context) => { context.grant((await nfvo.grant({…}, { signal: context.signal })).grantId); } },
 *         { name: 'select', clause: 'Micromano', caller: 'vnfm', callee: 'vnfm',
 *           run: async () => ({ vnfcs: ['a', 'b'] }),
 *           // The VNFCs are known only now. A pure function: it is called again after a restart.
 *           extend: (output) => {
 *             const { vnfcs } = output as { vnfcs: string[] };
 *             return [
 *               parallel(vnfcs.map((vnfc) => hold(vnfc))),
 *               parallel(vnfcs.map((vnfc) => capture(vnfc))),
 *               { name: 'release', …, phase: 'release', always: true, releases: vnfcs.map((vnfc) => `hold ${vnfc}`),
 *                 run: async (context) => {…} },
 *             ];
 *           } },
 *       ],
 *       // In the transaction that records the state: the snapshot becomes visible, or vanishes, with it.
 *       stateChanged: async (tx, { to, input }) => {
 *         if (to === OperationState.ROLLED_BACK) await tx.collection(snapshots).delete(input.snapshotId);
 *       },
 *     };
 *     const hold = (vnfc: string): Step<…> => ({
 *       name: `hold ${vnfc}`, clause: '6.5.1', clauseStep: '5', caller: 'vnfm', callee: 'vim', phase: 'hold',
 *       vnfcInstanceId: vnfc, hold: true, deadlineMs: 10_000,
 *       run: async (context) => ({ leaseId: (await vim.hold({ operationId: context.operationId,
 *         stepId: context.stepId, … }, { signal: context.signal })).lease!.leaseId }),
 *       compensate: async (context) => { await vim.release({…}, { signal: context.signal }); },
 *     });
 *
 *     const engine = new OperationEngine({ store, clock, logger, definitions: [createSnapshot] });
 *     await engine.start();                                    // takes up what a crash left open
 *     const { id } = await engine.accept({
 *       definition: 'create-snapshot', input: { vnfInstanceId, snapshotId }, key: vnfInstanceId, vnfInstanceId,
 *       request: { id: request.requestId, method: 'CreateVnfSnapshot', body: toBinary(Schema, request) },
 *       record: async (tx, operationId) => { await tx.collection(snapshots).insert(snapshotId, snapshot); },
 *     });                                                      // durable; the work goes on in the background
 *     for await (const occurrence of engine.watch(id)) …       // or: await engine.finished(id)
 *     services: [operationOccurrenceService(engine)]           // from ./service.ts
 *     await engine.stop();                                     // steps are interrupted and stay resumable
 *
 * Order of events. `accept` commits the occurrence (STARTING), the lock on `key`, the request id and the caller's
 * records in one transaction. Starting steps run; then PROCESSING. A step's intent is committed before `run`, its
 * output with its end. COMPLETED when all steps are done. On failure: pending `always` steps run, open holds are
 * compensated, then by `onFailure` ROLLING_BACK (compensations in reverse order) → ROLLED_BACK, or FAILED_TEMP.
 * A failure of a starting step → ROLLED_BACK. FAILED_TEMP keeps the lock until Retry, Rollback or Fail.
 * After a crash an open step is run again with `resumed: true`; but if something was held and not yet on its way
 * to be released, it is released and the operation is rolled back.
 */
import { create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import {
  type LifecycleOperationOccurrence,
  LifecycleOperationOccurrenceSchema,
  OperationState,
  type OperationStep,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import {
  failedPrecondition,
  internal,
  notFound,
  resourceExhausted,
  unavailable,
} from '../errors.ts';
import { type Clock, systemClock } from '../ports/clock.ts';
import { type Logger, silentLogger } from '../ports/logger.ts';
import { type Random, systemRandom } from '../ports/random.ts';
import { type RecordPage, type RecordStore, recordPageMax } from '../records/record-store.ts';
import { RequestIds } from '../request-ids.ts';
import type { AcceptOptions } from './accept-options.ts';
import type { OperationDefinition } from './definition.ts';
import { type Entry, insertEntry, type Journal, journals, occurrences } from './journal.ts';
import { Keeper, loadEntry } from './keeper.ts';
import { type EngineLimits, limitsDefault } from './limits.ts';
import { firstState, isAtRest, isFinal } from './next-state.ts';
import { buildPlan, syncSteps } from './plan.ts';
import { Runner } from './runner.ts';
import { standIn } from './stand-in.ts';
import { StateFeed } from './state-feed.ts';
import { Watchers } from './watch.ts';

export type { AcceptOptions } from './accept-options.ts';
export {
  type FailurePolicy,
  type Group,
  type OperationDefinition,
  type PlanItem,
  parallel,
  type StateChange,
  type Step,
  type StepContext,
  sequence,
} from './definition.ts';

export type EngineOptions = {
  /** The plugin's own store; the engine uses collections whose names start with "operation". */
  readonly store: RecordStore;
  // biome-ignore lint/suspicious/noExplicitAny: each definition has its own type of input.
  readonly definitions: readonly OperationDefinition<any>[];
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
  readonly limits?: Partial<EngineLimits>;
};

/** Which occurrences to list: newest first, one page. */
export type OperationPage = { readonly limit?: number; readonly after?: string };

/** Carries operations out and keeps their records. See the top of this file. */
export class OperationEngine {
  readonly #store: RecordStore;
  readonly #definitions: ReadonlyMap<string, OperationDefinition>;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #limits: EngineLimits;
  readonly #requests: RequestIds;
  readonly #watchers: Watchers;
  readonly #feed: StateFeed;
  /** Exactly the unfinished operations. */
  readonly #runners = new Map<string, Runner>();
  #accepting = 0;
  #state: 'new' | 'running' | 'stopped' = 'new';

  constructor(options: EngineOptions) {
    this.#store = options.store;
    this.#definitions = new Map(options.definitions.map((each) => [each.name, each]));
    if (this.#definitions.size !== options.definitions.length) {
      throw internal('OPERATION_DEFINITION', 'two operation definitions have the same name');
    }
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#logger = options.logger ?? silentLogger;
    this.#limits = { ...limitsDefault, ...options.limits };
    this.#requests = new RequestIds(this.#clock);
    this.#watchers = new Watchers(this.#limits.watchersMax);
    this.#feed = new StateFeed(this.#limits.watchersMax);
  }

  /** Takes up the operations that a crash or a stop left unfinished; resolves when they run. Call once. */
  async start(): Promise<void> {
    if (this.#state !== 'new') throw internal('ENGINE_STATE', `start: engine is ${this.#state}`);
    this.#state = 'running';
    let after: string | undefined;
    do {
      const page = await this.#store
        .collection(journals)
        .list({ limit: recordPageMax, ...(after !== undefined && { after }) });
      for (const { id } of page.records) await this.#takeUp(id);
      after = page.next;
    } while (after !== undefined);
  }

  /**
   * Records a new operation and returns at once; the work goes on in the background. Errors: what `plan` and `record`
   * throw; FAILED_PRECONDITION with reason OPERATION_IN_PROGRESS and metadata `operation_id`; ALREADY_EXISTS with
   * reason REQUEST_ID_REUSED; RESOURCE_EXHAUSTED with reason TOO_MANY_OPERATIONS; UNAVAILABLE with reason
   * ENGINE_STOPPED. `repeated`: the request was known, nothing new was accepted.
   */
  async accept(options: AcceptOptions): Promise<{ id: string; repeated: boolean }> {
    this.#checkRunning();
    const definition = this.#definition(options.definition);
    const entry = this.#newEntry(definition, options);
    const { id } = entry.occurrence;
    this.#accepting++;
    try {
      const earlier = await this.#store.transaction(async (tx) => {
        const answer = await this.#requests.earlier(tx, options.request);
        if (answer !== undefined) return answer as string;
        this.#checkRoom();
        await insertEntry(tx, entry);
        await options.record?.(tx, id);
        await this.#requests.remember(tx, options.request, id);
        return undefined;
      });
      if (earlier !== undefined) return { id: earlier, repeated: true };
      this.#run(entry, definition, false);
      return { id, repeated: false };
    } finally {
      this.#accepting--;
    }
  }

  /** The steps that an operation would have, all PENDING; nothing is recorded. Errors: what `plan` throws. */
  preview({ definition, input }: Pick<AcceptOptions, 'definition' | 'input'>): OperationStep[] {
    return this.#newEntry(this.#definition(definition), { definition, input }).occurrence.steps;
  }

  /** The occurrence as it is now. NOT_FOUND with reason OPERATION_UNKNOWN. */
  async get(id: string): Promise<LifecycleOperationOccurrence> {
    const present = this.#runners.get(id)?.keeper.entry.occurrence;
    if (present !== undefined) return present;
    const stored = await this.#store.collection(occurrences).get(id);
    if (stored === undefined) throw unknown(id);
    return stored.value;
  }

  /** One page of occurrences, newest first, each as it is now. */
  async list(page: OperationPage = {}): Promise<RecordPage<LifecycleOperationOccurrence>> {
    const found = await this.#store.collection(occurrences).list({ ...page, order: 'newest' });
    const records = found.records.map((record) => {
      const present = this.#runners.get(record.id)?.keeper.entry.occurrence;
      return present === undefined ? record : { ...record, value: present };
    });
    return { ...found, records };
  }

  /**
   * The present state, when its revision is above `afterRevision`, then every change; ends after a final state or
   * FAILED_TEMP. Slow readers miss intermediate revisions, never the last. Errors: NOT_FOUND with reason
   * OPERATION_UNKNOWN, RESOURCE_EXHAUSTED with reason TOO_MANY_WATCHERS, UNAVAILABLE with reason ENGINE_STOPPED.
   */
  watch(
    id: string,
    options: { afterRevision?: bigint; signal?: AbortSignal } = {},
  ): AsyncIterable<LifecycleOperationOccurrence> {
    const read = async () => {
      const occurrence = await this.get(id);
      if (this.#state === 'stopped' && !isAtRest(occurrence.operationState)) this.#checkRunning();
      return occurrence;
    };
    const last = ({ operationState }: LifecycleOperationOccurrence) => isAtRest(operationState);
    return this.#watchers.watch(id, read, last, options.afterRevision ?? 0n, options.signal);
  }

  /**
   * Every change of state of every operation from now on, without steps; undefined first, when the watch stands. Ends
   * when the engine stops. RESOURCE_EXHAUSTED with reason TOO_MANY_WATCHERS or WATCHER_TOO_SLOW.
   */
  watchAll(signal?: AbortSignal): AsyncIterable<LifecycleOperationOccurrence | undefined> {
    this.#checkRunning();
    return this.#feed.follow(signal);
  }

  /** Waits until the operation is in a final state or FAILED_TEMP. Errors as in watch. */
  async finished(id: string, signal?: AbortSignal): Promise<LifecycleOperationOccurrence> {
    for await (const occurrence of this.watch(id, signal === undefined ? {} : { signal })) {
      if (isAtRest(occurrence.operationState)) return occurrence;
    }
    return this.get(id);
  }

  /** FAILED_TEMP → PROCESSING. FAILED_PRECONDITION with reason OPERATION_STATE otherwise. */
  async retry(id: string): Promise<void> {
    await (await this.#runner(id)).retry();
  }

  /** FAILED_TEMP → ROLLING_BACK. FAILED_PRECONDITION with reason OPERATION_STATE or ROLLBACK_IMPOSSIBLE. */
  async rollBack(id: string): Promise<void> {
    await (await this.#runner(id)).rollBack();
  }

  /** FAILED_TEMP → FAILED. FAILED_PRECONDITION with reason OPERATION_STATE otherwise. */
  async fail(id: string): Promise<LifecycleOperationOccurrence> {
    const runner = await this.#runner(id);
    await runner.fail();
    return runner.keeper.entry.occurrence;
  }

  /** Asks a running operation to stop and be undone. FAILED_PRECONDITION with reason OPERATION_STATE. */
  async cancel(id: string, mode: 'graceful' | 'forceful'): Promise<void> {
    await (await this.#runner(id)).cancel(mode);
  }

  /** Lets holds end in time, interrupts what runs, lets go, and resolves when all is quiet. The store stays open. */
  async stop(): Promise<void> {
    this.#state = 'stopped';
    const stop = (runner: Runner) => runner.stop(this.#limits.holdPatienceMs);
    await Promise.all([...this.#runners.values()].map(stop));
    this.#watchers.changedAll();
    this.#feed.end();
  }

  #definition(name: string): OperationDefinition {
    const definition = this.#definitions.get(name);
    if (definition !== undefined) return definition;
    throw internal('OPERATION_DEFINITION', `no operation is named "${name}"`);
  }

  async #takeUp(id: string): Promise<void> {
    const { occurrence, journal } = await loadEntry(this.#store, id);
    if (journal === undefined) return;
    const entry = { occurrence, journal };
    const definition = this.#definitions.get(journal.definition);
    const usable = standIn(definition, entry);
    if (usable !== definition) {
      this.#logger.error('operation of an unknown or changed definition', {
        operation: id,
        definition: journal.definition,
      });
    }
    this.#run(entry, usable, true);
  }

  #run(entry: Entry, definition: OperationDefinition, recovered: boolean): void {
    const { id } = entry.occurrence;
    let state = recovered ? OperationState.UNSPECIFIED : entry.occurrence.operationState;
    if (!recovered) this.#feed.publish(entry.occurrence);
    const changed = (occurrence: LifecycleOperationOccurrence) => {
      if (occurrence.operationState !== state) this.#feed.publish(occurrence);
      state = occurrence.operationState;
      if (isFinal(occurrence.operationState)) this.#runners.delete(id);
      this.#watchers.changed(id);
    };
    const { retainedFinishedMax } = this.#limits;
    const options = { store: this.#store, clock: this.#clock, definition, retainedFinishedMax };
    const keeper = new Keeper({ ...options, changed }, entry);
    const runner = new Runner(keeper, definition, this.#clock, this.#logger);
    this.#runners.set(id, runner);
    // A stop that came while this was accepted: the next start takes it up.
    if (this.#state === 'running') runner.run(recovered);
  }

  #newEntry(definition: OperationDefinition, options: AcceptOptions): Entry {
    const { key = [], input } = options;
    const now = timestampFromDate(this.#clock.now());
    const { vnfInstanceId = '', vnfSnapshotInfoId = '', vnfSnapshotPkgId = '' } = options;
    const occurrence = create(LifecycleOperationOccurrenceSchema, {
      id: options.id ?? this.#random.uuid(),
      operationState: firstState.state,
      stateEnteredTime: now,
      startTime: now,
      operation: definition.operation,
      isAutomaticInvocation: options.isAutomaticInvocation ?? false,
      vnfInstanceId,
      vnfSnapshotInfoId,
      vnfSnapshotPkgId,
      revision: 1n,
      ...(options.params !== undefined && { operationParams: options.params }),
    });
    const journal: Journal = {
      definition: definition.name,
      keys: typeof key === 'string' ? [key] : [...key],
      input,
      direction: firstState.direction,
      cancel: firstState.cancel,
      outputs: {},
      started: [],
      undoing: [],
      released: [],
      extended: [],
      rounds: {},
    };
    syncSteps(occurrence, buildPlan(definition, journal));
    return { occurrence, journal };
  }

  async #runner(id: string): Promise<Runner> {
    this.#checkRunning();
    const runner = this.#runners.get(id);
    if (runner !== undefined) return runner;
    const { operationState } = await this.get(id);
    const state = OperationState[operationState] ?? String(operationState);
    const text = `operation ${id} is in a final state; start a new operation`;
    throw failedPrecondition('OPERATION_STATE', text, { operation_id: id, state });
  }

  #checkRunning(): void {
    if (this.#state === 'running') return;
    throw unavailable('ENGINE_STOPPED', 'the operations engine does not run; retry later');
  }

  #checkRoom(): void {
    const limit = this.#limits.unfinishedMax;
    if (this.#runners.size + this.#accepting <= limit) return;
    throw resourceExhausted(
      'TOO_MANY_OPERATIONS',
      `${limit} operations are unfinished; wait for one, or fail those in FAILED_TEMP`,
      { limit: String(limit) },
    );
  }
}

const unknown = (id: string) =>
  notFound('OPERATION_UNKNOWN', `there is no operation "${id}"`, { operation_id: id });
