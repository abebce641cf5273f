/** Medians and paired ratios. Pure. */
import { type ContenderResult, type Metric, metrics, type Run, type Summary } from './types.ts';

/** The middle value, or the mean of the two in the middle. At least one value. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('the median of nothing');
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function summary(values: readonly number[]): Summary {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

export function summaries(runs: readonly Run[]): Record<Metric, Summary> {
  const of = (metric: Metric) => summary(runs.map((run) => run[metric]));
  return {
    wallSeconds: of('wallSeconds'),
    cpuSeconds: of('cpuSeconds'),
    peakBytes: of('peakBytes'),
    storedBytes: of('storedBytes'),
  };
}

/**
 * How many times `over` takes what `under` takes: the ratio within each round, summed up over the
 * rounds that both have. Undefined when there is none, or when something took nothing.
 */
export function pairedRatio(
  over: readonly Run[],
  under: readonly Run[],
  metric: Metric,
): Summary | undefined {
  const byRound = new Map(under.map((run) => [run.round, run[metric]]));
  const ratios = over.flatMap((run) => {
    const other = byRound.get(run.round);
    return other === undefined || other === 0 ? [] : [run[metric] / other];
  });
  return ratios.length === 0 ? undefined : summary(ratios);
}

/** Ratios of every metric that has one. */
export function ratios(over: readonly Run[], under: readonly Run[]): ContenderResult['ratio'] {
  const result: ContenderResult['ratio'] = {};
  for (const metric of metrics) {
    const ratio = pairedRatio(over, under, metric);
    if (ratio !== undefined) result[metric] = ratio;
  }
  return result;
}
