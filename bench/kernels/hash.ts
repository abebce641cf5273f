// The hash kernel beside Node's SHA-256 and hash-wasm's BLAKE3, in fresh processes: how fast the
// code of one process is depends on chance (placement, order of compilation), so one says little.
import { execFileSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { createBLAKE3 } from 'hash-wasm';
import { blockSize } from '../../wasm/host/layout.ts';
import { blocksOf, coreWith, plainAt, slot } from './cases.ts';
import { type Case, type Figure, type Ratio, rate, Series, spread } from './measure.ts';

/** What one process measured: medians over its rounds. */
export type HashProcess = { figures: Figure[]; ratios: Ratio[] };

async function hashCases(corpus: Buffer): Promise<Case[]> {
  const { exports, scratch } = coreWith(corpus);
  const blocks = blocksOf(corpus);
  const other = await createBLAKE3();
  const all = (name: string, work: (i: number) => void): Case => ({
    group: 'hash',
    name,
    bytes: corpus.length,
    run: () => {
      for (let i = 0; i < blocks.length; i++) work(i);
    },
  });
  return [
    all('BLAKE3', (i) => {
      exports.hashSubtree(plainAt + i * blockSize, blockSize, 0, 1, slot.ids, scratch);
    }),
    all('node sha256', (i) => hash('sha256', blocks[i]!)),
    all('hash-wasm blake3', (i) => other.init().update(blocks[i]!).digest('binary')),
  ];
}

/** The work of one such process. */
export async function measureHashes(
  corpus: Buffer,
  { name, rounds, seconds }: { name: string; rounds: number; seconds: number },
): Promise<HashProcess> {
  const cases = await hashCases(corpus);
  const series = new Series(name);
  for (const one of cases) rate(one, seconds);
  for (let round = 0; round < rounds; round++) {
    for (const one of cases) series.add(one.group, one.name, rate(one, seconds));
  }
  return { figures: series.figures(), ratios: series.ratios() };
}

/** Runs `command` in that many processes, one after another: medians of their medians. */
export function hashesOverProcesses(command: string[], processes: number): HashProcess {
  const runs = Array.from({ length: processes }, () => {
    return JSON.parse(execFileSync(process.execPath, command).toString()) as HashProcess;
  });
  const over = <T extends { median: number }>(pick: (run: HashProcess) => T[]): T[] =>
    pick(runs[0]!).map((first, i) => {
      return { ...first, ...spread(runs.map((run) => pick(run)[i]!.median)) };
    });
  return { figures: over((run) => run.figures), ratios: over((run) => run.ratios) };
}
