// The core by itself: what of a package's time goes to the kernels and the reads, and nothing to anything else. Stores nothing.
// Usage: node bench/limit.ts pack|hash|compare IMAGE [OLDER] [--workers N]
//   pack: reads, hashes and compresses every block; hash: reads and hashes; compare: reads both images, hashes what differs.
import { parseArgs } from 'node:util';
import { openRaw } from '../plugins/repository/sources/raw.ts';
import { inOrder } from '../plugins/repository/store/in-order.ts';
import { runBlocksUsual, runsInFlightMax } from '../plugins/repository/store/limits.ts';
import { cutSteps, planSteps, type Step } from '../plugins/repository/store/read-plan.ts';
import { blockSize, CorePool, type EncodeRun, idSize } from '../wasm/host/core-pool.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { workers: { type: 'string' } },
});
const [mode, path, olderPath] = positionals;
if (path === undefined || !['pack', 'hash', 'compare'].includes(mode ?? '')) {
  throw new Error('usage: limit.ts pack|hash|compare IMAGE [OLDER] [--workers N]');
}
const image = await openRaw(path);
const older = olderPath === undefined ? undefined : await openRaw(olderPath);
const pool = await CorePool.open(values.workers ? { workers: Number(values.workers) } : {});

/** A run with ids that no block has, so that what is hashed is left and not compressed. */
function runOf({ first, count }: Step): EncodeRun {
  const offset = first * blockSize;
  const length = Math.min(count * blockSize, image.sizeBytes - offset);
  const run: EncodeRun = {
    blocks: count,
    extents: image.fileExtents!(offset, length)!,
    compress: true,
  };
  if (mode === 'pack') return run;
  const parentIds = new Uint8Array(count * idSize).fill(0xff);
  const before = older && { older: { extents: older.fileExtents!(offset, length)! } };
  return { ...run, ...before, parentIds, leaveChanged: true };
}

await inOrder(
  cutSteps(planSteps(image.extents(), image.sizeBytes), runBlocksUsual),
  runsInFlightMax,
  {
    start: async (step) => (step.kind === 'read' ? await pool.encode(runOf(step)) : undefined),
    finish: async (_step, run) => run?.release(),
    discard: (run) => run?.release(),
  },
);
await pool.close();
await image.close();
await older?.close();
