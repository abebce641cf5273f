import { create, type MessageInitShape } from '@bufbuild/protobuf';
import test from 'ava';
import { DayOfWeek, SnapshotWindowSchema } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { clockOf, isWithin, nextOpening } from '../../../sdk/windows.ts';

type Init = Omit<MessageInitShape<typeof SnapshotWindowSchema>, '$typeName'>;

function window(init: Init) {
  return create(SnapshotWindowSchema, { startTime: '00:00', endTime: '00:01', ...init });
}

const within = test.macro({
  title: (_given, what: string) => `isWithin: ${what} [Vnfsd.004]`,
  exec: (t, _what: string, init: Init, at: string, expected: boolean) => {
    t.is(isWithin([window(init)], new Date(at)), expected);
  },
});

// 2026-03-02 is a Monday.
const night = { startTime: '22:00', endTime: '06:00', days: [DayOfWeek.MONDAY] };
test(
  within,
  'the first minute belongs to it',
  { startTime: '09:00', endTime: '17:00' },
  '2026-03-02T09:00:00Z',
  true,
);
test(
  within,
  'the end does not',
  { startTime: '09:00', endTime: '17:00' },
  '2026-03-02T17:00:00Z',
  false,
);
test(
  within,
  'the last second does',
  { startTime: '09:00', endTime: '17:00' },
  '2026-03-02T16:59:59Z',
  true,
);
test(
  within,
  'another day is outside',
  { startTime: '09:00', endTime: '17:00', days: [DayOfWeek.TUESDAY] },
  '2026-03-02T12:00:00Z',
  false,
);
test(within, 'over midnight, in the evening of its day', night, '2026-03-02T23:30:00Z', true);
test(within, 'over midnight, in the morning after', night, '2026-03-03T05:59:00Z', true);
test(within, 'over midnight, not in the morning of its day', night, '2026-03-02T05:00:00Z', false);
test(within, 'over midnight, not in the evening after', night, '2026-03-03T23:00:00Z', false);
test(
  within,
  'from Sunday to Monday',
  { ...night, days: [DayOfWeek.SUNDAY] },
  '2026-03-02T01:00:00Z',
  true,
);
test(
  within,
  'the clock is that of its zone',
  { startTime: '09:00', endTime: '10:00', timeZone: 'America/New_York' },
  '2026-03-02T14:30:00Z',
  true,
);
test(
  within,
  'and changes with it',
  { startTime: '09:00', endTime: '10:00', timeZone: 'America/New_York' },
  '2026-03-09T13:30:00Z',
  true,
);

test('isWithin: without windows it is always open [Vnfsd.004]', (t) => {
  t.true(isWithin([], new Date()));
});

test('isWithin: one open window is enough [Vnfsd.004]', (t) => {
  const windows = [window({ startTime: '01:00', endTime: '02:00' }), window(night)];
  t.true(isWithin(windows, new Date('2026-03-02T22:10:00Z')));
});

test('nextOpening: to the minute, days ahead, and at once inside [Vnfsd.004]', (t) => {
  const tuesday = window({ startTime: '09:30', endTime: '17:00', days: [DayOfWeek.TUESDAY] });
  const next = (at: string) => nextOpening([tuesday], new Date(at))?.toISOString();
  t.is(next('2026-03-04T10:00:30Z'), '2026-03-10T09:30:00.000Z');
  t.is(next('2026-03-03T09:29:59Z'), '2026-03-03T09:30:00.000Z');
  t.is(next('2026-03-03T12:00:00Z'), '2026-03-03T12:00:00.000Z');
});

test('nextOpening: an hour that a change of clocks leaves out opens a day later', (t) => {
  const skipped = window({ startTime: '02:15', endTime: '02:45', timeZone: 'Europe/Berlin' });
  t.is(
    nextOpening([skipped], new Date('2026-03-29T00:30:00Z'))?.toISOString(),
    '2026-03-30T00:15:00.000Z',
  );
});

test('clockOf: a zone that nobody knows is a RangeError', (t) => {
  t.throws(() => clockOf('Mars/Olympus'), { instanceOf: RangeError });
});
