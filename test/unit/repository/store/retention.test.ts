import test from 'ava';
import {
  planRetention,
  type RetentionPolicy,
} from '../../../../plugins/repository/store/retention.ts';
import { throwsReason } from './support.ts';

type Item = Parameters<typeof planRetention>[0][number];

function item(id: string, createdAt: string, more: Partial<Item> = {}): Item {
  return {
    id,
    name: '',
    labels: {},
    images: [{ name: 'disk' }],
    createdAt,
    ...more,
  };
}

/** The ids that are kept, with their reasons. */
function kept(items: readonly Item[], policy: RetentionPolicy): Record<string, string[]> {
  const verdicts = planRetention(items, policy).filter(({ reasons }) => reasons.length > 0);
  return Object.fromEntries(verdicts.map((verdict) => [verdict.package, verdict.reasons]));
}

const week = [
  item('mon', '2026-03-02T10:00:00Z'),
  item('tue-early', '2026-03-03T01:00:00Z'),
  item('tue', '2026-03-03T10:00:00Z'),
  item('wed', '2026-03-04T10:00:00Z'),
];

test('planRetention: the newest are kept by number, whatever the order of the list', (t) => {
  t.deepEqual(kept(week, { last: 2 }), { wed: ['last'], tue: ['last'] });
  t.deepEqual(kept(week.toReversed(), { last: 2 }), { wed: ['last'], tue: ['last'] });
});

test('planRetention: of each day the newest is kept, for days that have packages', (t) => {
  const policy = { daily: 3 };
  t.deepEqual(kept(week, policy), { wed: ['daily'], tue: ['daily'], mon: ['daily'] });
});

test('planRetention: rules add up, and each is named', (t) => {
  const policy = { last: 1, daily: 2, yearly: 9 };
  t.deepEqual(kept(week, policy), { wed: ['last', 'daily', 'yearly'], tue: ['daily'] });
});

test('planRetention: weeks begin on Monday', (t) => {
  const items = [item('sun', '2026-03-01T23:00:00Z'), ...week];
  t.deepEqual(Object.keys(kept(items, { weekly: 2 })), ['wed', 'sun']);
});

test('planRetention: days are those of the time zone', (t) => {
  const items = [item('a', '2026-03-03T22:30:00Z'), item('b', '2026-03-03T23:30:00Z')];
  t.deepEqual(Object.keys(kept(items, { daily: 5 })), ['b']);
  t.deepEqual(Object.keys(kept(items, { daily: 5, timeZone: 'Europe/Berlin' })), ['b', 'a']);
});

test('planRetention: the hour that autumn repeats is two hours', (t) => {
  const items = [item('summer', '2026-10-25T00:30:00Z'), item('winter', '2026-10-25T01:30:00Z')];
  const policy = { hourly: 5, timeZone: 'Europe/Berlin' };
  t.deepEqual(Object.keys(kept(items, policy)), ['winter', 'summer']);
});

test('planRetention: age is counted from the newest package, not from now', (t) => {
  const policy = { withinMs: 24 * 3_600_000 };
  t.deepEqual(kept(week, policy), { wed: ['within'], tue: ['within'] });
});

test('planRetention: each group keeps its own', (t) => {
  const items = [...week, item('other', '2026-01-01T00:00:00Z', { images: [{ name: 'b' }] })];
  t.deepEqual(Object.keys(kept(items, { last: 1 })), ['wed', 'other']);
  t.deepEqual(Object.keys(kept(items, { last: 1, groupBy: 'none' })), ['wed']);
});

test('planRetention: groups by name and by label', (t) => {
  const items = [
    item('a', '2026-03-02T10:00:00Z', { name: 'x', labels: { site: 'north' } }),
    item('b', '2026-03-03T10:00:00Z', { name: 'x', labels: { site: 'south' } }),
  ];
  t.deepEqual(Object.keys(kept(items, { last: 1, groupBy: 'name' })), ['b']);
  t.deepEqual(Object.keys(kept(items, { last: 1, groupBy: 'site' })), ['a', 'b']);
});

test('planRetention: a label keeps a package of any age', (t) => {
  const items = [item('old', '2020-01-01T00:00:00Z', { labels: { hold: 'legal' } }), ...week];
  const policy = { last: 1, labels: [{ key: 'hold', value: 'legal' }] };
  t.deepEqual(kept(items, policy), { wed: ['last'], old: ['label hold=legal'] });
});

test('planRetention: of two of one moment the greater id is the newer', (t) => {
  const items = [item('b', week[0]!.createdAt), item('a', week[0]!.createdAt)];
  t.deepEqual(Object.keys(kept(items, { last: 1 })), ['b']);
});

const wrong: { title: string; policy: RetentionPolicy }[] = [
  { title: 'a policy without a rule', policy: {} },
  { title: 'a policy with an empty list of labels only', policy: { labels: [] } },
  { title: 'a count of 0', policy: { last: 0 } },
  { title: 'half a day', policy: { daily: 0.5 } },
  { title: 'an unknown time zone', policy: { last: 1, timeZone: 'Mars/Base' } },
];
for (const { title, policy } of wrong) {
  test(`planRetention: ${title} is refused`, (t) =>
    throwsReason(t, async () => planRetention(week, policy), 'POLICY_INVALID').then(() => {}));
}
