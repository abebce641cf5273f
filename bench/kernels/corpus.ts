// What the kernels are measured on: blocks of 64 KiB that are not zero.
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { blockSize } from '../../wasm/host/layout.ts';

const zeros = Buffer.alloc(blockSize);

/** Up to `mib` MiB of non-zero blocks, evenly spaced over the file, so that every part counts. */
export function imageBlocks(path: string, mib: number): Buffer {
  const fd = openSync(path, 'r');
  try {
    const block = Buffer.alloc(blockSize);
    const read = (index: number) => readSync(fd, block, 0, blockSize, index * blockSize);
    const used: number[] = [];
    const count = Math.floor(fstatSync(fd).size / blockSize);
    for (let i = 0; i < count; i++) {
      read(i);
      if (!block.equals(zeros)) used.push(i);
    }
    if (used.length === 0) throw new Error(`${path} has no block of 64 KiB that is not zero`);
    const taken = Math.min(used.length, (mib * 1024 * 1024) / blockSize);
    const blocks = Buffer.alloc(taken * blockSize);
    for (let i = 0; i < taken; i++) {
      read(used[Math.floor((i * used.length) / taken)]!);
      block.copy(blocks, i * blockSize);
    }
    return blocks;
  } finally {
    closeSync(fd);
  }
}

/** As much of the system's programs, libraries and texts: for a look without an image at hand. */
export function systemBlocks(mib: number): Buffer {
  const blocks: Buffer[] = [];
  for (const path of systemFiles()) {
    const bytes = readFileSync(path);
    for (let at = 0; at < bytes.length; at += blockSize) {
      if (blocks.length * blockSize >= mib * 1024 * 1024) return Buffer.concat(blocks);
      const block = Buffer.alloc(blockSize);
      bytes.copy(block, 0, at, Math.min(at + blockSize, bytes.length));
      if (!block.equals(zeros)) blocks.push(block);
    }
  }
  return Buffer.concat(blocks);
}

// Files directly in these folders, one of each in turn, so that programs, libraries and texts mix.
// (Walking down would follow links in circles.)
function systemFiles(): string[] {
  const texts = new URL('../../node_modules/typescript/lib', import.meta.url).pathname;
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
