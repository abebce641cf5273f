// BLAKE3 over chunks and their tree. A subtree here is at most 64 chunks (64 KiB) long, which is
// one block.
import { compress4, compressScratchSize, startChaining, storeChaining } from './blake3-compress';

const chunkSize: u32 = 1024;
const chunkStart: u32 = 1;
const chunkEnd: u32 = 2;
const parent: u32 = 4;
const root: u32 = 8;

// Hashes four whole chunks that follow one another into four chaining values.
function fourChunks(input: usize, counter: u32, target: usize, scratch: usize): void {
  startChaining(scratch);
  compress4(scratch, input, chunkSize, counter, 1, 64, chunkStart);
  for (let at: u32 = 64; at < chunkSize - 64; at += 64) {
    compress4(scratch, input + at, chunkSize, counter, 1, 64, 0);
  }
  compress4(scratch, input + chunkSize - 64, chunkSize, counter, 1, 64, chunkEnd);
  storeChaining(scratch, target);
}

// Hashes one chunk of 0 to 1024 bytes in all four lanes alike and stores one chaining value. Only
// the last three chunks of a short input come here, so the wasted lanes do not matter.
function oneChunk(
  input: usize, length: u32, counter: u32, flags: u32, target: usize, scratch: usize,
): void {
  const values = scratch + compressScratchSize;
  const lastBlock = values + 128;
  let start = chunkStart;
  startChaining(scratch);
  while (length > 64) {
    compress4(scratch, input, 0, counter, 0, 64, start);
    start = 0;
    input += 64;
    length -= 64;
  }
  memory.fill(lastBlock, 0, 64);
  memory.copy(lastBlock, input, length);
  compress4(scratch, lastBlock, 0, counter, 0, length, start | chunkEnd | flags);
  storeChaining(scratch, values);
  memory.copy(target, values, 32);
}

// Merges the `count` chaining values at `values` level by level in place until one is left. A value
// without a partner moves up unchanged, which gives exactly BLAKE3's left-heavy tree.
function merge(values: usize, count: u32, flags: u32, scratch: usize): void {
  while (count > 1) {
    const pairs = count >> 1;
    const last = values + (count - 1) * 32;
    const odd = v128.load(last), oddHigh = v128.load(last, 16);
    const levelFlags = parent | (count == 2 ? flags : 0);
    // Past the last pair the lanes hash left-over bytes; nobody reads their results.
    for (let pair: u32 = 0; pair < pairs; pair += 4) {
      startChaining(scratch);
      compress4(scratch, values + pair * 64, 64, 0, 0, 64, levelFlags);
      storeChaining(scratch, values + pair * 32);
    }
    if (count & 1) {
      v128.store(values + pairs * 32, odd);
      v128.store(values + pairs * 32, oddHigh, 16);
    }
    count = pairs + (count & 1);
  }
}

// Bytes from `scratch` to the chaining values of a subtree (at most 64, and room for unused lanes).
const valuesOffset: usize = 1024;
/** Bytes that hashing needs at `scratch`. */
export const hashScratchSize: u32 = 1024 + (64 + 8) * 32;

/**
 * Hashes `length` bytes (0 to 65536) whose first chunk is number `counter` in the whole input, into
 * 32 bytes at `target`. With `isRoot` they are the digest of a whole input, else the chaining value
 * of a subtree.
 */
export function hashSubtree(
  input: usize, length: u32, counter: u32, isRoot: bool, target: usize, scratch: usize,
): void {
  const rootFlag = isRoot ? root : 0;
  const work = scratch + valuesOffset;
  if (length <= chunkSize) {
    oneChunk(input, length, counter, rootFlag, target, scratch);
    return;
  }
  let chunks: u32 = 0;
  while (length >= 4 * chunkSize) {
    fourChunks(input, counter + chunks, work + chunks * 32, scratch);
    input += 4 * chunkSize;
    length -= 4 * chunkSize;
    chunks += 4;
  }
  while (length > 0) {
    const size = min(length, chunkSize);
    oneChunk(input, size, counter + chunks, 0, work + chunks * 32, scratch);
    input += size;
    length -= size;
    chunks += 1;
  }
  merge(work, chunks, rootFlag, scratch);
  memory.copy(target, work, 32);
}

/** Merges two chaining values (64 bytes at `pair`) into 32 bytes at `target`. */
export function hashParent(pair: usize, isRoot: bool, target: usize, scratch: usize): void {
  const work = scratch + valuesOffset;
  memory.copy(work, pair, 64);
  merge(work, 2, isRoot ? root : 0, scratch);
  memory.copy(target, work, 32);
}
