import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ImageDiff } from '../../app/store/care.ts';
import type { UnpackFormat } from '../../app/store/unpack.ts';
import { localAction } from '../action.ts';
import { exitCode } from '../exit-codes.ts';
import { formatBytes, formatDuration, printJson, printTable } from '../output.ts';
import { ProgressLine } from '../progress.ts';

type StoreOptions = { store: string; json?: boolean };

/** The commands on disk images and a repository of one's own, without any server. Their code is loaded when used. */
export function storeCommands(program: Command): void {
  packCommand(program);
  unpackCommand(program);
  readCommands(program);
  careCommands(program);
  archiveCommands(program);
}

/** The same formats as in app/store/unpack.ts, which is loaded when used. */
const formats: readonly UnpackFormat[] = ['raw', 'qcow2', 'raw.lz4'];

function format(description: string): Option {
  return new Option('--format <format>', description).choices(formats);
}

function onStore(command: Command): Command {
  return command
    .requiredOption('--store <dir>', 'folder of the repository')
    .option('--json', 'print one line of JSON at the end');
}

/** Shows progress on a terminal while `work` runs. */
async function withLine<T>(
  work: (
    show: (p: { image?: string; file?: string; doneBytes: number; totalBytes: number }) => void,
  ) => Promise<T>,
): Promise<T> {
  const line = new ProgressLine();
  try {
    return await work(({ image, file, doneBytes, totalBytes }) =>
      line.show({ activity: image ?? file ?? '', doneBytes, totalBytes }),
    );
  } finally {
    line.clear();
  }
}

/** An interrupt cancels the work, which then leaves nothing behind; a second one ends the process. */
function interrupts(): AbortSignal {
  const controller = new AbortController();
  process.once('SIGINT', () => controller.abort());
  return controller.signal;
}

type PackOptions = StoreOptions & {
  parent?: string;
  changedMap?: string;
  samples?: number;
  id?: string;
  name?: string;
  format?: UnpackFormat;
  compress: boolean;
};

function packCommand(program: Command): void {
  onStore(program.command('pack <images...>'))
    .description('pack disk images (raw, qcow2 with its backing chain, .raw.lz4) into a repository')
    .option('--parent <package>', 'compare with this package and store only what changed')
    .option('--changed-map <file>', 'JSON [{"start": bytes, "length": bytes}, …]: read only that')
    .option('--samples <count>', 'blocks called clean that are checked, default 64', count)
    .option('--id <package>', 'the id of the new package; a repeat with the same content succeeds')
    .option('--name <name>', 'a name for people')
    .addOption(format('format of all images; without it the first bytes of each decide'))
    .option('--no-compress', 'store blocks as they are')
    .action(
      localAction<PackOptions>(async (options, images) => {
        const { packFiles } = await import('../../app/store/pack.ts');
        const result = await withLine((onProgress) =>
          packFiles(
            (images as string[]).map((path) => resolve(path)),
            {
              store: options.store,
              compress: options.compress,
              ...(options.parent && { parent: options.parent }),
              ...(options.changedMap && { changedMap: options.changedMap }),
              ...(options.samples !== undefined && { samples: options.samples }),
              ...(options.id && { packageId: options.id }),
              ...(options.name && { name: options.name }),
              ...(options.format && { format: options.format }),
              onProgress,
              signal: interrupts(),
            },
          ),
        );
        if (options.json) return printJson(result);
        process.stdout.write(`package ${result.package}${result.isNew ? '' : ' (was there)'}\n`);
        printTable(
          ['IMAGE', 'LOGICAL', 'READ', 'BLOCKS', 'NEW', 'STORED', 'MAP', 'WHY'],
          result.images.map((image) => [
            image.name,
            formatBytes(image.logicalBytes),
            formatBytes(image.bytesRead),
            String(image.blocks),
            String(image.newBlocks),
            formatBytes(image.storedBytes),
            image.mapSource,
            image.mapReason,
          ]),
        );
        process.stdout.write(`${formatDuration(result.seconds * 1000)}\n`);
      }),
    );
}

function unpackCommand(program: Command): void {
  onStore(program.command('unpack <package>'))
    .description('write the images of a package to files; every block is verified on the way')
    .requiredOption('--to <dir>', 'folder to write to; existing files are not overwritten')
    .addOption(format('format of the files').default('raw'))
    .option('--image <names...>', 'only these images')
    .action(
      localAction<StoreOptions & { to: string; format: UnpackFormat; image?: string[] }>(
        async (options, id) => {
          const { unpackFiles } = await import('../../app/store/unpack.ts');
          const result = await withLine((onProgress) =>
            unpackFiles(id as string, {
              store: options.store,
              to: options.to,
              format: options.format,
              ...(options.image && { images: options.image }),
              onProgress,
              signal: interrupts(),
            }),
          );
          if (options.json) return printJson(result);
          printTable(
            ['FILE', 'LOGICAL', 'WRITTEN'],
            result.images.map((image) => [
              image.path,
              formatBytes(image.logicalBytes),
              formatBytes(image.writtenBytes),
            ]),
          );
        },
      ),
    );
}

function readCommands(program: Command): void {
  onStore(program.command('list'))
    .description('list the packages of a repository; exit code 7 when a manifest is damaged')
    .action(
      localAction<StoreOptions>(async ({ store, json }) => {
        const { listPackages } = await import('../../app/store/care.ts');
        const { packages, damaged } = await listPackages(store);
        const broken = damaged.map(({ id, error }) => ({ package: id, problem: error.message }));
        if (json) {
          const shown = packages.map(({ id, ...rest }) => ({ package: id, ...rest }));
          printJson({ packages: shown, damaged: broken });
        } else {
          printTable(
            ['PACKAGE', 'NAME', 'CREATED', 'IMAGES', 'LOGICAL'],
            packages.map((item) => [
              item.id,
              item.name,
              item.createdAt,
              item.images.map((image) => image.name).join(' '),
              formatBytes(item.images.reduce((sum, image) => sum + image.logicalBytes, 0)),
            ]),
          );
          for (const { package: id, problem } of broken) {
            process.stderr.write(`mano: package ${id} is damaged: ${problem}\n`);
          }
        }
        return broken.length > 0 ? exitCode.damaged : exitCode.ok;
      }),
    );

  onStore(program.command('diff <from> <to>'))
    .description('show which byte ranges changed from one package to another, image by image')
    .action(
      localAction<StoreOptions>(async ({ store, json }, from, to) => {
        const { diffPackages } = await import('../../app/store/care.ts');
        const result = await diffPackages(store, from as string, to as string);
        if (json) return printJson(result);
        printDiff(result.images);
      }),
    );
}

function printDiff(images: readonly ImageDiff[]): void {
  printTable(
    ['IMAGE', 'STATUS', 'FROM', 'TO', 'CHANGED'],
    images.map(({ name, status, oldBytes, newBytes, changedBytes }) => [
      name,
      status,
      oldBytes === undefined ? '-' : formatBytes(oldBytes),
      newBytes === undefined ? '-' : formatBytes(newBytes),
      formatBytes(changedBytes),
    ]),
  );
  for (const { name, ranges, isCut } of images) {
    for (const { start, length } of ranges) {
      process.stdout.write(`${name}: ${length} bytes at ${start}\n`);
    }
    if (isCut) process.stdout.write(`${name}: and more\n`);
  }
}

function careCommands(program: Command): void {
  onStore(program.command('verify'))
    .description('read packages back and check every digest; exit code 7 when something is damaged')
    .option('--package <package>', 'only what this package needs')
    .option('--sample <percent>', 'read only this part of the blocks, for example 5%', percent)
    .action(
      localAction<StoreOptions & { package?: string; sample?: number }>(async (options) => {
        const { verifyStore } = await import('../../app/store/care.ts');
        const report = await withLine((onProgress) =>
          verifyStore(options.store, {
            ...(options.package && { packageId: options.package }),
            ...(options.sample && { sample: options.sample }),
            onProgress,
            signal: interrupts(),
          }),
        );
        if (options.json) printJson(report);
        else {
          for (const damage of report.damages) {
            process.stderr.write(`damage: ${JSON.stringify(damage)}\n`);
          }
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
        const { deletePackages } = await import('../../app/store/care.ts');
        await deletePackages(store, ids as string[]);
        if (json) printJson({ deleted: ids });
      }),
    );

  onStore(program.command('gc'))
    .description('free the space that no package needs; runs beside writers')
    .action(
      localAction<StoreOptions>(async ({ store, json }) => {
        const { collectGarbage } = await import('../../app/store/care.ts');
        const report = await collectGarbage(store, { signal: interrupts() });
        if (json) return printJson(report);
        process.stdout.write(
          `freed ${formatBytes(report.freedBytes)}; ${formatBytes(report.waitingBytes)} wait for ${report.blockedBy.length} readers or writers\n`,
        );
      }),
    );
}

function archiveCommands(program: Command): void {
  onStore(program.command('export <package> <archive>'))
    .description('write a package of a repository as a ZIP64 archive')
    .option('--qcow2', 'disks as qcow2 instead of raw LZ4 frames')
    .option('--prove', 'read everything back through an independent decoder')
    .action(
      localAction<StoreOptions & { qcow2?: boolean; prove?: boolean }>(
        async ({ store, json, qcow2 = false, prove = false }, id, archive) => {
          const { exportFromStore } = await import('../../app/store/archive.ts');
          const path = resolve(archive as string);
          const result = await withLine((onProgress) =>
            exportFromStore(id as string, path, {
              store,
              qcow2,
              prove,
              onProgress,
              signal: interrupts(),
            }),
          );
          if (json) printJson(result);
          else process.stdout.write(`${result.path} ${formatBytes(result.sizeBytes)}\n`);
        },
      ),
    );

  onStore(program.command('import <archive>'))
    .description('read an archive into a repository; everything in it is checked first')
    .action(
      localAction<StoreOptions>(async ({ store, json }, archive) => {
        const { importIntoStore } = await import('../../app/store/archive.ts');
        const path = resolve(archive as string);
        const result = await withLine((onProgress) =>
          importIntoStore(path, { store, onProgress, signal: interrupts() }),
        );
        if (json) printJson(result);
        else process.stdout.write(`package ${result.package}\n`);
      }),
    );
}

function count(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new InvalidArgumentError('must be a whole number from 0');
}

function percent(text: string): number {
  const value = Number(text.replace(/%$/, '')) / 100;
  if (value > 0 && value <= 1) return value;
  throw new InvalidArgumentError('must be above 0% and at most 100%');
}
