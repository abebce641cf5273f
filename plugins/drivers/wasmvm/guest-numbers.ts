/** Starts that are remembered; the one that computes is always among the latest of each guest. */
const startsMax = 8192;

/**
 * Numbers the starts of guests, so that a counter shared with a hanging thread can name the one to
 * blame.
 */
export class GuestNumbers {
  readonly #computes = new Map<number, string>();
  #last = 0;

  take(computeId: string): number {
    this.#computes.set(++this.#last, computeId);
    for (const oldest of this.#computes.keys()) {
      if (this.#computes.size <= startsMax) break;
      this.#computes.delete(oldest);
    }
    return this.#last;
  }

  computeOf(number: number): string | undefined {
    return this.#computes.get(number);
  }
}
