// Speed of the core's kernels beside other implementations, single-threaded, over blocks of 64 KiB.
// Usage: node bench/kernels.ts [--corpus DISK] [--memory IMAGE] [--mib N] [--rounds N]
//        [--processes N] [--seconds S] [--json]
//   --corpus     a raw disk image (else the system's own files); --memory: a guest's RAM as a file,
//                such as bench/kernels/memory-image.ts makes. N MiB of non-zero blocks of each.
//   --rounds     every round measures every case once, the native lz4 too: ratios are paired.
//   --processes  fresh processes for the hash.
// --json prints one line:
//   {machine, node, lz4 (its version, or null: not there), rounds, processes, unit: "MB/s",
//    corpora: [{name, source, megabytes, packedRatio, sizeToNative (1 is equal; or null)}],
//    figures: [{corpus, group, name, median, min, max}],
//    ratios:  [{corpus, group, ours, peer, median, min, max}]}   above 1: ours is faster
// corpus is "disk" or "memory"; group is compress, decompress, compare, run or hash (disk only).
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { kernelCases } from './kernels/cases.ts';
import { imageBlocks, systemBlocks } from './kernels/corpus.ts';
import { hashesOverProcesses, measureHashes } from './kernels/hash.ts';
import { type Figure, type Ratio, rate, Series } from './kernels/measure.ts';
import { NativeLz4 } from './kernels/native-lz4.ts';

const { values: options } = parseArgs({
  options: {
    corpus: { type: 'string' },
    memory: { type: 'string' },
    mib: { type: 'string', default: '16' },
    rounds: { type: 'string', default: '5' },
    processes: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '0.5' },
    json: { type: 'boolean', default: false },
    // Of ourselves: a process that only hashes this file of blocks.
    'hash-blocks': { type: 'string' },
  },
});

function positive(name: 'mib' | 'rounds' | 'processes' | 'seconds', isWhole = true): number {
  const value = Number(options[name]);
  if (value > 0 && value <= 1000 && (!isWhole || Number.isInteger(value))) return value;
  throw new Error(`--${name} is ${options[name]}: must be a number above 0 and up to 1000`);
}

// Its 256 MiB of memory hold a corpus three times.
const mib = Math.min(positive('mib'), 64);
const rounds = positive('rounds');
const processes = positive('processes');
const seconds = positive('seconds', false);

type Corpus = { name: string; source: string; blocks: Buffer; path: string };
type About = { name: string; source: string; megabytes: number } & Sizes;
type Sizes = { packedRatio: number; sizeToNative: number | null };
type Result = { corpora: About[]; figures: Figure[]; ratios: Ratio[]; lz4: string | null };

function findNative(path: string): NativeLz4 | undefined {
  try {
    return new NativeLz4(path);
  } catch (error) {
    console.error(`native lz4 is left out: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

function measureCorpus({ name, source, blocks, path }: Corpus): Result {
  const { cases, packedBytes } = kernelCases(blocks);
  const native = findNative(path);
  const series = new Series(name);
  let nativeBytes = 0;
  // The first calls run before the compiler has optimised them.
  for (const one of cases) rate(one, seconds);
  for (let round = 0; round < rounds; round++) {
    for (const one of cases) series.add(one.group, one.name, rate(one, seconds));
    const others = native?.round();
    if (!others) continue;
    nativeBytes = others.packedBytes;
    series.add('compress', 'native lz4 -b1 -B4', others.compress);
    series.add('decompress', 'native lz4 -b1 -B4', others.decompress);
  }
  const sizeToNative = nativeBytes ? packedBytes / nativeBytes : null;
  const sizes = { packedRatio: packedBytes / blocks.length, sizeToNative };
  return {
    corpora: [{ name, source, megabytes: blocks.length / 1e6, ...sizes }],
    figures: series.figures(),
    ratios: series.ratios(),
    lz4: native?.version ?? null,
  };
}

function hashResult(path: string): Pick<Result, 'figures' | 'ratios'> {
  const own = new URL(import.meta.url).pathname;
  const numbers = ['--rounds', String(rounds), '--seconds', String(seconds)];
  return hashesOverProcesses([own, '--hash-blocks', path, ...numbers], processes);
}

function measureAll(folder: string): Result {
  const sources: [string, string | undefined][] = [['disk', options.corpus]];
  if (options.memory) sources.push(['memory', options.memory]);
  const results = sources.map(([name, source]) => {
    const blocks = source ? imageBlocks(source, mib) : systemBlocks(mib);
    const path = join(folder, name);
    writeFileSync(path, blocks);
    return measureCorpus({ name, source: source ?? 'system files', blocks, path });
  });
  const hashes = hashResult(join(folder, 'disk'));
  return {
    corpora: results.flatMap((result) => result.corpora),
    figures: [...results.flatMap((result) => result.figures), ...hashes.figures],
    ratios: [...results.flatMap((result) => result.ratios), ...hashes.ratios],
    lz4: results[0]!.lz4,
  };
}

function print(about: object, { corpora, figures, ratios }: Result): void {
  for (const [key, value] of Object.entries(about)) console.log(`${key}: ${value}`);
  for (const corpus of corpora) console.log(JSON.stringify(corpus));
  const range = (min: number, max: number, digits: number) =>
    `[${min.toFixed(digits)} to ${max.toFixed(digits)}]`;
  for (const { corpus, group, name, median, min, max } of figures) {
    const speed = `${median.toFixed(0).padStart(7)} MB/s  ${range(min, max, 0)}`;
    console.log(`${corpus.padEnd(7)}${`${group}: ${name}`.padEnd(32)}${speed}`);
  }
  for (const { corpus, group, ours, peer, median, min, max } of ratios) {
    const times = `${median.toFixed(2).padStart(7)} x     ${range(min, max, 2)}`;
    console.log(`${corpus.padEnd(7)}${`${group}: ${ours} to ${peer}`.padEnd(42)}${times}`);
  }
}

const hashBlocks = options['hash-blocks'];
if (hashBlocks) {
  const run = await measureHashes(readFileSync(hashBlocks), { name: 'disk', rounds, seconds });
  console.log(JSON.stringify(run));
} else {
  const folder = mkdtempSync(join(tmpdir(), 'micromano-bench-'));
  try {
    const result = measureAll(folder);
    const machine = `${cpus()[0]?.model}, ${cpus().length} processors`;
    const about = { machine, node: process.version, lz4: result.lz4, rounds, processes };
    if (options.json) console.log(JSON.stringify({ ...about, unit: 'MB/s', ...result }));
    else print(about, result);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
