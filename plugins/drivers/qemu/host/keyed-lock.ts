import { resourceExhausted } from '../../../../sdk/errors.ts';

/** Calls that may wait for one key; a caller beyond it is told to come back later. */
const waitingMax = 64;

/** One at a time for each key, in the order of arrival. */
export class KeyedLock {
  readonly #tails = new Map<string, { tail: Promise<unknown>; waiting: number }>();

  /**
   * Runs `work` when all earlier work on this key has ended. RESOURCE_EXHAUSTED reason TOO_BUSY
   * beyond the bound.
   */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const entry = this.#tails.get(key) ?? { tail: Promise.resolve(), waiting: 0 };
    if (entry.waiting >= waitingMax) {
      const text = `${waitingMax} calls wait for ${key} already; retry later`;
      throw resourceExhausted('TOO_BUSY', text, { key });
    }
    this.#tails.set(key, entry);
    entry.waiting++;
    const result = entry.tail.then(work);
    entry.tail = result.catch(() => {});
    try {
      return await result;
    } finally {
      entry.waiting--;
      if (entry.waiting === 0) this.#tails.delete(key);
    }
  }
}
