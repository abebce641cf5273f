/**
 * Increments with a changed-block map in a warm service: one store and one pool stay open while disks of different
 * sizes are packed again and again. Prints one line of JSON: per disk the medians of wall and CPU time with 64 MiB changed
 * and with nothing changed, and the ratio of the largest disk to the smallest in the same round.
 * `node bench/warm-map.ts [ROUNDS] [GIB,GIB,…]`.
 */
import { randomFillSync } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSource } from '../plugins/repository/sources/open-source.ts';
import { type ByteRange, Store } from '../plugins/repository/store/store.ts';
import { CorePool } from '../wasm/host/core-pool.ts';

const mib = 2 ** 20;
const gib = 2 ** 30;
const changedRuns = 64;

type Cost = { ms: number; cpuMs: number };
type Disk = { gib: number; path: string; packageId: string };

const rounds = Number(process.argv[2] ?? 5);
const sizes = (process.argv[3] ?? '4,64').split(',').map(Number);
const folder = await mkdtemp(join(tmpdir(), 'warm-map-'));
const pool = await CorePool.open();
const store = await Store.open(join(folder, 'store'), { pool, create: true });
try {
  const disks: Disk[] = [];
  for (const size of sizes) disks.push(await firstPackage(size));
  const changed = disks.map(() => [] as Cost[]);
  const unchanged = disks.map(() => [] as Cost[]);
  // The first round warms up and does not count.
  for (let round = 0; round <= rounds; round++) {
    for (const [index, disk] of disks.entries()) {
      const ranges = change(disk);
      const one = await increment(disk, ranges, `${disk.gib}-${round}-changed`);
      const none = await increment(disk, [], `${disk.gib}-${round}-same`);
      if (round === 0) continue;
      changed[index]!.push(one);
      unchanged[index]!.push(none);
    }
  }
  const ratios = changed.at(-1)!.map(({ ms }, round) => ms / changed[0]![round]!.ms);
  const report = {
    rounds,
    disks: disks.map((disk, index) => {
      const medians = { changed: costOf(changed[index]!), noChange: costOf(unchanged[index]!) };
      return { gib: disk.gib, ...medians };
    }),
    largestOverSmallest: median(ratios),
  };
  process.stdout.write(`${JSON.stringify(report)}\n`);
} finally {
  await store.close();
  await pool.close();
  await rm(folder, { recursive: true });
}

/** A sparse disk with data under every page of its tree, packed once. */
async function firstPackage(size: number): Promise<Disk> {
  const path = join(folder, `${size}.img`);
  const fd = openSync(path, 'w');
  ftruncateSync(fd, size * gib);
  for (let at = 0; at < size * gib; at += 8 * mib) writeSync(fd, `data at ${at}`, at);
  closeSync(fd);
  const disk = { gib: size, path, packageId: `${size}-first` };
  await pack(disk, undefined, disk.packageId);
  return disk;
}

/** Writes 64 MiB of half-random bytes, spread over the disk, and says where. */
function change({ path, gib: size }: Disk): ByteRange[] {
  const fd = openSync(path, 'r+');
  const bytes = Buffer.alloc(mib);
  const ranges: ByteRange[] = [];
  for (let run = 0; run < changedRuns; run++) {
    for (let at = 0; at < mib; at += 4096) randomFillSync(bytes, at, 2048);
    const start = Math.floor((run * size * gib) / changedRuns / mib) * mib;
    writeSync(fd, bytes, 0, mib, start);
    ranges.push({ start, length: mib });
  }
  closeSync(fd);
  return ranges;
}

async function increment(disk: Disk, ranges: ByteRange[], id: string): Promise<Cost> {
  const startMs = performance.now();
  const startCpu = process.cpuUsage();
  await pack(disk, ranges, id);
  const { user, system } = process.cpuUsage(startCpu);
  return { ms: performance.now() - startMs, cpuMs: (user + system) / 1000 };
}

async function pack(disk: Disk, changed: ByteRange[] | undefined, packageId: string) {
  const { source } = await openSource(disk.path, { format: 'raw' });
  try {
    const parent = changed && { parent: disk.packageId };
    const input = { name: 'disk', source, ...(changed && { changed }) };
    const { images } = await store.pack([input], { packageId, ...parent });
    const { mapSource, mapReason } = images[0]!;
    if (changed && mapSource !== 'map') throw new Error(`${packageId}: ${mapReason}`);
    disk.packageId = packageId;
  } finally {
    await source.close();
  }
}

function costOf(costs: readonly Cost[]): Cost {
  return { ms: median(costs.map(({ ms }) => ms)), cpuMs: median(costs.map((cost) => cost.cpuMs)) };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return Math.round(sorted[Math.floor(sorted.length / 2)]! * 100) / 100;
}
