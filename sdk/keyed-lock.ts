import { resourceExhausted } from './errors.ts';

/** Calls that may wait for one key; a caller beyond it is told to come back later. */
export const waitersMax = 256;

/** Lets one piece of work at a time use a thing. Waiting is fair and bounded. */
export class KeyedLock {
  readonly #tails = new Map<string, { last: Promise<void>; count: number }>();

  /**
   * Runs work while it has all keys. Take all keys at once; where that cannot be, nest in one order only.
   * RESOURCE_EXHAUSTED with reason TOO_MANY_CALLS beyond the bound.
   */
  async run<T>(keys: string | readonly string[], work: () => Promise<T>): Promise<T> {
    const wanted = [...new Set(typeof keys === 'string' ? [keys] : keys)];
    if (wanted.some((key) => (this.#tails.get(key)?.count ?? 0) >= waitersMax)) {
      throw resourceExhausted('TOO_MANY_CALLS', `over ${waitersMax} calls wait; retry later`);
    }
    // All places in line are taken in one turn, so two callers can never wait for each other.
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = wanted.map((key) => this.#enqueue(key, promise));
    try {
      await Promise.all(before);
      return await work();
    } finally {
      resolve();
      for (const key of wanted) this.#leave(key);
    }
  }

  #enqueue(key: string, mine: Promise<void>): Promise<void> {
    const tail = this.#tails.get(key) ?? { last: Promise.resolve(), count: 0 };
    const before = tail.last;
    this.#tails.set(key, { last: before.then(() => mine), count: tail.count + 1 });
    return before;
  }

  #leave(key: string): void {
    const tail = this.#tails.get(key);
    if (tail && --tail.count === 0) this.#tails.delete(key);
  }
}
