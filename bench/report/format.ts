/** Figures for people. Pure. */
import type { GoalResult, Summary } from '../types.ts';

export function seconds({ median, min, max }: Summary): string {
  const places = median < 0.1 ? 3 : 2;
  const text = (value: number) => value.toFixed(places);
  return `${text(median)} (${text(min)}..${text(max)})`;
}

export function mebibytes({ median }: Summary): string {
  return (median / 1024 ** 2).toFixed(0);
}

export function megabytes({ median }: Summary): string {
  const value = median / 1e6;
  return value < 100 ? value.toFixed(2) : value.toFixed(0);
}

export function times(ratio: Summary | undefined): string {
  if (ratio === undefined) return '-';
  return `${ratio.median.toFixed(2)} (${ratio.min.toFixed(2)}..${ratio.max.toFixed(2)})`;
}

export function goalState({ isReached, figure, limit, demand, aim }: GoalResult): string {
  const wanted = aim === undefined ? demand : `${demand}, aim ${aim}`;
  if (figure === undefined) return `not measured (${wanted})`;
  const bound = limit === undefined ? '' : `; kernels and reads alone: ${limit.toFixed(2)}`;
  return `${isReached ? 'reached' : 'NOT reached'}: ${figure.toFixed(2)} (${wanted}${bound})`;
}
