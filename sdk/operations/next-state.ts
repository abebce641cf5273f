import { OperationState } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { failedPrecondition, internal } from '../errors.ts';
import type { FailurePolicy } from './definition.ts';

const { STARTING, PROCESSING, COMPLETED, FAILED_TEMP, FAILED, ROLLING_BACK, ROLLED_BACK } =
  OperationState;

/**
 * What the engine does within a state: run steps; let go of what is held after a failure; undo what a retry has to
 * repeat; undo everything; nothing (a person or nobody decides).
 */
export type Direction = 'forward' | 'release' | 'rewind' | 'back' | 'none';

/** A cancel that was asked for and has not taken effect yet. */
export type PendingCancel = 'none' | 'graceful' | 'forceful';

/** All that decides what comes next. */
export type Machine = {
  readonly state: OperationState;
  readonly direction: Direction;
  readonly cancel: PendingCancel;
};

/** What happened. `reversible` is false once an irreversible step was started. */
export type OperationEvent =
  /** The starting steps are done. */
  | { kind: 'begin' }
  /** All steps are done and nothing is held. */
  | { kind: 'succeeded'; reversible: boolean }
  /** A step failed. */
  | { kind: 'failed'; policy: FailurePolicy; reversible: boolean }
  /** A pending cancel takes effect: no step is running. */
  | { kind: 'cancelled'; reversible: boolean }
  /** Direction release has ended, whether or not everything could be let go. */
  | { kind: 'released'; reversible: boolean }
  /** Direction rewind has ended. */
  | { kind: 'rewound' }
  /** Direction back has ended. */
  | { kind: 'undone' }
  /** A compensation failed, or the record of the end was refused. */
  | { kind: 'undo-failed' }
  /** Found after a crash. `held`: something is held and not on its way to be let go. */
  | { kind: 'crashed'; held: boolean; policy: 'resume' | 'rollback'; reversible: boolean }
  /** Requests of a person. */
  | { kind: 'retry' }
  | { kind: 'rollback'; reversible: boolean }
  | { kind: 'fail' }
  | { kind: 'cancel'; mode: 'graceful' | 'forceful' };

/** The state of a newly accepted operation. */
export const firstState: Machine = { state: STARTING, direction: 'forward', cancel: 'none' };

/** True for COMPLETED, FAILED and ROLLED_BACK. */
export function isFinal(state: OperationState): boolean {
  return state === COMPLETED || state === FAILED || state === ROLLED_BACK;
}

/** True when nothing happens any more unless a person asks for it. */
export function isAtRest(state: OperationState): boolean {
  return isFinal(state) || state === FAILED_TEMP;
}

/**
 * The transitions of ETSI GS NFV-SOL 003 clause 5.6.2 as operation_occurrence.proto states them. Pure. Throws
 * FAILED_PRECONDITION with reason OPERATION_STATE or ROLLBACK_IMPOSSIBLE for a request that the state forbids, and
 * INTERNAL for an event that cannot happen.
 */
export function nextState(now: Machine, event: OperationEvent): Machine {
  switch (event.kind) {
    case 'retry':
      if (now.state !== FAILED_TEMP) throw wrongState(now, 'retry', 'FAILED_TEMP');
      return to(PROCESSING, 'rewind');
    case 'rollback':
      if (now.state !== FAILED_TEMP) throw wrongState(now, 'roll back', 'FAILED_TEMP');
      if (!event.reversible) throw impossible();
      return to(ROLLING_BACK, 'back');
    case 'fail':
      if (now.state !== FAILED_TEMP) throw wrongState(now, 'fail', 'FAILED_TEMP');
      return to(FAILED, 'none');
    case 'cancel':
      return pendingCancel(now, event.mode);
    case 'crashed':
      return afterCrash(now, event);
    default:
      return afterWork(now, event);
  }
}

type WorkEvent = Exclude<
  OperationEvent,
  { kind: 'retry' | 'rollback' | 'fail' | 'cancel' | 'crashed' }
>;

function afterWork(now: Machine, event: WorkEvent): Machine {
  const table = `${OperationState[now.state]}/${now.direction}`;
  switch (table) {
    case 'STARTING/forward':
      return whileStarting(now, event);
    case 'PROCESSING/forward':
      return whileProcessing(now, event);
    case 'PROCESSING/release':
      if (event.kind !== 'released') break;
      return now.cancel !== 'none' ? cancelNow(event) : to(FAILED_TEMP, 'none');
    case 'PROCESSING/rewind':
      return whileRewinding(now, event);
    case 'ROLLING_BACK/back':
      if (event.kind === 'undone') return to(ROLLED_BACK, 'none');
      if (event.kind === 'undo-failed') return to(FAILED_TEMP, 'none');
      // A cancelled rollback leaves the rest of the effects to a person.
      if (event.kind === 'cancelled') return to(FAILED_TEMP, 'none');
      break;
  }
  throw cannotHappen(now, event);
}

function whileStarting(now: Machine, event: WorkEvent): Machine {
  switch (event.kind) {
    case 'begin':
      // A cancel that came while the last starting step ran: nothing was changed yet.
      return now.cancel === 'none' ? { ...now, state: PROCESSING } : to(ROLLED_BACK, 'none');
    case 'failed':
    case 'cancelled':
      // Nothing was changed, so there is nothing to undo.
      return to(ROLLED_BACK, 'none');
    case 'undo-failed':
      return to(FAILED_TEMP, 'none');
    default:
      throw cannotHappen(now, event);
  }
}

function whileProcessing(now: Machine, event: WorkEvent): Machine {
  switch (event.kind) {
    case 'succeeded':
      return now.cancel === 'none' ? to(COMPLETED, 'none') : cancelNow(event);
    case 'failed': {
      // A cancel that was waiting wants everything undone, whatever the policy for failures.
      const undo = event.policy === 'rollback' || now.cancel !== 'none';
      return undo && event.reversible ? to(ROLLING_BACK, 'back') : to(PROCESSING, 'release');
    }
    case 'cancelled':
      return cancelNow(event);
    default:
      throw cannotHappen(now, event);
  }
}

function whileRewinding(now: Machine, event: WorkEvent): Machine {
  switch (event.kind) {
    case 'rewound':
      return { ...now, direction: 'forward' };
    case 'undo-failed':
      return to(PROCESSING, 'release');
    default:
      throw cannotHappen(now, event);
  }
}

function afterCrash(now: Machine, event: OperationEvent & { kind: 'crashed' }): Machine {
  if (now.state !== PROCESSING || now.direction !== 'forward') return now;
  if (!event.held && event.policy === 'resume') return now;
  return event.reversible ? to(ROLLING_BACK, 'back') : to(PROCESSING, 'release');
}

function pendingCancel(now: Machine, mode: 'graceful' | 'forceful'): Machine {
  if (now.state !== STARTING && now.state !== PROCESSING && now.state !== ROLLING_BACK) {
    throw wrongState(now, 'cancel', 'STARTING, PROCESSING or ROLLING_BACK');
  }
  // A second, graceful request does not soften a forceful one.
  return { ...now, cancel: now.cancel === 'forceful' ? 'forceful' : mode };
}

/** A cancel takes effect while PROCESSING. */
function cancelNow({ reversible }: { reversible: boolean }): Machine {
  return reversible ? to(ROLLING_BACK, 'back') : to(PROCESSING, 'release');
}

/** Every other transition answers a pending cancel. */
function to(state: OperationState, direction: Direction): Machine {
  return { state, direction, cancel: 'none' };
}

function wrongState(now: Machine, verb: string, wanted: string) {
  const state = OperationState[now.state];
  return failedPrecondition(
    'OPERATION_STATE',
    `cannot ${verb} an operation in state ${state}, only in ${wanted}; read its state and decide anew`,
    { state, wanted },
  );
}

function impossible() {
  return failedPrecondition(
    'ROLLBACK_IMPOSSIBLE',
    'a step that cannot be undone was started; retry the operation, or fail it',
  );
}

function cannotHappen(now: Machine, event: OperationEvent) {
  const text = `${event.kind} in ${OperationState[now.state]}/${now.direction}`;
  return internal('OPERATION_EVENT', `the operations engine is broken: ${text}`);
}
