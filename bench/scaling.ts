/**
 * How much two threads do when nothing but the processor is asked for: the bound of what a second worker can bring. Virtual
 * processors may share a core or a clock, and then it is less than 2.
 */
import { createHash } from 'node:crypto';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

const roundsOfScaling = 5;
const measuredMs = 400;

/** Blocks of 64 KiB, which stay in the cache, that this thread hashes in the time. */
function hashBlocks(): number {
  const block = Buffer.alloc(65536, 7);
  const start = performance.now();
  let blocks = 0;
  for (; performance.now() - start < measuredMs; blocks++) {
    createHash('sha256').update(block).digest();
  }
  return blocks;
}

async function together(threads: number): Promise<number> {
  const work = Array.from({ length: threads }, () => {
    const done = Promise.withResolvers<number>();
    const worker = new Worker(new URL(import.meta.url));
    worker.on('message', done.resolve);
    worker.on('error', done.reject);
    return done.promise;
  });
  return (await Promise.all(work)).reduce((sum, blocks) => sum + blocks, 0);
}

/** The work of two threads by that of one, the median of some rounds. */
export async function scalingOfTwoThreads(): Promise<number> {
  const ratios: number[] = [];
  for (let round = 0; round < roundsOfScaling; round++) {
    const one = await together(1);
    ratios.push((await together(2)) / one);
  }
  return ratios.sort((a, b) => a - b)[Math.floor(roundsOfScaling / 2)]!;
}

if (!isMainThread) parentPort!.postMessage(hashBlocks());
