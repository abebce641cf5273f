import { type Command, InvalidArgumentError } from 'commander';
import { localAction } from '../action.ts';
import { type Label, label } from '../label.ts';
import { formatBytes, printJson, printTable } from '../output.ts';

type Options = {
  store: string;
  json?: boolean;
  keepLast?: number;
  keepHourly?: number;
  keepDaily?: number;
  keepWeekly?: number;
  keepMonthly?: number;
  keepYearly?: number;
  keepWithin?: number;
  keepLabel?: Label[];
  groupBy: string;
  timeZone?: string;
  dryRun?: boolean;
  gc?: boolean;
};

/** `mano forget`: which packages stay, by age. */
export function forgetCommand(program: Command): void {
  program
    .command('forget')
    .description('delete the packages that no rule keeps; their space comes back with gc')
    .requiredOption('--store <dir>', 'folder of the repository')
    .option('--keep-last <count>', 'keep the newest', count)
    .option('--keep-hourly <count>', 'keep the newest of each hour, for so many hours', count)
    .option('--keep-daily <count>', 'keep the newest of each day', count)
    .option('--keep-weekly <count>', 'keep the newest of each week (from Monday)', count)
    .option('--keep-monthly <count>', 'keep the newest of each month', count)
    .option('--keep-yearly <count>', 'keep the newest of each year', count)
    .option(
      '--keep-within <duration>',
      'keep what is at most so much older than the newest: 36h, 7d, 2w',
      duration,
    )
    .option('--keep-label <key=value...>', 'keep packages with this label', label)
    .option('--group-by <what>', 'count by images, name, none or the key of a label', 'images')
    .option('--time-zone <zone>', 'whose days they are, for example Europe/Berlin; default UTC')
    .option('--dry-run', 'say what would be deleted, and delete nothing')
    .option('--gc', 'free the space at once')
    .option('--json', 'print one line of JSON at the end')
    .action(localAction<Options>(run));
}

async function run(options: Options): Promise<void> {
  const { forgetFromStore } = await import('../../app/store/care.ts');
  const { dryRun = false, gc = false } = options;
  const rules = {
    last: options.keepLast,
    hourly: options.keepHourly,
    daily: options.keepDaily,
    weekly: options.keepWeekly,
    monthly: options.keepMonthly,
    yearly: options.keepYearly,
    withinMs: options.keepWithin,
    labels: options.keepLabel,
    timeZone: options.timeZone,
  };
  const given = Object.entries(rules).filter(([, value]) => value !== undefined);
  const policy = { ...Object.fromEntries(given), groupBy: options.groupBy };
  const report = await forgetFromStore(options.store, policy, { dryRun, gc });
  if (options.json) return printJson({ ...report, dryRun });
  printTable(
    ['PACKAGE', 'CREATED', 'GROUP', dryRun ? 'WOULD BE' : '', 'WHY'],
    [
      ...report.kept.map((item) => row(item, 'kept', item.reasons.join(', '))),
      ...report.forgotten.map((item) => row(item, 'forgotten', 'no rule keeps it')),
    ],
  );
  const bytes = formatBytes(report.uniqueBytes);
  const whose = `${report.forgotten.length} forgotten`;
  process.stdout.write(`${report.kept.length} kept, ${whose}, which alone need ${bytes}\n`);
  if (report.gc) process.stdout.write(`freed ${formatBytes(report.gc.freedBytes)}\n`);
}

function row(
  item: { package: string; createdAt: string; group: string },
  fate: string,
  why: string,
): string[] {
  return [item.package, item.createdAt, item.group, fate, why];
}

function count(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('must be a whole number above 0');
}

const unitMs: Record<string, number> = { h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000 };

function duration(text: string): number {
  const [, number, unit] = /^([1-9]\d{0,5})([hdw])$/.exec(text) ?? [];
  if (number === undefined) throw new InvalidArgumentError('must be like 36h, 7d or 2w');
  return Number(number) * unitMs[unit!]!;
}
