import { formatBytes, formatDuration } from './output.ts';

/** Redraws at most this often, but for the end: a terminal over a slow line must not hold up the work. */
const redrawMsMin = 100;
/** Redraws at least this often, so that a step without news shows how long it takes. */
const tickMs = 1000;
/** The width of a terminal that does not say it. */
const columnsDefault = 80;

export type Amount = { doneBytes: number; totalBytes?: number | undefined; activity: string };

/**
 * One line of live progress on a terminal: bytes, rate, remaining time, what is being done. Written
 * to standard error, and only when that is a terminal, so that output in a pipe stays clean.
 */
export class ProgressLine {
  private readonly enabled: boolean;
  private amount: Amount | undefined;
  private since = { ms: 0, bytes: 0 };
  private drawnMs = Number.NEGATIVE_INFINITY;
  private ticker: NodeJS.Timeout | undefined;

  constructor(enabled = process.stderr.isTTY === true) {
    this.enabled = enabled;
  }

  /** Shows an amount. When it gets smaller, or a line was cleared before, the rate is counted anew. */
  show(amount: Amount): void {
    if (!this.enabled) return;
    const nowMs = performance.now();
    if (!this.amount || amount.doneBytes < this.amount.doneBytes) {
      this.since = { ms: nowMs, bytes: amount.doneBytes };
    }
    this.amount = amount;
    this.ticker ??= setInterval(() => this.draw(), tickMs).unref();
    const isWhole = amount.doneBytes === amount.totalBytes;
    if (isWhole || nowMs - this.drawnMs >= redrawMsMin) this.draw();
  }

  /** Removes the line, before something else is printed. */
  clear(): void {
    if (this.amount) process.stderr.write('\r\u001b[K');
    this.amount = undefined;
    clearInterval(this.ticker);
    this.ticker = undefined;
    this.drawnMs = Number.NEGATIVE_INFINITY;
  }

  private draw(): void {
    if (!this.amount) return;
    const { ms, bytes } = this.since;
    this.drawnMs = performance.now();
    const text = progressText(this.amount, this.drawnMs - ms, bytes);
    const width = (process.stderr.columns || columnsDefault) - 1;
    process.stderr.write(`\r${text.slice(0, width)}\u001b[K`);
  }
}

/** The text of a progress line `elapsedMs` after it stood at `startBytes`. */
export function progressText(amount: Amount, elapsedMs: number, startBytes = 0): string {
  const { doneBytes, totalBytes, activity } = amount;
  if (doneBytes === 0 && !totalBytes) {
    return elapsedMs < tickMs ? activity : `${activity}  ${formatDuration(elapsedMs)}`;
  }
  const rate = elapsedMs > 0 ? ((doneBytes - startBytes) * 1000) / elapsedMs : 0;
  const parts = [`${formatBytes(doneBytes)}`];
  if (totalBytes) {
    parts[0] += ` of ${formatBytes(totalBytes)} (${Math.floor((doneBytes * 100) / totalBytes)} %)`;
  }
  if (rate > 0) parts.push(`${formatBytes(rate)}/s`);
  if (totalBytes && rate > 0 && doneBytes < totalBytes) {
    parts.push(`${formatDuration(((totalBytes - doneBytes) * 1000) / rate)} left`);
  }
  // A narrow terminal cuts the end.
  return `${parts.join('  ')}  ${activity}`;
}
