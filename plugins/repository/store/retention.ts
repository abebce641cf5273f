/**
 * Which packages to keep. The rules are those that restic, borg and Proxmox Backup Server share:
 * the newest package of each hour, day, week, month or year, for so many of them. Pure.
 */
import { invalidArgument } from '../../../sdk/errors.ts';
import type { Manifest } from './manifest.ts';

export const periods = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;
export type Period = (typeof periods)[number];

/** At least one rule; a package that any rule keeps is kept. Counts are whole numbers above 0. */
export type RetentionPolicy = {
  /** So many of the newest. */
  last?: number;
  /** Whatever is at most this much older than the newest package of its group, in milliseconds. */
  withinMs?: number;
  /** Packages that carry one of these labels with this value. */
  labels?: readonly { key: string; value: string }[];
  /** Whose days, weeks, … they are: an IANA time zone; default UTC. Weeks begin on Monday. */
  timeZone?: string;
  /**
   * Rules count in each group by itself: `images` (the default) groups by the names of the images, `name` by the package's name, `none` takes all together, another word is a label's key.
   */
  groupBy?: string;
} & Partial<Record<Period, number>>;

/** What a policy says of a package. `reasons` are the rules that keep it; none: it is forgotten. */
export type Verdict = { package: string; group: string; createdAt: string; reasons: string[] };

type Dated = Pick<Manifest, 'id' | 'name' | 'createdAt' | 'labels'> & {
  images: readonly Pick<Manifest['images'][number], 'name'>[];
};

/** INVALID_ARGUMENT, reason POLICY_INVALID, when there is no rule or one is wrong. */
export function checkPolicy(policy: RetentionPolicy): void {
  const counts = [policy.last, policy.withinMs, ...periods.map((period) => policy[period])];
  for (const count of counts) {
    if (count === undefined || (Number.isSafeInteger(count) && count > 0)) continue;
    throw invalid(`${count} is not a whole number above 0`);
  }
  const hasRule = counts.some((count) => count !== undefined) || (policy.labels ?? []).length > 0;
  if (!hasRule) throw invalid('at least one rule must say what to keep');
  try {
    calendar(policy.timeZone);
  } catch {
    throw invalid(`"${policy.timeZone}" is not a time zone, for example Europe/Berlin`);
  }
}

/**
 * The verdict on each package, newest first within its group. Age is counted from the newest
 * package of the group and not from now: where nothing new comes, nothing old goes.
 */
export function planRetention(packages: readonly Dated[], policy: RetentionPolicy): Verdict[] {
  checkPolicy(policy);
  const groups = Map.groupBy(packages, (item) => groupOf(item, policy.groupBy));
  return [...groups].flatMap(([group, members]) => {
    const newestFirst = members.toSorted(byAge);
    const keepers = rules(policy, newestFirst[0]!);
    return newestFirst.map((item) => {
      const reasons = keepers.flatMap((keeps) => keeps(item) ?? []);
      return { package: item.id, group, createdAt: item.createdAt, reasons };
    });
  });
}

// Newest first; of two of one moment the greater id, so that the order never depends on a listing.
function byAge(a: Dated, b: Dated): number {
  const difference = Date.parse(b.createdAt) - Date.parse(a.createdAt);
  return difference !== 0 ? difference : a.id < b.id ? 1 : -1;
}

/** Told the packages newest first, says why it keeps one. */
type Keeper = (item: Dated) => string | undefined;

function rules(policy: RetentionPolicy, newest: Dated): Keeper[] {
  const keepers: Keeper[] = [];
  const { last, withinMs, labels = [] } = policy;
  if (last !== undefined) keepers.push(firstOfEach(last, 'last', (item) => item.id));
  const dates = calendar(policy.timeZone);
  for (const period of periods) {
    const count = policy[period];
    if (count === undefined) continue;
    keepers.push(firstOfEach(count, period, ({ createdAt }) => bucket(period, dates, createdAt)));
  }
  if (withinMs !== undefined) {
    const oldest = Date.parse(newest.createdAt) - withinMs;
    keepers.push(({ createdAt }) => (Date.parse(createdAt) >= oldest ? 'within' : undefined));
  }
  for (const { key, value } of labels) {
    keepers.push((item) => (item.labels[key] === value ? `label ${key}=${value}` : undefined));
  }
  return keepers;
}

// Keeps the first that is seen of each bucket, for that many buckets.
function firstOfEach(count: number, reason: string, bucketOf: (item: Dated) => string): Keeper {
  const seen = new Set<string>();
  return (item) => {
    const name = bucketOf(item);
    if (seen.has(name) || seen.size >= count) return undefined;
    seen.add(name);
    return reason;
  };
}

function calendar(timeZone = 'UTC'): Intl.DateTimeFormat {
  return new Intl.DateTimeFormat('en-CA', {
    timeZone,
    calendar: 'iso8601',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    timeZoneName: 'longOffset',
  });
}

// The offset is part of an hour's name: the hour that a clock shows twice in autumn is two hours.
function bucket(period: Period, dates: Intl.DateTimeFormat, createdAt: string): string {
  const parts = dates.formatToParts(new Date(createdAt));
  const part = (type: string) => parts.find((each) => each.type === type)?.value ?? '';
  const day = `${part('year')}-${part('month')}-${part('day')}`;
  if (period === 'hourly') return `${day} ${part('hour')} ${part('timeZoneName')}`;
  if (period === 'daily') return day;
  if (period === 'weekly') return mondayOf(day);
  return period === 'monthly' ? day.slice(0, -3) : part('year');
}

function mondayOf(day: string): string {
  const date = new Date(`${day}T00:00:00Z`);
  date.setUTCDate(date.getUTCDate() - ((date.getUTCDay() + 6) % 7));
  return date.toISOString().slice(0, 10);
}

function groupOf(item: Dated, groupBy = 'images'): string {
  if (groupBy === 'none') return '';
  if (groupBy === 'name') return item.name;
  if (groupBy !== 'images') return item.labels[groupBy] ?? '';
  const names = item.images.map(({ name }) => name).sort();
  return names.join(' ');
}

function invalid(problem: string): Error {
  return invalidArgument('POLICY_INVALID', `retention: ${problem}`, { problem });
}
