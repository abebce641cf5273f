import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type {
  LifecycleOperationOccurrence,
  OperationState,
  OperationType,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import type { RpcError } from '../errors.ts';
import { internal } from '../errors.ts';
import type { Transaction } from '../records/record-store.ts';

/** The most steps of one operation, those planned later included. */
export const stepsMax = 1000;
/** How long a step may run when it does not say, in milliseconds: long enough to move a large disk. */
export const stepDeadlineMsDefault = 3_600_000;
/** The longest deadline: a day. */
const stepDeadlineMsMax = 86_400_000;
const stepNameBytesMax = 256;

/** What happens when a step fails: undo everything, or leave the effects and wait for a person. */
export type FailurePolicy = 'rollback' | 'failed-temp';

/** Repeats of a step within one run. Only UNAVAILABLE, ABORTED, RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED are repeated. */
export type RetryPolicy = {
  /** How often the step is started in all, 1 to 100. */
  attemptsMax: number;
  /** The first pause; it doubles up to delayMsMax. */
  delayMs: number;
  delayMsMax: number;
};

/** The kind of an operation: what it does and how it fails. See engine.ts for an example. */
export interface OperationDefinition<Input extends JsonValue = JsonValue> {
  /** Stable for ever: it is stored with each operation and finds the definition after a restart. */
  readonly name: string;
  readonly operation: OperationType;
  readonly onFailure: FailurePolicy | ((error: RpcError) => FailurePolicy);
  /** What happens to an operation found in PROCESSING after a crash while nothing is held. Default: 'resume'. */
  readonly afterCrash?: 'resume' | 'rollback';
  /**
   * The steps in order. A pure function of the input: it is called again after a restart and must give
   * the same steps. An error thrown here refuses the operation.
   */
  plan(input: Input): PlanItem<Input>[];
  /**
   * Called in the transaction that records a new state, for the caller's own records ("the snapshot is
   * complete", "the snapshot is gone"). When it throws on the way to COMPLETED or ROLLED_BACK, the operation
   * ends in FAILED_TEMP instead; on the way to another state the error becomes a warning of the occurrence.
   */
  stateChanged?(tx: Transaction, change: StateChange<Input>): Promise<void>;
}

/** A step, or several that may overlap (see `parallel` and `sequence`). */
export type PlanItem<Input extends JsonValue = JsonValue> = Step<Input> | Group<Input>;

/** Chains run at the same time, the steps of one chain one after the other. The next item waits for all. */
export type Group<Input extends JsonValue = JsonValue> = {
  readonly chains: readonly (readonly Step<Input>[])[];
};

/** Steps, or chains of steps, that may run at the same time. */
export function parallel<Input extends JsonValue>(
  members: readonly (Step<Input> | readonly Step<Input>[])[],
): Group<Input> {
  return { chains: members.map((member) => (isChain(member) ? member : [member])) };
}

/** Steps one after the other, for example when Vnfsd.017 orders the VNFCs within a phase. */
export function sequence<Input extends JsonValue>(steps: readonly Step<Input>[]): Group<Input> {
  return { chains: [steps] };
}

/** One step of a procedure. */
export interface Step<Input extends JsonValue = JsonValue> {
  /** Unique within the operation and stable: the journal and the driver know the step by it. */
  readonly name: string;
  /** The clause of GR NFV-TST 005, or "Micromano". */
  readonly clause: string;
  /** The step's number in the clause. */
  readonly clauseStep?: string;
  /** The role that calls. */
  readonly caller: string;
  /** The role that is called. */
  readonly callee: string;
  /** The role that passes the call on, if any. */
  readonly via?: string;
  /** "", "prepare", "hold", "capture", "release" or "resume". */
  readonly phase?: string;
  readonly vnfcInstanceId?: string;
  /** Runs in state STARTING: checks and the grant. Comes before all others and has no effect to undo. */
  readonly starting?: boolean;
  /**
   * The step takes something that must be let go (pauses, quiesces). Needs `compensate`, which lets go and can be
   * repeated. When the operation fails, is cancelled, or is found after a crash, compensate runs at once,
   * before any other compensation; a later Retry takes the hold again and repeats everything since.
   */
  readonly hold?: boolean;
  /** Runs on every path, after a failure too: release, thaw, resume. */
  readonly always?: boolean;
  /** Only with `always`: the names of the hold steps that this step lets go. */
  readonly releases?: readonly string[];
  /** Once started, the operation can no longer be undone: a failure or a cancel ends in FAILED_TEMP. */
  readonly irreversible?: boolean;
  /** How long one attempt may take, in milliseconds; then its signal aborts. Default: stepDeadlineMsDefault. */
  readonly deadlineMs?: number;
  /** `true`: three attempts, 200 ms apart and doubling. Default: one attempt. */
  readonly retryable?: boolean | RetryPolicy;
  /**
   * Does it. What it returns is durable before the next step starts and is seen by later steps. It may be run
   * again after a crash (`context.resumed`), when its effect may have happened already: hand
   * `context.operationId` and `context.stepId` to the peer, which answers a repeat with the first outcome.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: most steps return nothing and end without `return`.
  run(context: StepContext<Input>): Promise<JsonValue | undefined | void>;
  /**
   * Undoes it; may be repeated, and must succeed when nothing is there to undo: it also runs for a step that
   * failed or was interrupted, because its effect may have happened.
   */
  compensate?(context: StepContext<Input>): Promise<void>;
  /** More steps, after this step's group; a pure function of its output and the input. */
  extend?(output: JsonValue | undefined, input: Input): PlanItem<Input>[];
}

/** What a step sees of its operation. */
export interface StepContext<Input extends JsonValue = JsonValue> {
  readonly operationId: string;
  /** Stable over attempts and restarts, new when the step is repeated after it was undone. */
  readonly stepId: string;
  readonly input: Input;
  /** From 1; grows over restarts and retries. */
  readonly attempt: number;
  /** The step was started before and its outcome is not known: ask the peer for it. */
  readonly resumed: boolean;
  /** Aborts on the deadline, on a forceful cancel, when a parallel step fails, and when the engine stops. */
  readonly signal: AbortSignal;
  /** The occurrence as it is now; not to be changed. */
  readonly occurrence: LifecycleOperationOccurrence;
  /** The output of an earlier step. Throws when that step is not done. */
  output<T extends JsonValue = JsonValue>(stepName: string): T;
  /** The output of an earlier step, or undefined when it is not done or had none. */
  outputIfDone<T extends JsonValue = JsonValue>(stepName: string): T | undefined;
  /** Tells watchers how far the step is; cheap, may be called often. Bytes only grow. */
  progress(doneBytes: number | bigint, totalBytes?: number | bigint, activity?: string): void;
  /** Says what was noteworthy; kept with the step. */
  note(text: string): void;
  /** Adds to the warnings of the occurrence, when the step ends. */
  warn(text: string): void;
  /** Adds to the results of the occurrence, when the step is done. */
  result(key: string, value: string): void;
  /** Names the grant of the occurrence, when the step is done. */
  grant(grantId: string): void;
  /** Ends the step as not needed, by throwing. */
  skip(note: string): never;
  /** Runs `work` in the transaction that records the end of the step, for the caller's own records. */
  withEnd(work: (tx: Transaction) => Promise<void>): void;
}

/** A change of state, told to the definition in the transaction that records it. */
export type StateChange<Input extends JsonValue = JsonValue> = {
  readonly from: OperationState;
  readonly to: OperationState;
  readonly input: Input;
  /** The occurrence as it will be. */
  readonly occurrence: LifecycleOperationOccurrence;
  /** The outputs of the steps that are done, by name. */
  readonly outputs: Readonly<JsonObject>;
};

/** Throws when steps contradict the rules of Step; a mistake of the definition, not of a caller. */
export function checkSteps(steps: readonly Step<JsonValue>[]): void {
  if (steps.length > stepsMax) throw wrong('(all)', `${steps.length} steps, at most ${stepsMax}`);
  const earlier = new Map<string, Step<JsonValue>>();
  let working = false;
  for (const step of steps) {
    checkStep(step, earlier, working);
    working ||= step.starting !== true;
    earlier.set(step.name, step);
  }
}

function checkStep(step: Step<JsonValue>, earlier: Map<string, Step<JsonValue>>, working: boolean) {
  const { name } = step;
  if (name === '' || Buffer.byteLength(name) > stepNameBytesMax) {
    throw wrong(name, `names have 1 to ${stepNameBytesMax} bytes`);
  }
  const { deadlineMs = stepDeadlineMsDefault } = step;
  if (!(deadlineMs > 0 && deadlineMs <= stepDeadlineMsMax)) {
    throw wrong(name, `a deadline is over 0 and at most ${stepDeadlineMsMax} ms`);
  }
  if (earlier.has(name)) throw wrong(name, 'two steps have this name');
  if (step.hold && !step.compensate) throw wrong(name, 'a hold needs compensate');
  if (step.hold && step.always) throw wrong(name, 'a step cannot both hold and run always');
  if (step.starting && working) throw wrong(name, 'a starting step follows one that is not');
  if (step.starting && (step.compensate || step.hold || step.always || step.irreversible)) {
    throw wrong(name, 'a starting step has no effect to undo, holds nothing and releases nothing');
  }
  if (step.releases && !step.always) throw wrong(name, 'releases needs always');
  for (const released of step.releases ?? []) {
    if (!earlier.get(released)?.hold) throw wrong(name, `releases ${released}, no earlier hold`);
  }
}

function wrong(step: string, why: string): RpcError {
  return internal(
    'OPERATION_DEFINITION',
    `step "${step}" of an operation is badly defined: ${why}`,
    {
      step,
    },
  );
}

function isChain<Input extends JsonValue>(
  member: Step<Input> | readonly Step<Input>[],
): member is readonly Step<Input>[] {
  return Array.isArray(member);
}
