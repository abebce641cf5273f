import test from 'ava';
import { goals, judge } from '../../../bench/goals.ts';
import type { CaseResult, GoalResult } from '../../../bench/types.ts';
import { caseOf, contender } from '../../support/bench/a-report.ts';

function goal(id: string, ...cases: CaseResult[]): GoalResult {
  const found = judge({ cases }).find((result) => result.id === id);
  if (found === undefined) throw new Error(`no goal ${id}`);
  return found;
}

test('goals: every goal has one demand and an id of its own', (t) => {
  for (const { id, atLeast, atMost } of goals) {
    t.true((atLeast === undefined) !== (atMost === undefined), id);
  }
  t.is(new Set(goals.map(({ id }) => id)).size, goals.length);
});

test('goals: what was not measured is neither reached nor missed', (t) => {
  for (const { figure, isReached } of judge({ cases: [] })) {
    t.is(figure, undefined);
    t.is(isReached, undefined);
  }
});

test('goals: a peer that takes twice our time reaches "at least 2", one that takes less does not', (t) => {
  const reached = goal(
    'full-lz4',
    caseOf('full', [contender('mano', [1, 2]), contender('lz4', [2, 4])]),
  );
  t.is(reached.figure, 2);
  t.true(reached.isReached);
  const missed = goal(
    'full-lz4',
    caseOf('full', [contender('mano', [1]), contender('lz4', [1.99])]),
  );
  t.false(missed.isReached);
});

test('goals: beside the figure stands what it would be if ours took as long as its kernels', (t) => {
  const walls = { mano: [2], lz4: [3], limit: [1.5] };
  const contenders = Object.entries(walls).map(([id, times]) => contender(id, times));
  const { figure, limit } = goal('full-lz4', caseOf('full', contenders));
  t.is(figure, 1.5);
  t.is(limit, 2);
});

test('goals: bytes are ours by theirs, and more than allowed is not reached', (t) => {
  const bytes = (ours: number) =>
    goal('full-bytes', caseOf('full', [contender('mano', [1], ours), contender('lz4', [1], 1000)]));
  t.true(bytes(1010).isReached);
  t.false(bytes(1011).isReached);
});

test('goals: milliseconds of a warm service have a bound', (t) => {
  const ms = (seconds: number) =>
    goal('no-change-map', caseOf('no-change', [contender('mano-warm-empty-map', [seconds])]));
  t.true(ms(0.05).isReached);
  t.false(ms(0.0501).isReached);
});

test('goals: the peak is the largest one of ours in any case, not that of a peer', (t) => {
  const big = contender('mano-map', [1]);
  big.runs[0]!.peakBytes = 151 * 1024 * 1024;
  const huge = contender('xdelta3', [1]);
  huge.runs[0]!.peakBytes = 999 * 1024 * 1024;
  const { figure, isReached } = goal('peak', caseOf('incremental', [big, huge]));
  t.is(figure, 151);
  t.false(isReached);
});

test('goals: a kernel is judged by the ratio of its corpus, group and peer', (t) => {
  const common = { ours: 'LZ4', min: 1, max: 2 };
  const ratios = [
    { ...common, corpus: 'memory', group: 'compress', peer: 'native lz4 -b1 -B4', median: 0.89 },
    { ...common, corpus: 'disk', group: 'compress', peer: 'native lz4 -b1 -B4', median: 1.01 },
    { ...common, corpus: 'disk', group: 'hash', peer: 'node sha256', median: 1.2 },
  ];
  const judged = judge({ cases: [], kernels: { ratios } }).filter(({ figure }) => figure);
  t.deepEqual(
    judged.map(({ figure, isReached }) => [figure, isReached]),
    [
      [1.01, true],
      [0.89, false],
      [1.2, true],
    ],
  );
});
