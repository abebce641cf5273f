/** The wait before each attempt: doubled each time up to a longest one. */
export class Backoff {
  readonly #minMs: number;
  readonly #maxMs: number;
  #attempts = 0;

  constructor(minMs: number, maxMs: number) {
    this.#minMs = minMs;
    this.#maxMs = maxMs;
  }

  /** Attempts since the last reset. */
  get attempts(): number {
    return this.#attempts;
  }

  /** Milliseconds to wait before the next attempt. */
  next(): number {
    const waitMs = Math.min(this.#maxMs, this.#minMs * 2 ** Math.min(this.#attempts, 30));
    this.#attempts++;
    return waitMs;
  }

  reset(): void {
    this.#attempts = 0;
  }
}
