import { type Command, InvalidArgumentError } from 'commander';
import { localAction } from '../../action.ts';
import { exitCode } from '../../exit-codes.ts';
import { formatBytes, printJson } from '../../output.ts';
import { interrupts, onStore, type StoreOptions, withLine, workersOption } from './options.ts';

type VerifyOptions = StoreOptions & { package?: string; sample?: number; workers?: number };
type CollectOptions = StoreOptions & { dryRun?: boolean; forgetUnfinished?: boolean };

export function careCommands(program: Command): void {
  onStore(program.command('verify'))
    .description('read packages back and check every digest; exit code 7 when something is damaged')
    .option('--package <package>', 'only what this package needs')
    .option('--sample <percent>', 'read only this part of the blocks, for example 5%', percent)
    .addOption(workersOption())
    .action(
      localAction<VerifyOptions>(async (options) => {
        const { verifyStore } = await import('../../../app/store/care.ts');
        const report = await withLine((onProgress) =>
          verifyStore(options.store, {
            ...(options.package && { packageId: options.package }),
            ...(options.sample && { sample: options.sample }),
            ...(options.workers !== undefined && { workers: options.workers }),
            onProgress,
            signal: interrupts(),
          }),
        );
        if (options.json) printJson(report);
        else {
          for (const damage of report.damages) {
            process.stderr.write(`damage: ${JSON.stringify(damage)}\n`);
          }
          if (!report.isWhole) process.stderr.write(repairHint(options.store));
          process.stdout.write(
            `${report.packages} packages, ${report.checkedEntries} stored blocks and pages (${formatBytes(report.checkedBytes)}) read back: ${report.isWhole ? 'whole' : `${report.damageCount} damaged`}\n`,
          );
        }
        return report.isWhole ? exitCode.ok : exitCode.damaged;
      }),
    );

  onStore(program.command('delete <packages...>'))
    .description('delete packages; their space comes back with gc')
    .action(
      localAction<StoreOptions>(async ({ store, json }, ids) => {
        const { deletePackages } = await import('../../../app/store/care.ts');
        await deletePackages(store, ids as string[]);
        if (json) printJson({ deleted: ids });
      }),
    );

  onStore(program.command('gc'))
    .description('free the space that no package needs; runs beside writers')
    .option('--dry-run', 'say what would come free, and change nothing')
    .option('--forget-unfinished', 'also what interrupted runs left to go on from')
    .action(
      localAction<CollectOptions>(async (options) => {
        const { store, json, dryRun = false, forgetUnfinished = false } = options;
        const { collectGarbage } = await import('../../../app/store/care.ts');
        const report = await collectGarbage(store, {
          dryRun,
          forgetUnfinished,
          signal: interrupts(),
        });
        if (json) return printJson({ ...report, dryRun });
        if (dryRun) {
          const bytes = formatBytes(report.freedBytes);
          process.stdout.write(`would free ${bytes}, if no reader or writer needs it\n`);
          return;
        }
        process.stdout.write(
          `freed ${formatBytes(report.freedBytes)}; ${formatBytes(report.waitingBytes)} wait for ${report.blockedBy.length} readers or writers\n`,
        );
      }),
    );
}

function repairHint(store: string): string {
  const quoted = /^[\w./-]+$/.test(store) ? store : `'${store.replaceAll("'", "'\\''")}'`;
  return `repair: mano repair --store ${quoted} [--from DIR] [--from-image PATH]\n`;
}

function percent(text: string): number {
  const value = Number(text.replace(/%$/, '')) / 100;
  if (value > 0 && value <= 1) return value;
  throw new InvalidArgumentError('must be above 0% and at most 100%');
}
