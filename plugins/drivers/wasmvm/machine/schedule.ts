import { SplitMix64 } from './random.ts';

/** Decides which guests tick in a round, and in which order. */
export interface Schedule {
  /** Ids of the guests that tick now, in order; an id may come several times. `ready` is sorted. */
  round(ready: readonly string[]): string[];
  /** Rounds that pass before a capture, from `min` to `max`; 0 when only the clock decides. */
  roundsBeforeCapture(min: number, max: number): number;
}

/** The guests take turns; only the wall clock decides how much they do between two requests. */
export const takeTurns: Schedule = {
  round: (ready) => [...ready],
  roundsBeforeCapture: () => 0,
};

/** As many picks as there are guests, from a seed: the same seed gives the same interleaving. */
export function seededSchedule(seed: bigint): Schedule {
  const random = new SplitMix64(seed);
  return {
    round: (ready) => ready.map(() => ready[random.below(ready.length)] as string),
    roundsBeforeCapture: (min, max) => min + random.below(max - min + 1),
  };
}
