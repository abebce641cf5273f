import type { Command } from 'commander';
import type { ImageDiff } from '../../../app/store/care.ts';
import { localAction } from '../../action.ts';
import { exitCode } from '../../exit-codes.ts';
import { formatBytes, printJson, printTable } from '../../output.ts';
import { onStore, type StoreOptions } from './options.ts';

export function readCommands(program: Command): void {
  onStore(program.command('list'))
    .description(
      'list the packages of a repository, also unfinished ones; exit code 7 when a manifest is damaged',
    )
    .action(
      localAction<StoreOptions>(async ({ store, json }) => {
        const { describeImage, listPackages } = await import('../../../app/store/care.ts');
        const { packages, damaged, unfinished } = await listPackages(store);
        const broken = damaged.map(({ id, error }) => ({ package: id, problem: error.message }));
        if (json) {
          const shown = packages.map(({ id, images, ...rest }) => {
            return { package: id, ...rest, images: images.map(describeImage) };
          });
          printJson({ packages: shown, damaged: broken, unfinished });
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
          for (const { packageId, doneBytes, expiresAt } of unfinished) {
            const done = formatBytes(doneBytes);
            process.stdout.write(
              `unfinished: ${packageId}, ${done} done, kept until ${expiresAt}\n`,
            );
          }
          for (const { package: id, problem } of broken) {
            process.stderr.write(`mano: package ${id} is damaged: ${problem}\n`);
          }
        }
        return broken.length > 0 ? exitCode.damaged : exitCode.ok;
      }),
    );

  onStore(program.command('diff <from> <to>'))
    .description('show which byte ranges changed from one package to another, image by image')
    .option('--ranges', `print all ranges, not only the first ${rangesShown} of each image`)
    .action(
      localAction<StoreOptions & { ranges?: boolean }>(
        async ({ store, json, ranges }, from, to) => {
          const { diffPackages } = await import('../../../app/store/care.ts');
          const result = await diffPackages(store, from as string, to as string);
          if (json) return printJson(result);
          printDiff(result.images, ranges ? Number.POSITIVE_INFINITY : rangesShown);
        },
      ),
    );
}

/** More lines of one image tell a person nothing more. */
const rangesShown = 20;

function printDiff(images: readonly ImageDiff[], rangesMax: number): void {
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
    for (const { start, length } of ranges.slice(0, rangesMax)) {
      process.stdout.write(`${name}: ${length} bytes at ${start}\n`);
    }
    const left = ranges.length - rangesMax;
    if (left > 0) process.stdout.write(`${name}: and ${left} more; --ranges prints all\n`);
    if (isCut) process.stdout.write(`${name}: and more than can be listed\n`);
  }
}
