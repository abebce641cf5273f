/** Bounds of an engine. */
export type EngineLimits = {
  /** Operations that are not in a final state, FAILED_TEMP included. Default: 256. */
  unfinishedMax: number;
  /** Occurrences kept after their final state; the oldest go first. Default: 10000. */
  retainedFinishedMax: number;
  /** Watches at the same time. Default: 1000. */
  watchersMax: number;
  /** How long a stop waits for an operation that holds something, in ms; letting go needs time too. Default: 5000. */
  holdPatienceMs: number;
};

export const limitsDefault: EngineLimits = {
  unfinishedMax: 256,
  retainedFinishedMax: 10_000,
  watchersMax: 1_000,
  holdPatienceMs: 5_000,
};
