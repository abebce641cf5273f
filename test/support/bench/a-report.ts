import { judge } from '../../../bench/goals.ts';
import { ratios, summaries } from '../../../bench/statistics.ts';
import type { CaseResult, ContenderResult, Report, Run } from '../../../bench/types.ts';

/** A contender with these wall times, a tenth of them CPU, 100 MiB and `storedBytes`. */
export function contender(id: string, walls: readonly number[], storedBytes = 1000) {
  const runs = walls.map(
    (wallSeconds, round): Run => ({
      round,
      wallSeconds,
      cpuSeconds: wallSeconds / 10,
      peakBytes: 100 * 1024 * 1024,
      storedBytes,
    }),
  );
  return { id, title: `\`${id}\` <title>`, isOurs: id.startsWith('mano'), runs };
}

export function caseOf(id: string, found: ReturnType<typeof contender>[]): CaseResult {
  const contenders = found.map(
    (item): ContenderResult => ({
      ...item,
      summary: summaries(item.runs),
      ratio: ratios(item.runs, found[0]!.runs),
    }),
  );
  const leftOut = [{ id: 'casync', title: 'casync make', reason: 'casync: not installed' }];
  return { id, title: `Case ${id}`, stores: 'stored', contenders, leftOut };
}

export function reportOf(cases: CaseResult[]): Report {
  return {
    version: 1,
    at: '2026-01-01T00:00:00.000Z',
    commit: 'abc123',
    smoke: false,
    rounds: 3,
    seconds: 12,
    machine: {
      processor: 'a processor',
      processors: 2,
      memoryBytes: 8 * 1024 ** 3,
      kernel: '6.1',
      system: 'Debian',
      node: 'v26',
      loadAverage: 0.25,
      scalingOfTwoThreads: 1.8,
    },
    tools: [
      { name: 'lz4', version: '1.9.4' },
      { name: 'casync', missing: 'not installed' },
    ],
    images: [{ name: 'disk', bytes: 2 * 1024 ** 3, note: '1000 MiB allocated' }],
    cases,
    goals: judge({ cases }),
  };
}
