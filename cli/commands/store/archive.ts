import { resolve } from 'node:path';
import type { Command } from 'commander';
import { localAction } from '../../action.ts';
import { formatBytes, printJson } from '../../output.ts';
import {
  interrupts,
  printResumed,
  type ResumeOptions,
  resumable,
  type StoreOptions,
  withLine,
} from './options.ts';

export function archiveCommands(program: Command): void {
  resumable(program.command('export <package> <archive>'))
    .description('write a package of a repository as a ZIP64 archive')
    .option('--qcow2', 'disks as qcow2 instead of raw LZ4 frames')
    .option('--prove', 'read everything back through an independent decoder')
    .action(
      localAction<StoreOptions & ResumeOptions & { qcow2?: boolean; prove?: boolean }>(
        async ({ store, json, resume, qcow2 = false, prove = false }, id, archive) => {
          const { exportFromStore } = await import('../../../app/store/archive.ts');
          const path = resolve(archive as string);
          const result = await withLine((onProgress) =>
            exportFromStore(id as string, path, {
              store,
              qcow2,
              prove,
              resume,
              onProgress,
              signal: interrupts(),
            }),
          );
          if (json) return printJson(result);
          printResumed(result, undefined);
          process.stdout.write(`${result.path} ${formatBytes(result.sizeBytes)}\n`);
        },
      ),
    );

  resumable(program.command('import <archive>'))
    .description('read an archive into a repository; everything in it is checked first')
    .action(
      localAction<StoreOptions & ResumeOptions>(async ({ store, json, resume }, archive) => {
        const { importIntoStore } = await import('../../../app/store/archive.ts');
        const path = resolve(archive as string);
        const result = await withLine((onProgress) =>
          importIntoStore(path, { store, resume, onProgress, signal: interrupts() }),
        );
        if (json) return printJson(result);
        printResumed(result, undefined);
        process.stdout.write(`package ${result.package}\n`);
      }),
    );
}
