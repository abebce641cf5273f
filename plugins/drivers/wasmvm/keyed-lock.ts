import { resourceExhausted } from '../../../sdk/errors.ts';
import { waitersMax } from './limits.ts';

/** Lets one piece of work at a time use a thing. Waiting is fair and bounded. */
export class KeyedLock {
  readonly #tails = new Map<string, { last: Promise<void>; count: number }>();

  /** Runs work while it has all keys. Never nest: take all keys at once. */
  async run<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
    const wanted = [...new Set(keys)];
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
