import { createHash } from 'node:crypto';
import type { JsonValue } from '@bufbuild/protobuf';
import { alreadyExists } from './errors.ts';
import type { Clock } from './ports/clock.ts';
import { jsonCollection, type Transaction } from './records/record-store.ts';

/** How long an answer is remembered at least, unless there are too many, in milliseconds. */
const retentionMs = 24 * 3_600_000;
/** The most answers remembered; the oldest go first. */
export const requestIdsMax = 10_000;
/** How many are forgotten with each that is added, so that no transaction is long. */
const forgottenPerRequestMax = 2;

/** A mutating request that may be repeated. */
export type IdempotentRequest = {
  /** The caller's `request_id`. Empty: the request is not remembered. */
  readonly id: string;
  /** The full name of the method, so that one id serves one method. */
  readonly method: string;
  /** The request as bytes; the same request gives the same bytes. */
  readonly body: Uint8Array;
  /** Who asks, where ids of several callers must not meet. */
  readonly caller?: string;
};

type Remembered = { digest: string; answer: JsonValue; timeMs: number };

const collection = jsonCollection<Remembered>('request-ids');

/**
 * Lets mutating calls be repeated: the same id with the same body gets the first answer. Both methods are called in
 * the transaction of the effect, so that effect and answer are remembered together or not at all.
 */
export class RequestIds {
  readonly #clock: Clock;
  readonly #entriesMax: number;

  constructor(clock: Clock, entriesMax: number = requestIdsMax) {
    this.#clock = clock;
    this.#entriesMax = entriesMax;
  }

  /**
   * The answer given before, or undefined. ALREADY_EXISTS with reason REQUEST_ID_REUSED when the id came with another
   * body: the caller has to choose a new id for a new request.
   */
  async earlier(tx: Transaction, request?: IdempotentRequest): Promise<JsonValue | undefined> {
    if (request === undefined || request.id === '') return undefined;
    const found = (await tx.collection(collection).get(keyOf(request)))?.value;
    if (found === undefined || found.timeMs < this.#oldestMs()) return undefined;
    if (found.digest === digestOf(request)) return found.answer;
    const { id, method } = request;
    const text = `request id "${id}" was used with another request; choose a new id`;
    throw alreadyExists('REQUEST_ID_REUSED', text, { request_id: id, method });
  }

  /** Remembers an answer, and forgets some that are too old or too many. */
  async remember(
    tx: Transaction,
    request: IdempotentRequest | undefined,
    answer: JsonValue,
  ): Promise<void> {
    if (request === undefined || request.id === '') return;
    const all = tx.collection(collection);
    // Made anew, not replaced: an expired entry of this id must not keep its old age in the order.
    await all.delete(keyOf(request));
    const digest = digestOf(request);
    await all.insert(keyOf(request), { digest, answer, timeMs: this.#clock.now().getTime() });
    const excess = (await all.count()) - this.#entriesMax;
    const { records } = await all.list({ order: 'oldest', limit: forgottenPerRequestMax });
    for (const [at, { id, value }] of records.entries()) {
      if (at < excess || value.timeMs < this.#oldestMs()) await all.delete(id);
    }
  }

  #oldestMs(): number {
    return this.#clock.now().getTime() - retentionMs;
  }
}

/** A digest, because the parts come from callers: any bytes, any length. */
function keyOf({ id, method, caller = '' }: IdempotentRequest): string {
  return createHash('sha256')
    .update(JSON.stringify([caller, method, id]))
    .digest('hex');
}

function digestOf({ body }: IdempotentRequest): string {
  return createHash('sha256').update(body).digest('hex');
}
