import type { Command } from 'commander';
import type { UnpackFormat } from '../../../app/store/unpack.ts';
import { localAction } from '../../action.ts';
import { formatBytes, printJson, printTable } from '../../output.ts';
import {
  format,
  interrupts,
  isUri,
  printResumed,
  type ResumeOptions,
  resumable,
  type StoreOptions,
  sumOf,
  withLine,
  workersOption,
} from './options.ts';

type UnpackOptions = StoreOptions &
  ResumeOptions & {
    to: string;
    format: UnpackFormat;
    image?: string[];
    workers?: number;
  };

export function unpackCommand(program: Command): void {
  resumable(program.command('unpack <package>'))
    .description(
      'write the images of a package to files, or one over an NBD export; every block is verified ' +
        'on the way',
    )
    .requiredOption('--to <dir>', 'folder (existing files stay as they are), or URI of an export')
    .addOption(format('format of the files').default('raw'))
    .option('--image <names...>', 'only these images')
    .addOption(workersOption())
    .action(
      localAction<UnpackOptions>(async (options, id) => {
        const { unpackFiles } = await import('../../../app/store/unpack.ts');
        const { unpackToNbd } = await import('../../../app/store/unpack-nbd.ts');
        const unpack = isUri(options.to) ? unpackToNbd : unpackFiles;
        const result = await withLine((onProgress) =>
          unpack(id as string, {
            store: options.store,
            to: options.to,
            format: options.format,
            resume: options.resume,
            ...(options.image && { images: options.image }),
            ...(options.workers !== undefined && { workers: options.workers }),
            onProgress,
            signal: interrupts(),
          }),
        );
        if (options.json) return printJson(result);
        printResumed(result, sumOf(result.images));
        printTable(
          ['FILE', 'FORMAT', 'LOGICAL', 'WRITTEN'],
          result.images.map((image) => [
            image.path,
            image.format,
            formatBytes(image.logicalBytes),
            formatBytes(image.writtenBytes),
          ]),
        );
      }),
    );
}
