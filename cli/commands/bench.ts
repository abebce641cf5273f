import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { Report } from '../../app/bench.ts';
import { localAction } from '../action.ts';
import { exitCode } from '../exit-codes.ts';
import { formatBytes, formatDuration, printJson, printTable } from '../output.ts';
import { projectFolder } from './setup.ts';

type Options = {
  rounds: number;
  cases?: string[];
  peers?: string[];
  smoke?: boolean;
  kernels?: boolean;
  markdown?: string;
  svg?: string;
  readme?: boolean;
  work: string;
  corpus: string;
  json?: boolean;
};

/** `mano bench`: package creation beside the tools that people know. */
export function benchCommand(program: Command): void {
  program
    .command('bench [image] [later]')
    .description(
      'measure package creation beside lz4, zstd, restic, borg, … on one image, or on two versions of it; without images on a corpus that it builds (Debian, root)',
    )
    .option('--rounds <count>', 'turns that each gets', rounds, 5)
    .option('--cases <ids...>', 'only these cases')
    .option('--peers <ids...>', 'only these peers, and ours')
    .option('--smoke', 'tiny images, one round: proves that every result is right, never a speed')
    .option('--kernels', 'also measure the kernels of the WebAssembly core')
    .option('--markdown <file>', 'write the report as Markdown')
    .option('--svg <file>', 'write a plot')
    .option('--readme', "write the report into the project's README.md and docs/")
    .option('--work <dir>', 'folder to work in', join(projectFolder, 'build/bench-work'))
    .option('--corpus <dir>', 'where the corpus is kept', join(projectFolder, 'build/bench-corpus'))
    .option('--json', 'print one line of JSON at the end')
    .action(
      localAction<Options>(async (options, ...images) => {
        const paths = (images as (string | undefined)[]).filter((path) => path !== undefined);
        const { runBench } = await import('../../app/bench.ts');
        const interrupted = new AbortController();
        for (const name of ['SIGINT', 'SIGTERM'] as const) {
          process.once(name, () => interrupted.abort());
        }
        const { cases, peers, markdown, svg } = options;
        const report = await runBench({
          images: paths,
          rounds: options.smoke ? 1 : options.rounds,
          ...(cases && { cases }),
          ...(peers && { peers }),
          smoke: options.smoke ?? false,
          kernels: options.kernels ?? false,
          ...(markdown && { markdown }),
          ...(svg && { svg }),
          readme: options.readme ?? false,
          work: resolve(options.work),
          corpus: resolve(options.corpus),
          print: (line) => void process.stderr.write(`${line}\n`),
          signal: interrupted.signal,
        });
        if (options.json) printJson(report);
        else await print(report);
        return exitCode.ok;
      }),
    );
}

async function print(report: Report): Promise<void> {
  const { seconds, times, goalState } = await import('../../app/bench.ts');
  const write = (line: string) => void process.stdout.write(`${line}\n`);
  for (const { title, contenders, leftOut } of report.cases) {
    write(`\n${title}`);
    printTable(
      ['', 'WALL s', 'CPU s', 'PEAK', 'STORED', 'x WALL', 'x CPU'],
      contenders.map(({ title: name, summary, ratio }) => [
        name.replaceAll('`', ''),
        seconds(summary.wallSeconds),
        seconds(summary.cpuSeconds),
        formatBytes(summary.peakBytes.median),
        formatBytes(summary.storedBytes.median),
        times(ratio.wallSeconds),
        times(ratio.cpuSeconds),
      ]),
    );
    for (const { title: name, reason } of leftOut) write(`left out: ${name} (${reason})`);
  }
  if (!report.smoke) {
    write('\nGoals');
    printTable(
      ['GOAL', 'FIGURE'],
      report.goals.map((goal) => [goal.text, goalState(goal)]),
    );
  }
  write(`\nevery result restored to the same bytes; ${formatDuration(report.seconds * 1000)}`);
}

function rounds(text: string): number {
  const value = Number(text);
  // As in bench/bench.ts, which is loaded when used.
  if (Number.isInteger(value) && value >= 1 && value <= 100) return value;
  throw new InvalidArgumentError('must be a whole number from 1 to 100');
}
