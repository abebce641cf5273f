/** The benchmark from its options to its report. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { failedPrecondition, invalidArgument } from '../sdk/errors.ts';
import { allCases } from './cases/all.ts';
import { corpus } from './corpus/corpus.ts';
import { makeSmokeCorpus } from './corpus/smoke.ts';
import { judge } from './goals.ts';
import {
  completeImages,
  describeImages,
  fullSizes,
  type GivenImages,
  type Images,
  requireRaw,
  smokeSizes,
} from './images.ts';
import { commitOf, describeMachine } from './machine.ts';
import { timeTool } from './measure.ts';
import { nodeFlags, projectFolder, writeProgram } from './program.ts';
import { markdown, shortTable } from './report/markdown.ts';
import { betweenMarks } from './report/readme.ts';
import { svg } from './report/svg.ts';
import { Runner } from './runner.ts';
import { missingOptions, toolVersions } from './tools.ts';
import type { Case, CaseResult, Report, ToolVersion } from './types.ts';

export type BenchOptions = {
  /** One or two images of the user; none: the corpus. */
  images: readonly string[];
  rounds: number;
  /** Ids; absent: all. */
  cases?: readonly string[];
  /** Ids of peers; ours and the limits always take part. */
  peers?: readonly string[];
  smoke: boolean;
  kernels: boolean;
  markdown?: string;
  svg?: string;
  /** Write the report into the project's own pages. */
  readme: boolean;
  /** Folder for everything that is written; its file system is what is measured. */
  work: string;
  corpus: string;
  print(line: string): void;
  signal: AbortSignal;
};

export const roundsMax = 100;

/** Runs everything and writes the files asked for. */
export async function runBench(options: BenchOptions): Promise<Report> {
  const from = performance.now();
  await requireTime();
  const folder = await makeRunFolder(options.work);
  const machine = await describeMachine();
  try {
    const variables = await writeProgram(folder);
    const images = await imagesOf(options, folder);
    const cases = chosen(allCases(images), options);
    const needs = cases.flatMap(({ contenders }) => contenders.flatMap((item) => item.needs));
    const [tools, missing] = await lookFor(needs, variables.MANO!);
    const results: CaseResult[] = [];
    const runner = new Runner({
      ...options,
      folder,
      variables,
      missing,
      hasQemuImg: tools.some(({ name, version }) => name === 'qemu-img' && version !== undefined),
    });
    for (const item of cases) results.push(await runner.run(item));
    const kernels = options.kernels ? await runKernels(images) : undefined;
    const measured = { cases: results, ...(kernels !== undefined && { kernels }) };
    const report: Report = {
      version: 1,
      at: new Date().toISOString(),
      commit: await commitOf(projectFolder),
      smoke: options.smoke,
      rounds: options.rounds,
      seconds: Math.round((performance.now() - from) / 1000),
      machine,
      tools,
      images: await describeImages(images),
      goals: judge(measured),
      ...measured,
    };
    await writeFiles(report, options);
    return report;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A folder for this run; what a killed one left goes. */
async function makeRunFolder(work: string): Promise<string> {
  await mkdir(work, { recursive: true });
  for (const name of await readdir(work)) {
    const owner = /^run-(\d+)-/.exec(name)?.[1];
    if (owner === undefined || existsSync(`/proc/${owner}`)) continue;
    await rm(join(work, name), { recursive: true, force: true });
  }
  return await mkdtemp(join(work, `run-${process.pid}-`));
}

async function requireTime(): Promise<void> {
  const answer = await promisify(execFile)(timeTool, ['true']).catch(() => undefined);
  if (answer !== undefined) return;
  const text = `${timeTool} is missing: run ./mano setup --bench (Debian package "time")`;
  throw failedPrecondition('BENCH_TOOLS_MISSING', text, { missing: timeTool });
}

async function imagesOf(options: BenchOptions, folder: string): Promise<Images> {
  const { images, smoke } = options;
  if (images.length > 0) {
    const [first, next] = images.map((path) => resolve(path)) as [string, string?];
    for (const path of [first, next]) if (path !== undefined) await requireRaw(path);
    return await completeImages({ first, ...(next !== undefined && { next }) }, folder);
  }
  const given: GivenImages = smoke
    ? await makeSmokeCorpus(folder)
    : await corpus(options.corpus, options.print);
  return await completeImages(given, folder, smoke ? smokeSizes : fullSizes);
}

/** The cases and peers asked for. CASE_UNKNOWN, PEER_UNKNOWN (INVALID_ARGUMENT). */
export function chosen(
  all: readonly Case[],
  { cases, peers }: Pick<BenchOptions, 'cases' | 'peers'>,
): Case[] {
  const ids = all.map(({ id }) => id);
  const peerIds = new Set(all.flatMap(({ contenders }) => contenders.map(({ id }) => id)));
  refuseUnknown('CASE_UNKNOWN', 'case', cases, ids);
  refuseUnknown('PEER_UNKNOWN', 'peer', peers, [...peerIds]);
  return all
    .filter(({ id }) => cases?.includes(id) ?? true)
    .map((item) => ({
      ...item,
      contenders: item.contenders.filter(
        ({ id, isOurs, isLimit }) => isOurs || isLimit || (peers?.includes(id) ?? true),
      ),
    }));
}

function refuseUnknown(
  reason: string,
  noun: string,
  wanted: readonly string[] | undefined,
  known: readonly string[],
): void {
  const unknown = wanted?.find((id) => !known.includes(id));
  if (unknown === undefined) return;
  const text = `there is no ${noun} "${unknown}" here: ${known.join(', ')}`;
  throw invalidArgument(reason, text, { [noun]: unknown });
}

async function lookFor(
  needs: readonly string[],
  mano: string,
): Promise<[ToolVersion[], Map<string, string>]> {
  const names = [...new Set(needs)].filter((need) => !need.startsWith('mano '));
  const tools = await toolVersions(names.sort());
  const missing = [...tools, ...(await missingOptions(mano, needs))].flatMap(
    ({ name, missing: reason }): [string, string][] =>
      reason === undefined ? [] : [[name, reason]],
  );
  return [tools, new Map(missing)];
}

/** Output of the benchmark of the core's kernels, which is a program of its own. */
async function runKernels({ first, memory }: Images): Promise<unknown> {
  const program = join(import.meta.dirname, 'kernels.ts');
  const source = await readFile(program, 'utf8');
  // Only what this version of it knows.
  const more = memory !== undefined && /\bmemory:/.test(source) ? ['--memory', memory] : [];
  const args = [...nodeFlags, program, '--corpus', first, ...more, '--json'];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 1 << 24 });
  return JSON.parse(stdout.trim().split('\n').at(-1)!);
}

async function writeFiles(report: Report, options: BenchOptions): Promise<void> {
  if (options.markdown !== undefined) await writeFile(options.markdown, markdown(report));
  if (options.svg !== undefined) await writeFile(options.svg, svg(report));
  if (!options.readme) return;
  const readme = join(projectFolder, 'README.md');
  await writeFile(join(projectFolder, 'docs/benchmark.md'), markdown(report));
  await writeFile(join(projectFolder, 'docs/benchmark.svg'), svg(report));
  await writeFile(readme, betweenMarks(await readFile(readme, 'utf8'), shortTable(report)));
}
