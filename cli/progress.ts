import { formatBytes, formatDuration } from './output.ts';

/** Redraws at most this often: a terminal over a slow line must not hold up the work. */
const redrawMsMin = 100;

export type Amount = { doneBytes: number; totalBytes?: number | undefined; activity: string };

/**
 * One line of live progress on a terminal: bytes, rate, remaining time, what is being done. Written to standard error,
 * and only when that is a terminal, so that output in a pipe stays clean.
 */
export class ProgressLine {
  private readonly enabled: boolean;
  private readonly startMs = performance.now();
  private drawnMs = Number.NEGATIVE_INFINITY;
  private drawn = false;

  constructor(enabled = process.stderr.isTTY === true) {
    this.enabled = enabled;
  }

  show(amount: Amount): void {
    const nowMs = performance.now();
    if (!this.enabled || nowMs - this.drawnMs < redrawMsMin) return;
    this.drawnMs = nowMs;
    const width = (process.stderr.columns ?? 80) - 1;
    const text = progressText(amount, nowMs - this.startMs).slice(0, width);
    process.stderr.write(`\r${text}\u001b[K`);
    this.drawn = true;
  }

  /** Removes the line, before something else is printed. */
  clear(): void {
    if (this.drawn) process.stderr.write('\r\u001b[K');
    this.drawn = false;
  }
}

/** The text of a progress line after `elapsedMs`. */
export function progressText(amount: Amount, elapsedMs: number): string {
  const { doneBytes, totalBytes, activity } = amount;
  if (doneBytes === 0 && !totalBytes) return activity;
  const rate = elapsedMs > 0 ? (doneBytes * 1000) / elapsedMs : 0;
  const parts = [`${formatBytes(doneBytes)}`];
  if (totalBytes) {
    parts[0] += ` of ${formatBytes(totalBytes)} (${Math.floor((doneBytes * 100) / totalBytes)} %)`;
  }
  parts.push(`${formatBytes(rate)}/s`);
  if (totalBytes && rate > 0 && doneBytes < totalBytes) {
    parts.push(`${formatDuration(((totalBytes - doneBytes) * 1000) / rate)} left`);
  }
  return `${activity}  ${parts.join('  ')}`;
}
