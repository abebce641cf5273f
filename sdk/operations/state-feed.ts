import { clone } from '@bufbuild/protobuf';
import {
  type LifecycleOperationOccurrence,
  LifecycleOperationOccurrenceSchema,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { resourceExhausted } from '../errors.ts';

/** Changes that wait for one follower. */
export const changesWaitingMax = 1000;

type Follower = { waiting: LifecycleOperationOccurrence[]; wake: () => void; overflown: boolean };

/** Hands every change of state to whoever follows all operations. */
export class StateFeed {
  readonly #followersMax: number;
  readonly #followers = new Set<Follower>();
  #ended = false;

  constructor(followersMax: number) {
    this.#followersMax = followersMax;
  }

  /** Tells a new state, without the steps. */
  publish(occurrence: LifecycleOperationOccurrence): void {
    if (this.#followers.size === 0) return;
    const told = clone(LifecycleOperationOccurrenceSchema, { ...occurrence, steps: [] });
    for (const follower of this.#followers) {
      if (follower.waiting.length >= changesWaitingMax) follower.overflown = true;
      else follower.waiting.push(told);
      follower.wake();
    }
  }

  /** Ends all. */
  end(): void {
    this.#ended = true;
    for (const { wake } of this.#followers) wake();
  }

  /**
   * Yields undefined at once, then what is published from then on. RESOURCE_EXHAUSTED with reason
   * TOO_MANY_WATCHERS, or WATCHER_TOO_SLOW when too much waits.
   */
  async *follow(signal?: AbortSignal): AsyncIterable<LifecycleOperationOccurrence | undefined> {
    if (this.#followers.size >= this.#followersMax) {
      const limit = String(this.#followersMax);
      const text = `${limit} watchers follow all operations already; retry later`;
      throw resourceExhausted('TOO_MANY_WATCHERS', text, { limit });
    }
    const follower: Follower = { waiting: [], wake: () => {}, overflown: false };
    const wake = () => follower.wake();
    this.#followers.add(follower);
    signal?.addEventListener('abort', wake, { once: true });
    try {
      yield undefined;
      for (;;) {
        signal?.throwIfAborted();
        const next = follower.waiting.shift();
        if (next !== undefined) yield next;
        else if (follower.overflown) throw tooSlow();
        else if (this.#ended) return;
        else
          await new Promise<void>((resolve) => {
            follower.wake = resolve;
          });
      }
    } finally {
      signal?.removeEventListener('abort', wake);
      this.#followers.delete(follower);
    }
  }
}

function tooSlow() {
  const text = `${changesWaitingMax} changes were not taken; list the operations and watch again`;
  return resourceExhausted('WATCHER_TOO_SLOW', text, { limit: String(changesWaitingMax) });
}
