/** Time, as a port: whoever waits or stamps takes a clock, so that tests need not wait. */
export interface Clock {
  /** The wall-clock time. It may jump; never measure durations with it. */
  now(): Date;
  /** Milliseconds since an arbitrary moment; never goes back. */
  monotonicMs(): number;
  /**
   * Resolves after that many milliseconds; rejects with the signal's reason when it aborts first.
   */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** setTimeout fires at once above this, so longer sleeps are refused. */
const sleepMsMax = 2 ** 31 - 1;

/** The clock of this machine. */
export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  sleep(ms, signal) {
    if (!(ms >= 0 && ms <= sleepMsMax)) {
      return Promise.reject(new RangeError(`sleep: ${ms} ms is not between 0 and ${sleepMsMax}`));
    }
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      }, ms);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  },
};
