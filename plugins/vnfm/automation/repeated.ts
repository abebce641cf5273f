import type { Clock } from '../../../sdk/ports/clock.ts';

/** Work that is done again and again in the background, with a pause in between, until it is stopped. */
export class Repeated {
  readonly #clock: Clock;
  readonly #pauseMs: number;
  readonly #work: (signal: AbortSignal) => Promise<void>;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();

  /** `work` handles its own errors. */
  constructor(clock: Clock, pauseMs: number, work: (signal: AbortSignal) => Promise<void>) {
    this.#clock = clock;
    this.#pauseMs = pauseMs;
    this.#work = work;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Resolves when the work in progress has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#work(signal);
      // Rejects when it stops, which ends the loop.
      await this.#clock.sleep(this.#pauseMs, signal).catch(() => {});
    }
  }
}
