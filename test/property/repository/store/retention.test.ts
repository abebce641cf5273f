import test from 'ava';
import fc from 'fast-check';
import {
  planRetention,
  type RetentionPolicy,
} from '../../../../plugins/repository/store/retention.ts';

const second = fc.integer({ min: 0, max: 3 * 365 * 86_400 });
const items = fc.uniqueArray(fc.tuple(fc.nat(50), second), {
  selector: ([id]) => id,
  maxLength: 40,
});
const packages = items.map((pairs) =>
  pairs.map(([id, seconds]) => ({
    id: `p${id}`,
    name: '',
    labels: {},
    images: [{ name: 'disk' }],
    createdAt: new Date(Date.UTC(2024, 0, 1) + seconds * 1000).toISOString(),
  })),
);
const count = fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined });
const counts = fc.record({
  last: fc.integer({ min: 1, max: 12 }),
  hourly: count,
  daily: count,
  weekly: count,
  monthly: count,
  yearly: count,
});
const rules = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;

function policyOf(value: Partial<Record<(typeof rules)[number], number | undefined>>) {
  const given = Object.entries(value).filter(([, number]) => number !== undefined);
  return Object.fromEntries(given) as RetentionPolicy;
}

function keptIds(list: Parameters<typeof planRetention>[0], policy: RetentionPolicy): Set<string> {
  const kept = planRetention(list, policy).filter(({ reasons }) => reasons.length > 0);
  return new Set(kept.map((verdict) => verdict.package));
}

test('planRetention: every package gets one verdict, and the newest is always kept', (t) => {
  fc.assert(
    fc.property(packages, counts, (list, value) => {
      const verdicts = planRetention(list, policyOf(value));
      t.deepEqual(verdicts.map((each) => each.package).sort(), list.map(({ id }) => id).sort());
      if (verdicts.length > 0) t.not(verdicts[0]!.reasons.length, 0);
    }),
  );
});

test('planRetention: the newest N are exactly the N newest', (t) => {
  fc.assert(
    fc.property(packages, fc.integer({ min: 1, max: 50 }), (list, last) => {
      const kept = [...keptIds(list, { last })];
      const dates = new Map(list.map(({ id, createdAt }) => [id, createdAt]));
      t.is(kept.length, Math.min(last, list.length));
      const oldestKept = kept.map((id) => dates.get(id)!).sort()[0]!;
      const left = list.filter(({ id }) => !kept.includes(id));
      t.true(left.every(({ createdAt }) => createdAt <= oldestKept));
    }),
  );
});

test('planRetention: a larger count and a further rule never forget more', (t) => {
  fc.assert(
    fc.property(packages, counts, fc.constantFrom(...rules), (list, value, rule) => {
      const before = keptIds(list, policyOf(value));
      const after = keptIds(list, policyOf({ ...value, [rule]: (value[rule] ?? 0) + 1 }));
      t.true(before.isSubsetOf(after));
    }),
  );
});

test('planRetention: running a policy a second time forgets nothing more', (t) => {
  fc.assert(
    fc.property(packages, counts, (list, value) => {
      const policy = policyOf(value);
      const kept = keptIds(list, policy);
      const left = list.filter(({ id }) => kept.has(id));
      t.deepEqual(keptIds(left, policy), kept);
    }),
  );
});
