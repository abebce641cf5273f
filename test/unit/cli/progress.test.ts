import test from 'ava';
import { progressText } from '../../../cli/progress.ts';

const MiB = 1024 * 1024;

test('a progress line shows bytes, rate and remaining time since it was first drawn', (t) => {
  const amount = { doneBytes: 30 * MiB, totalBytes: 120 * MiB, activity: 'pack a: disk' };
  t.is(
    progressText(amount, 2000, 10 * MiB),
    '30.0 MiB of 120.0 MiB (25 %)  10.0 MiB/s  9.0 s left  pack a: disk',
  );
});

test('a progress line without an end shows no remaining time', (t) => {
  const amount = { doneBytes: 2 * MiB, activity: 'copy' };
  t.is(progressText(amount, 1000), '2.00 MiB  2.00 MiB/s  copy');
});

test('a progress line without bytes shows how long the step takes, from the first second on', (t) => {
  const amount = { doneBytes: 0, activity: 'notify start' };
  t.is(progressText(amount, 400), 'notify start');
  t.is(progressText(amount, 12_340), 'notify start  12.3 s');
});

test('a progress line that does not move promises nothing', (t) => {
  const amount = { doneBytes: MiB, totalBytes: 4 * MiB, activity: 'disk' };
  t.is(progressText(amount, 5000, MiB), '1.00 MiB of 4.00 MiB (25 %)  disk');
});
