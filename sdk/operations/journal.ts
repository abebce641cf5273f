import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import {
  type LifecycleOperationOccurrence,
  LifecycleOperationOccurrenceSchema,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { failedPrecondition } from '../errors.ts';
import { jsonCollection, messageCollection, type Transaction } from '../records/record-store.ts';
import type { Direction, PendingCancel } from './next-state.ts';

/** What the engine keeps of an unfinished operation besides its occurrence. It vanishes with the final state. */
export type Journal = {
  definition: string;
  keys: string[];
  input: JsonValue;
  direction: Direction;
  cancel: PendingCancel;
  /** Outputs of steps that are done, by step name. */
  outputs: JsonObject;
  /** Steps that were started since they were last undone: their effect may exist. */
  started: string[];
  /** Steps whose compensation was started and has not ended well. */
  undoing: string[];
  /** Holds that were let go. */
  released: string[];
  /** Steps whose `extend` is part of the plan. */
  extended: string[];
  /** How often a step was undone to be repeated. */
  rounds: { [step: string]: number };
};

export const occurrences = messageCollection('operations', LifecycleOperationOccurrenceSchema);
/** Exactly the operations that are not in a final state. */
export const journals = jsonCollection<Journal>('operation-journals');
const locks = jsonCollection<{ operationId: string }>('operation-locks');
/** The operations in a final state, in the order in which they reached it. */
const finished = jsonCollection<{ id: string }>('operations-finished');

/** An operation as it is stored. */
export type Entry = { occurrence: LifecycleOperationOccurrence; journal: Journal };

/** How many retired occurrences one transaction removes at most, so that a lowered limit does not stall one. */
const retiredPerTransactionMax = 20;

/**
 * Adds an operation and takes its locks. FAILED_PRECONDITION with reason OPERATION_IN_PROGRESS and the other's
 * id when a key is taken.
 */
export async function insertEntry(tx: Transaction, entry: Entry): Promise<void> {
  const { id } = entry.occurrence;
  for (const key of entry.journal.keys) {
    const taken = await tx.collection(locks).get(key);
    if (taken !== undefined) throw inProgress(key, taken.value.operationId);
    await tx.collection(locks).insert(key, { operationId: id });
  }
  await tx.collection(occurrences).insert(id, entry.occurrence);
  await tx.collection(journals).insert(id, entry.journal);
}

/** Records a change of an operation that goes on. */
export async function saveEntry(tx: Transaction, entry: Entry): Promise<void> {
  await tx.collection(occurrences).update(entry.occurrence.id, entry.occurrence);
  await tx.collection(journals).update(entry.occurrence.id, entry.journal);
}

/** Records a final state, gives the locks back and retires the oldest finished occurrences above the limit. */
export async function finishEntry(
  tx: Transaction,
  entry: Entry,
  retainedFinishedMax: number,
): Promise<void> {
  const { id } = entry.occurrence;
  await tx.collection(occurrences).update(id, entry.occurrence);
  await tx.collection(journals).delete(id);
  for (const key of entry.journal.keys) await tx.collection(locks).delete(key);
  await tx.collection(finished).insert(id, { id });
  const excess = (await tx.collection(finished).count()) - retainedFinishedMax;
  if (excess <= 0) return;
  const limit = Math.min(excess, retiredPerTransactionMax);
  for (const old of (await tx.collection(finished).list({ order: 'oldest', limit })).records) {
    await tx.collection(occurrences).delete(old.id);
    await tx.collection(finished).delete(old.id);
  }
}

function inProgress(key: string, operationId: string) {
  return failedPrecondition(
    'OPERATION_IN_PROGRESS',
    `operation ${operationId} is in progress on "${key}"; wait for it, or retry, roll back or fail it`,
    { key, operation_id: operationId },
  );
}
