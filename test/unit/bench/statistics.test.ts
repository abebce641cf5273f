import test from 'ava';
import { median, pairedRatio, ratios } from '../../../bench/statistics.ts';
import type { Run } from '../../../bench/types.ts';

function run(round: number, wallSeconds: number, storedBytes = 0): Run {
  return { round, wallSeconds, cpuSeconds: 1, peakBytes: 1, storedBytes };
}

test('median: the middle one, or the mean of the middle two, whatever the order', (t) => {
  t.is(median([9, 1, 5]), 5);
  t.is(median([9, 1, 5, 2]), 3.5);
  t.is(median([7]), 7);
  t.throws(() => median([]), { instanceOf: RangeError });
});

test('median: values are ordered as numbers', (t) => {
  t.is(median([10, 9, 100]), 10);
});

test('pairedRatio: rounds are compared with themselves, so a slow one does not matter', (t) => {
  const ours = [run(0, 1), run(1, 10), run(2, 2)];
  const theirs = [run(0, 2), run(1, 20), run(2, 6)];
  t.deepEqual(pairedRatio(theirs, ours, 'wallSeconds'), { median: 2, min: 2, max: 3 });
});

test('pairedRatio: only rounds that both have count', (t) => {
  const ratio = pairedRatio([run(1, 8)], [run(0, 1), run(1, 2)], 'wallSeconds');
  t.deepEqual(ratio, { median: 4, min: 4, max: 4 });
  t.is(pairedRatio([run(2, 8)], [run(0, 1)], 'wallSeconds'), undefined);
});

test('ratios: a metric of which ours took nothing has none', (t) => {
  const result = ratios([run(0, 3, 5)], [run(0, 1, 0)]);
  t.is(result.storedBytes, undefined);
  t.is(result.wallSeconds?.median, 3);
});
