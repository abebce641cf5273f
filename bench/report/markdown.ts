/** The report as Markdown. Pure. */
import type { CaseResult, ContenderResult, GoalResult, Report, ToolVersion } from '../types.ts';
import { mebibytes, megabytes, seconds, times } from './format.ts';

/** The whole report. */
export function markdown(report: Report): string {
  return [
    '# Benchmark of package creation',
    about(report),
    tools(report.tools),
    images(report),
    'Wall and CPU time in seconds: median (smallest..largest) over the rounds. `x` is the figure of the line by that of the first line of ours,\npaired within each round: above 1 ours is better. The peak is that of the largest process, in MiB; stored bytes in MB (10^6).',
    ...report.cases.map(caseTable),
    '## Goals',
    goalTable(report.goals),
    ...(report.kernels === undefined ? [] : ['## Kernels', kernels(report.kernels)]),
  ]
    .join('\n\n')
    .concat('\n');
}

function about({ machine, commit, at, rounds, smoke }: Report): string {
  const { processor, processors, memoryBytes, kernel, system, node, loadAverage } = machine;
  const scaling = machine.scalingOfTwoThreads.toFixed(2);
  const lines = [
    `- machine: ${processor}, ${processors} processors, ${Math.round(memoryBytes / 1024 ** 3)} GiB, ${system}, Linux ${kernel}, Node ${node}`,
    `- two threads of pure hashing do ${scaling} times the work of one: what a second worker can bring at most`,
    `- commit: ${commit}, ${at}, ${rounds} rounds; load average before: ${loadAverage.toFixed(1)}`,
  ];
  if (smoke) lines.push('- a smoke run: tiny images; the figures mean nothing');
  return lines.join('\n');
}

function tools(versions: readonly ToolVersion[]): string {
  return `- tools: ${versions.map(toolText).join(', ')}`;
}

function toolText({ name, version, missing }: ToolVersion): string {
  return version === undefined ? `${name} (left out: ${missing})` : `${name} ${version}`;
}

function images(report: Report): string {
  return report.images
    .map(({ name, bytes, note }) => `- ${name}: ${(bytes / 1024 ** 2).toFixed(0)} MiB, ${note}`)
    .join('\n');
}

function caseTable(item: CaseResult): string {
  const header = ['', 'wall s', 'CPU s', 'peak MiB', 'x wall', 'x CPU', 'rounds'];
  if (item.stores) header.splice(4, 0, 'stored MB');
  const rows = item.contenders.map((contender) => row(contender, item.stores !== undefined));
  const leftOut = item.leftOut.map(({ title, reason }) => `Left out: ${title} (${reason}).`);
  return [`## ${item.title}`, table(header, rows), ...leftOut].join('\n\n');
}

function row(result: ContenderResult, hasStored: boolean): string[] {
  const { title, isOurs, summary, ratio, runs } = result;
  const cells = [
    isOurs ? `**${title}**` : title,
    seconds(summary.wallSeconds),
    seconds(summary.cpuSeconds),
    mebibytes(summary.peakBytes),
    times(ratio.wallSeconds),
    times(ratio.cpuSeconds),
    String(runs.length),
  ];
  if (hasStored) cells.splice(4, 0, megabytes(summary.storedBytes));
  return cells;
}

export function goalTable(goals: readonly GoalResult[]): string {
  const rows = goals.map(({ text, demand, aim, figure, limit, isReached }) => [
    text,
    aim === undefined ? demand : `${demand} (aim ${aim})`,
    figure === undefined ? '-' : figure.toFixed(2),
    limit === undefined ? '' : limit.toFixed(2),
    figure === undefined ? 'not measured' : isReached ? 'reached' : '**not reached**',
  ]);
  return table(['goal', 'wanted', 'figure', 'kernels and reads alone', ''], rows);
}

type KernelLine = { corpus?: string; group: string; median: number; min: number; max: number };
type KernelOutput = {
  figures?: (KernelLine & { name: string })[];
  ratios?: (KernelLine & { ours: string; peer: string })[];
};

/** Rates, and how many times faster ours is than a peer in the same rounds. */
function kernels(output: unknown): string {
  const { figures = [], ratios = [] } = output as KernelOutput;
  const spread = ({ median, min, max }: KernelLine, places: number) =>
    `${median.toFixed(places)} (${min.toFixed(places)}..${max.toFixed(places)})`;
  const rates = figures.map((line) => [line.corpus ?? '', line.group, line.name, spread(line, 0)]);
  const pairs = ratios.map((line) => [
    line.corpus ?? '',
    line.group,
    `${line.ours} by ${line.peer}`,
    spread(line, 2),
  ]);
  return [
    table(['corpus', 'kernel', '', 'MB/s'], rates),
    ...(pairs.length > 0 ? [table(['corpus', 'kernel', '', 'times'], pairs)] : []),
  ].join('\n\n');
}

export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}

/** One line for each case: ours, and how many times longer the others take. For the README. */
export function shortTable(report: Report): string {
  const rows = report.cases.map(({ title, contenders }) => {
    const [first, ...others] = contenders;
    const shown = others.map(
      ({ title: name, ratio }) => `${name} ${ratio.wallSeconds?.median.toFixed(2) ?? '-'}×`,
    );
    return [title, first ? `${seconds(first.summary.wallSeconds)} s` : '-', shown.join('; ')];
  });
  return [
    about(report),
    tools(report.tools),
    '',
    table(['case', 'Micromano', 'the others take'], rows),
  ].join('\n');
}
