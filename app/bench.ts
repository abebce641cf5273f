export { type BenchOptions, roundsMax, runBench } from '../bench/bench.ts';
export { goalState, seconds, times } from '../bench/report/format.ts';
export type { Report } from '../bench/types.ts';
