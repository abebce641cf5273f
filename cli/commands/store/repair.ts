import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import type { ImageToRepairFrom } from '../../../app/store/repair.ts';
import { localAction } from '../../action.ts';
import { exitCode } from '../../exit-codes.ts';
import { formatBytes, printJson } from '../../output.ts';
import {
  interrupts,
  onStore,
  place,
  type StoreOptions,
  withLine,
  workersOption,
} from './options.ts';

type RepairOptions = StoreOptions & {
  from?: string[];
  fromImage?: string[];
  dryRun?: boolean;
  workers?: number;
};

export function repairCommand(program: Command): void {
  onStore(program.command('repair'))
    .description(
      'replace what is damaged by good copies, also from elsewhere; exit code 7 when something is left',
    )
    .option('--from <dir...>', 'other repositories that may have good copies')
    .option(
      '--from-image <image...>',
      'images that packages were made of: PATH, or PACKAGE:DISK=PATH of one of them',
    )
    .option('--dry-run', 'say what could be repaired, and change nothing')
    .addOption(workersOption())
    .action(
      localAction<RepairOptions>(async (options) => {
        const { store, json, from = [], fromImage = [], dryRun = false, workers } = options;
        const { repairStore } = await import('../../../app/store/repair.ts');
        const report = await withLine((onProgress) =>
          repairStore(store, {
            from,
            images: fromImage.map(imageOf),
            dryRun,
            ...(workers !== undefined && { workers }),
            onProgress,
            signal: interrupts(),
          }),
        );
        if (json) printJson({ ...report, dryRun });
        else print(report, dryRun);
        return report.isWhole ? exitCode.ok : exitCode.damaged;
      }),
    );
}

type Report = Awaited<ReturnType<typeof import('../../../app/store/repair.ts').repairStore>>;

function print(report: Report, dryRun: boolean): void {
  const { damageCount, blocks, pages, files, storedBytes, restoredPackages, leftCount } = report;
  for (const damage of report.left) process.stderr.write(`left: ${JSON.stringify(damage)}\n`);
  const verb = dryRun ? 'could bring' : 'brought';
  const manifests =
    restoredPackages.length > 0 ? ` and packages ${restoredPackages.join(', ')}` : '';
  process.stdout.write(
    `${damageCount} damaged; ${verb} in ${blocks} blocks, ${pages} pages, ${files} files ` +
      `(${formatBytes(storedBytes)})${manifests}; ${leftCount === 0 ? 'nothing is left' : `${leftCount} left`}\n`,
  );
}

// A path may have a "=" in it: a file of that name is meant before anything else.
function imageOf(text: string): ImageToRepairFrom {
  const [, packageId, image, path] = /^([\w.-]+):([^=]+)=(.+)$/.exec(text) ?? [];
  if (path === undefined || existsSync(text)) return { path: place(text) };
  return { path: place(path), packageId: packageId!, image: image! };
}
