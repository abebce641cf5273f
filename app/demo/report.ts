import { formatBytes } from '../../cli/output.ts';
import type { DemoResult } from './demo.ts';

/** The outcome of the demo for people. */
export function reportLines(result: DemoResult): string[] {
  const { memory, sizes, consistency, disks } = result;
  const share = (sizes.incrementalStoredBytes * 100) / Math.max(1, sizes.incrementalLogicalBytes);
  return [
    '',
    `consistency        ${consistency.level}, skew ${consistency.skewMs.toFixed(1)} ms`,
    `number in memory   ${memory.atSnapshot} at the snapshot, ${memory.afterRevert} after the revert, ${memory.later} later`,
    ...disks.map(
      ({ name, sha256AtSnapshot, sha256AfterRevert }) =>
        `disk ${name.padEnd(18)} ${sha256AtSnapshot.slice(0, 16)}… ${
          sha256AtSnapshot === sha256AfterRevert ? 'equal' : `≠ ${sha256AfterRevert.slice(0, 16)}…`
        }`,
    ),
    `first package      ${formatBytes(sizes.logicalBytes)} logical, ${formatBytes(sizes.storedBytes)} stored`,
    `second package     ${formatBytes(sizes.incrementalLogicalBytes)} logical, ${formatBytes(sizes.incrementalStoredBytes)} stored (${share.toFixed(1)} %), the rest shared with its parent`,
    ...result.failures.map((text) => `FAILED             ${text}`),
    result.ok
      ? `The VNF is exactly where it was. ${result.seconds.toFixed(1)} s.`
      : `The VNF is NOT where it was. ${result.seconds.toFixed(1)} s.`,
  ];
}
