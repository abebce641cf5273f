// The kernels and their JavaScript and WebAssembly peers over one corpus, single-threaded.
import { compress as otherCompress, decompress as otherDecompress } from 'lz4-wasm/lz4_wasm.js';
import { blockSize, memoryPages, pageSize, runBlocksMax, slotAt } from '../../wasm/host/layout.ts';
import { type Core, coreModule, instantiate } from '../../wasm/host/load.ts';
import type { Case } from './measure.ts';

export const slot = slotAt(0, 1);
/** Where the corpus lies. */
export const plainAt = memoryPages(1, 1) * pageSize;

/** An instance whose memory holds the corpus at `plainAt`, with twice as much room behind it. */
export function coreWith(corpus: Buffer): Core {
  const pages = memoryPages(1, 1) + (corpus.length * 3) / pageSize + 1;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const core = instantiate(coreModule(), memory, 0);
  core.bytes.set(corpus, plainAt);
  core.bytes.set(corpus, plainAt + corpus.length);
  return core;
}

/** Compresses all blocks to behind the corpus; those that do not shrink are left out. */
function packAll(core: Core, corpus: Buffer) {
  const packed: { at: number; length: number }[] = [];
  let bytes = 0;
  let at = plainAt + corpus.length * 2;
  for (let i = 0; i < corpus.length; i += blockSize) {
    const length = core.exports.compress(plainAt + i, blockSize, slot.output, core.scratch);
    bytes += Math.min(length, blockSize);
    if (length >= blockSize) continue;
    core.bytes.copyWithin(at, slot.output, slot.output + length);
    packed.push({ at, length });
    at += length;
  }
  return { packed, bytes };
}

export function blocksOf(corpus: Buffer): Buffer[] {
  return Array.from({ length: corpus.length / blockSize }, (_, i) =>
    Buffer.from(corpus.subarray(i * blockSize, (i + 1) * blockSize)),
  );
}

/** In each group ours comes first. `packedBytes`: what our blocks take, raw ones included. */
export function kernelCases(corpus: Buffer): { cases: Case[]; packedBytes: number } {
  const core = coreWith(corpus);
  const { packed, bytes: packedBytes } = packAll(core, corpus);
  const { output, kinds, ids, offsets, lengths } = slot;
  const { exports, scratch } = core;
  const all = (group: string, name: string, work: (at: number) => void): Case => ({
    group,
    name,
    bytes: corpus.length,
    run: () => {
      for (let at = 0; at < corpus.length; at += blockSize) work(plainAt + at);
    },
  });
  const encodeRuns = () => {
    for (let at = 0; at < corpus.length; at += runBlocksMax * blockSize) {
      const count = Math.min(runBlocksMax, (corpus.length - at) / blockSize);
      const from = plainAt + at;
      exports.encodeRun(from, count, 0, 1, 0, output, kinds, ids, offsets, lengths, scratch);
    }
  };
  const decompressAll = () => {
    for (const { at, length } of packed) exports.decompress(at, length, output, blockSize);
  };
  const cases = [
    all('compress', 'LZ4', (at) => exports.compress(at, blockSize, output, scratch)),
    { group: 'decompress', name: 'LZ4', bytes: packed.length * blockSize, run: decompressAll },
    all('compare', 'isEqual', (at) => exports.isEqual(at, at + corpus.length, blockSize)),
    { group: 'run', name: 'encodeRun', bytes: corpus.length, run: encodeRuns },
    ...peerCases(corpus),
  ];
  return { cases, packedBytes };
}

function peerCases(corpus: Buffer): Case[] {
  const blocks = blocksOf(corpus);
  const copies = blocksOf(corpus);
  const packed = blocks.map((block) => otherCompress(block));
  const all = (group: string, name: string, work: (i: number) => void): Case => ({
    group,
    name,
    bytes: corpus.length,
    run: () => {
      for (let i = 0; i < blocks.length; i++) work(i);
    },
  });
  return [
    all('compress', 'lz4-wasm', (i) => otherCompress(blocks[i]!)),
    all('decompress', 'lz4-wasm', (i) => otherDecompress(packed[i]!)),
    all('compare', 'Buffer.equals', (i) => blocks[i]!.equals(copies[i]!)),
  ];
}
