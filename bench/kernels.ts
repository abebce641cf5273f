// Speed of the core's kernels beside other implementations, single-threaded, over blocks of 64 KiB.
// Usage: node bench/kernels.ts [--corpus FILE] [--mib N] [--rounds N] [--json]
import { execFileSync } from 'node:child_process';
import { hash as nodeHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createBLAKE3 } from 'hash-wasm';
import { compress as otherCompress, decompress as otherDecompress } from 'lz4-wasm/lz4_wasm.js';
import { blockSize, memoryPages, pageSize, runBlocksMax, slotAt } from '../wasm/host/layout.ts';
import { coreModule, instantiate } from '../wasm/host/load.ts';

const { values: options } = parseArgs({
  options: {
    corpus: { type: 'string' },
    mib: { type: 'string', default: '48' },
    rounds: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
  },
});

/** `bytes`: plain bytes that a call of `run` works on. */
type Case = { name: string; group: string; bytes?: number; run(): void };
type Figure = { name: string; group: string; median: number; min: number; max: number };

/** Non-zero blocks of a file, or of the system's programs and libraries when none is given. */
function readCorpus(bytesMax: number): Buffer {
  const paths = options.corpus ? [options.corpus] : systemFiles();
  const blocks: Buffer[] = [];
  for (const path of paths) {
    const bytes = readFileSync(path);
    for (let at = 0; at < bytes.length; at += blockSize) {
      if (blocks.length * blockSize >= bytesMax) return Buffer.concat(blocks);
      const block = Buffer.alloc(blockSize);
      bytes.copy(block, 0, at, Math.min(at + blockSize, bytes.length));
      if (block.some((byte) => byte !== 0)) blocks.push(block);
    }
  }
  return Buffer.concat(blocks);
}

// Files directly in these folders, one of each in turn, so that programs, libraries and texts mix.
// (Walking down would follow links in circles.)
function systemFiles(): string[] {
  const texts = new URL('../node_modules/typescript/lib', import.meta.url).pathname;
  const lists = [
    '/usr/bin',
    `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`,
    texts,
  ].map((folder) =>
    readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(folder, entry.name))
      .sort(),
  );
  const longest = Math.max(...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, i) => lists.flatMap((list) => list[i] ?? [])).flat();
}

const corpus = readCorpus(Number(options.mib) * 1024 * 1024);
const count = corpus.length / blockSize;
if (count === 0) throw new Error('the corpus has no block that is not zero');

const pages = memoryPages(1, 1) + (corpus.length * 3) / pageSize + 1;
const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
const core = instantiate(coreModule(), memory, 0);
const slot = slotAt(0, 1);
const plainAt = memoryPages(1, 1) * pageSize;
const copyAt = plainAt + corpus.length;
const packedAt = copyAt + corpus.length;
core.bytes.set(corpus, plainAt);
core.bytes.set(corpus, copyAt);

const blocks = Array.from({ length: count }, (_, i) =>
  Buffer.from(corpus.subarray(i * blockSize, (i + 1) * blockSize)),
);
const blockCopies = blocks.map((block) => Buffer.from(block));
const otherPacked = blocks.map((block) => otherCompress(block));
const hashWasm = await createBLAKE3();

// Our compressed blocks, one after another at `packedAt`; a block that did not shrink is left out.
const packed: { at: number; length: number }[] = [];
let packedBytes = 0;
for (let i = 0, at = packedAt; i < count; i++) {
  const length = core.exports.compress(
    plainAt + i * blockSize,
    blockSize,
    slot.output,
    core.scratch,
  );
  packedBytes += Math.min(length, blockSize);
  if (length >= blockSize) continue;
  core.bytes.copyWithin(at, slot.output, slot.output + length);
  packed.push({ at, length });
  at += length;
}

function eachBlock(work: (at: number, i: number) => void): () => void {
  return () => {
    for (let i = 0; i < count; i++) work(plainAt + i * blockSize, i);
  };
}

const cases: Case[] = [
  {
    name: 'isEqual',
    group: 'compare',
    run: eachBlock((at) => core.exports.isEqual(at, at + corpus.length, blockSize)),
  },
  {
    name: 'Buffer.compare',
    group: 'compare',
    run: eachBlock((_, i) => blocks[i]!.equals(blockCopies[i]!)),
  },
  {
    name: 'BLAKE3',
    group: 'hash',
    run: eachBlock((at) => core.exports.hashSubtree(at, blockSize, 0, 1, slot.ids, core.scratch)),
  },
  { name: 'node sha256', group: 'hash', run: eachBlock((_, i) => nodeHash('sha256', blocks[i]!)) },
  {
    name: 'hash-wasm blake3',
    group: 'hash',
    run: eachBlock((_, i) => hashWasm.init().update(blocks[i]!).digest('binary')),
  },
  {
    name: 'LZ4 compress',
    group: 'compress',
    run: eachBlock((at) => core.exports.compress(at, blockSize, slot.output, core.scratch)),
  },
  {
    name: 'lz4-wasm compress',
    group: 'compress',
    run: eachBlock((_, i) => otherCompress(blocks[i]!)),
  },
  {
    name: 'LZ4 decompress',
    group: 'decompress',
    bytes: packed.length * blockSize,
    run: () => {
      for (const { at, length } of packed) {
        core.exports.decompress(at, length, slot.output, blockSize);
      }
    },
  },
  {
    name: 'lz4-wasm decompress',
    group: 'decompress',
    run: eachBlock((_, i) => otherDecompress(otherPacked[i]!)),
  },
  {
    name: 'encodeRun (zero test, hash, compress)',
    group: 'run',
    run: () => {
      for (let i = 0; i < count; i += runBlocksMax) {
        const { output, kinds, ids, offsets, lengths } = slot;
        const from = plainAt + i * blockSize;
        const run = Math.min(runBlocksMax, count - i);
        core.exports.encodeRun(from, run, 0, 1, output, kinds, ids, offsets, lengths, core.scratch);
      }
    },
  },
];

function summary(name: string, group: string, rates: number[]): Figure {
  const sorted = rates.toSorted((a, b) => a - b);
  return { name, group, median: sorted[sorted.length >> 1]!, min: sorted[0]!, max: sorted.at(-1)! };
}

// The command prints "… 12345 -> 6789 (1.818), 650.1 MB/s, 2900.2 MB/s" for its last round.
function nativeLz4(rounds: number): Figure[] {
  const folder = mkdtempSync(join(tmpdir(), 'micromano-bench-'));
  try {
    const path = join(folder, 'corpus');
    writeFileSync(path, corpus);
    const rates: [number, number][] = [];
    for (let i = 0; i < rounds; i++) {
      const text = execFileSync('sh', ['-c', 'exec lz4 -b1 -B4 -i1 "$1" 2>&1', 'sh', path]);
      const found = [...text.toString().matchAll(/([\d.]+) MB\/s/g)].slice(-2);
      rates.push([Number(found[0]?.[1]), Number(found[1]?.[1])]);
    }
    return [
      summary(
        'native lz4 -b1 -B4 compress',
        'compress',
        rates.map(([rate]) => rate),
      ),
      summary(
        'native lz4 -b1 -B4 decompress',
        'decompress',
        rates.map(([, rate]) => rate),
      ),
    ];
  } catch (error) {
    console.error(`native lz4 is left out: ${error instanceof Error ? error.message : error}`);
    return [];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const rounds = Number(options.rounds);
const rates = new Map(cases.map(({ name }) => [name, [] as number[]]));
// Round 0 only warms up: the first calls run before the compiler has optimised them.
for (let round = 0; round <= rounds; round++) {
  for (const { name, run, bytes = corpus.length } of cases) {
    const from = performance.now();
    run();
    const seconds = (performance.now() - from) / 1000;
    if (round > 0) rates.get(name)!.push(bytes / 1e6 / seconds);
  }
}
const figures = cases.map(({ name, group }) => summary(name, group, rates.get(name)!));
figures.push(...nativeLz4(Math.min(rounds, 3)));
const about = {
  machine: `${cpus()[0]?.model}, ${cpus().length} processors`,
  node: process.version,
  corpus: options.corpus ?? 'system files',
  megabytes: corpus.length / 1e6,
  packedRatio: packedBytes / corpus.length,
};
if (options.json) console.log(JSON.stringify({ ...about, unit: 'MB/s', figures }));
else {
  console.log(
    Object.entries(about)
      .map(([key, value]) => `${key}: ${value}`)
      .join('\n'),
  );
  const groups = [...new Set(figures.map(({ group }) => group))];
  const sorted = groups.flatMap((group) => figures.filter((figure) => figure.group === group));
  for (const { name, median, min, max } of sorted) {
    const rate = median.toFixed(0).padStart(7);
    console.log(`${name.padEnd(38)} ${rate} MB/s  [${min.toFixed(0)} to ${max.toFixed(0)}]`);
  }
}
