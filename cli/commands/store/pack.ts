import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Compression } from '../../../app/store/pack.ts';
import type { UnpackFormat } from '../../../app/store/unpack.ts';
import { localAction } from '../../action.ts';
import { type Label, label } from '../../label.ts';
import { formatBytes, formatDuration, printJson, printTable } from '../../output.ts';
import {
  count,
  format,
  interrupts,
  place,
  printResumed,
  type ResumeOptions,
  resumable,
  type StoreOptions,
  sumOf,
  withLine,
  workersOption,
} from './options.ts';

/** The same as in plugins/repository/store, which is loaded when used. */
const zstdLevelDefault = 4;
const zstdLevelMax = 19;

type PackOptions = StoreOptions &
  ResumeOptions & {
    parent?: string;
    changedMap?: string;
    parentImage?: string[];
    bitmap?: string;
    imageName?: string;
    samples?: number;
    id?: string;
    name?: string;
    label?: Label[];
    format?: UnpackFormat;
    compression: Compression;
    chunking: 'fixed' | 'content' | 'auto';
    delta: boolean;
    workers?: number;
  };

function append(value: string, before: string[] = []): string[] {
  return [...before, value];
}

const parentImageHelp =
  'the image that the parent was made of, or <image>=<path>: compare with it instead of hashing; ' +
  'repeat for each image';

export function packCommand(program: Command): void {
  resumable(program.command('pack <images...>'))
    .description(
      'pack disk images (raw, qcow2 with its backing chain, .raw.lz4, or an NBD export: ' +
        'nbd://HOST:PORT/EXPORT, nbd+unix:///EXPORT?socket=PATH) into a repository',
    )
    .option('--parent <package>', 'compare with this package and store only what changed')
    .option('--changed-map <file>', 'JSON [{"start": bytes, "length": bytes}, …]: read only that')
    .option('--bitmap <name>', 'of an NBD export: read only what this dirty bitmap of QEMU names')
    .option('--image-name <name>', 'name of the only image, default that of its file or export')
    .option('--parent-image <path>', parentImageHelp, append)
    .option('--samples <count>', 'blocks called clean that are checked, default 64', count)
    .option('--id <package>', 'the id of the new package; a repeat with the same content succeeds')
    .option('--name <name>', 'a name for people')
    .option('--label <key=value...>', 'labels of the package, for example for retention', label)
    .addOption(format('format of all images; without it the first bytes of each decide'))
    .addOption(
      new Option('--compression <way>', 'lz4, zstd, zstd:LEVEL (1 to 19) or none')
        .argParser(compression)
        .default(true, 'lz4'),
    )
    .addOption(
      new Option(
        '--chunking <way>',
        'where images are cut: fixed (every 64 KiB), content (where data that were put in or taken out ' +
          'move all that follow), auto (content for tar archives)',
      )
        .choices(['fixed', 'content', 'auto'])
        .default('auto'),
    )
    .option('--no-delta', 'store changed blocks in full, not as the difference from the parent')
    .addOption(workersOption())
    .action(
      localAction<PackOptions>(async (options, images) => {
        const { packFiles } = await import('../../../app/store/pack.ts');
        const result = await withLine((onProgress) =>
          packFiles((images as string[]).map(place), {
            store: options.store,
            compress: options.compression,
            delta: options.delta,
            chunking: options.chunking,
            resume: options.resume,
            ...(options.parent && { parent: options.parent }),
            ...(options.changedMap && { changedMap: options.changedMap }),
            ...(options.parentImage && { parentImages: options.parentImage }),
            ...(options.bitmap && { bitmap: options.bitmap }),
            ...(options.imageName && { imageName: options.imageName }),
            ...(options.samples !== undefined && { samples: options.samples }),
            ...(options.id && { packageId: options.id }),
            ...(options.name && { name: options.name }),
            ...(options.label && {
              labels: Object.fromEntries(options.label.map(({ key, value }) => [key, value])),
            }),
            ...(options.format && { format: options.format }),
            ...(options.workers !== undefined && { workers: options.workers }),
            onProgress,
            signal: interrupts(),
          }),
        );
        if (options.json) return printJson(result);
        printResumed(result, sumOf(result.images));
        process.stdout.write(`package ${result.package}${result.isNew ? '' : ' (was there)'}\n`);
        printTable(
          ['IMAGE', 'LOGICAL', 'READ', 'BLOCKS', 'NEW', 'DELTA', 'STORED', 'MAP', 'WHY'],
          result.images.map((image) => [
            image.name,
            formatBytes(image.logicalBytes),
            formatBytes(image.bytesRead),
            String(image.blocks),
            String(image.newBlocks),
            String(image.deltaBlocks),
            formatBytes(image.storedBytes),
            image.mapSource,
            image.mapReason,
          ]),
        );
        process.stdout.write(`${formatDuration(result.seconds * 1000)}\n`);
        for (const { name, damagedBases } of result.images) {
          if (damagedBases === 0) continue;
          const what = `${damagedBases} blocks of the parent of ${name} are damaged`;
          process.stderr.write(`mano: ${what}; what changed there is stored in full: run verify\n`);
        }
      }),
    );
}

function compression(text: string): Compression {
  const [, way, level] = /^(lz4|none|zstd)(?::(\d+))?$/.exec(text) ?? [];
  if (way === 'lz4' && level === undefined) return true;
  if (way === 'none' && level === undefined) return false;
  const zstdLevel = level === undefined ? zstdLevelDefault : Number(level);
  if (way === 'zstd' && zstdLevel >= 1 && zstdLevel <= zstdLevelMax) return { zstdLevel };
  throw new InvalidArgumentError(
    `must be lz4, none, zstd or zstd:LEVEL with a level from 1 to ${zstdLevelMax}`,
  );
}
