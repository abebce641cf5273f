/**
 * Hundreds of VNF instances on the embedded driver, with snapshots, packages, reversions and
 * deletions at the same time: `npm run load -- [--vnfs 240] [--minutes 3] [--workers 32] [--seed 1]`.
 * Prints what came of it as JSON; exit code 1 when an operation was lost, stuck or failed, or when
 * something is not as it should be at the end.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { create, fromJsonString } from '@bufbuild/protobuf';
import { Site } from '../../app/demo/site.ts';
import {
  type LifecycleOperationOccurrence,
  OperationState,
  OperationType,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { OperationOccurrenceService } from '../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { RepositoryService } from '../../gen/nfv/repository/v1/repository_pb.js';
import { VnfLcmService } from '../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { VnfSnapshotPackageService } from '../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { ConsistencyPolicy, type Vnfd, VnfdSchema } from '../../gen/nfv/vnfd/v1/vnfd_pb.js';

const { values } = parseArgs({
  options: {
    vnfs: { type: 'string', default: '240' },
    minutes: { type: 'string', default: '3' },
    workers: { type: 'string', default: '32' },
    seed: { type: 'string', default: '1' },
  },
});
const [vnfCount, minutes, workerCount] = [values.vnfs, values.minutes, values.workers].map(Number);
/** An operation that takes longer is stuck. */
const stuckMs = 120_000;
/** Snapshots of one VNF that are kept. */
const snapshotsKept = 2;

type Vnf = {
  id: string;
  snapshots: string[];
  packages: string[];
  done: number;
  busy: boolean;
  lastMs: number;
};

let state = Number(values.seed) >>> 0;
/** A number from 0 to below 1; the same ones for the same seed (mulberry32). */
function random(): number {
  state = (state + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
}

/** The demo's descriptor, with its gateway alone. */
async function descriptor(): Promise<Vnfd> {
  const path = join(import.meta.dirname, '../../app/demo/vnfd-wasmvm.json');
  const vnfd = fromJsonString(VnfdSchema, await readFile(path, 'utf8'));
  vnfd.vdu = vnfd.vdu.filter(({ vduId }) => vduId === 'gateway');
  vnfd.virtualStorageDesc = vnfd.virtualStorageDesc.filter(({ id }) => id === 'gateway-data');
  vnfd.snapshotDescriptor!.createOrder = [];
  vnfd.snapshotDescriptor!.revertOrder = [];
  return create(VnfdSchema, vnfd);
}

class Load {
  readonly site: Site;
  readonly vnfs: Vnf[] = [];
  readonly tookMs = new Map<string, number[]>();
  readonly failed = new Map<string, number>();
  stuck = 0;
  started = 0;
  /** The peak of each half minute. */
  readonly peaksMib: number[] = [];
  #startMs = performance.now();

  constructor(site: Site) {
    this.site = site;
  }

  get lcm() {
    return this.site.client(VnfLcmService, 'em');
  }

  get packages() {
    return this.site.client(VnfSnapshotPackageService, 'oss');
  }

  /** Follows an operation that was just started. */
  async follow(id: string): Promise<LifecycleOperationOccurrence | undefined> {
    const startMs = performance.now();
    this.started++;
    const operations = this.site.client(OperationOccurrenceService, 'em');
    let last: LifecycleOperationOccurrence | undefined;
    try {
      const signal = AbortSignal.timeout(stuckMs);
      const request = { lifecycleOperationOccurrenceId: id };
      for await (const { occurrence } of operations.watchLifecycleOperationOccurrence(request, {
        signal,
      })) {
        last = occurrence;
      }
    } catch (error) {
      this.stuck++;
      process.stderr.write(`stuck: ${id}: ${(error as Error).message}\n`);
      return undefined;
    }
    const kind = OperationType[last!.operation]!;
    if (last!.operationState !== OperationState.COMPLETED) {
      const why = `${kind} ${OperationState[last!.operationState]} ${last!.error?.reason}`;
      this.failed.set(why, (this.failed.get(why) ?? 0) + 1);
      return undefined;
    }
    this.tookMs.set(kind, [...(this.tookMs.get(kind) ?? []), performance.now() - startMs]);
    return last;
  }

  async instantiate(vnfd: Vnfd): Promise<void> {
    const { vnfInstance } = await this.lcm.createVnfIdentifier({ vnfd });
    const { id } = vnfInstance!;
    const started = await this.lcm.instantiateVnf({ vnfInstanceId: id });
    await this.follow(started.lifecycleOperationOccurrenceId);
    const vnf = { id, snapshots: [], packages: [], done: 0, busy: false, lastMs: 0 };
    this.vnfs.push(vnf);
  }

  /** Does something with the VNF that has waited longest. */
  async turn(): Promise<void> {
    const free = this.vnfs.filter(({ busy }) => !busy).sort((a, b) => a.lastMs - b.lastMs);
    const vnf = free[0];
    if (vnf === undefined) return;
    vnf.busy = true;
    try {
      await this.one(vnf);
      vnf.done++;
    } finally {
      vnf.lastMs = performance.now();
      vnf.busy = false;
    }
  }

  async one(vnf: Vnf): Promise<void> {
    const dice = random();
    const newest = vnf.snapshots.at(-1);
    if (newest === undefined || dice < 0.4) return this.snapshot(vnf);
    if (vnf.snapshots.length > snapshotsKept) {
      const { lifecycleOperationOccurrenceId } = await this.lcm.deleteVnfSnapshotInfo({
        vnfSnapshotInfoId: vnf.snapshots[0]!,
      });
      if (await this.follow(lifecycleOperationOccurrenceId)) vnf.snapshots.shift();
    } else if (vnf.packages.length > 1) {
      const { lifecycleOperationOccurrenceId } = await this.packages.deleteVnfSnapshotPackage({
        vnfSnapshotPkgId: vnf.packages[0]!,
      });
      if (await this.follow(lifecycleOperationOccurrenceId)) vnf.packages.shift();
    } else if (dice < 0.7) {
      const made = await this.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId: newest });
      if (await this.follow(made.lifecycleOperationOccurrenceId)) {
        vnf.packages.push(made.vnfSnapshotPkgId);
      }
    } else {
      const reverted = await this.lcm.revertToVnfSnapshot({
        ...{ vnfInstanceId: vnf.id, vnfSnapshotInfoId: newest },
      });
      await this.follow(reverted.lifecycleOperationOccurrenceId);
    }
  }

  async snapshot(vnf: Vnf): Promise<void> {
    const taken = await this.lcm.createVnfSnapshot({
      // Nobody answers for so many VNFs: they are held together without their word.
      ...{ vnfInstanceId: vnf.id, consistency: ConsistencyPolicy.PREFERRED },
    });
    if (await this.follow(taken.lifecycleOperationOccurrenceId)) {
      vnf.snapshots.push(taken.vnfSnapshotInfoId);
    }
  }

  /** The memory of the whole system: one process. */
  async sample(): Promise<void> {
    const status = await readFile(`/proc/${this.site.pid}/status`, 'utf8');
    const kib = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0);
    const half = Math.floor((performance.now() - this.#startMs) / 30_000);
    this.peaksMib[half] = Math.max(this.peaksMib[half] ?? 0, Math.round(kib / 1024));
  }

  /** What is wrong when all is quiet. */
  async faults(): Promise<string[]> {
    const found: string[] = [];
    const expected = this.vnfs.flatMap(({ snapshots }) => snapshots).sort();
    const snapshots = await all(async (page) => {
      const { vnfSnapshotInfos, nextPageToken } = await this.lcm.queryVnfSnapshotInfo(page);
      return { items: vnfSnapshotInfos.map(({ id }) => id), nextPageToken };
    });
    if (`${snapshots.sort()}` !== `${expected}`) found.push('the snapshots are not those reported');
    const packages = await all(async (page) => {
      const listed = await this.packages.queryVnfSnapshotPackageInfo(page);
      const items = listed.vnfSnapshotPkgInfos.map(({ id }) => id);
      return { items, nextPageToken: listed.nextPageToken };
    });
    const stored = this.vnfs.flatMap((vnf) => vnf.packages).sort();
    if (`${packages.sort()}` !== `${stored}`) found.push('the packages are not those reported');
    const busy = await all(async (page) => {
      const { vnfInstances, nextPageToken } = await this.lcm.queryVnf(page);
      const items = vnfInstances
        .filter((vnf) => vnf.operationInProgress !== '')
        .map(({ id }) => id);
      return { items, nextPageToken };
    });
    if (busy.length > 0) found.push(`VNFs are busy: ${busy.join(', ')}`);
    const repository = this.site.client(RepositoryService, 'vnfm');
    for await (const { event } of repository.verifyPackages({})) {
      if (event.case === 'damage') found.push(`${event.value.object}: ${event.value.detail}`);
    }
    return found;
  }
}

async function all<T>(
  read: (page: {
    pageSize: number;
    pageToken: string;
  }) => Promise<{ items: T[]; nextPageToken: string }>,
): Promise<T[]> {
  const items: T[] = [];
  let pageToken = '';
  do {
    const page = await read({ pageSize: 1000, pageToken });
    items.push(...page.items);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return items;
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
}

const folder = await mkdtemp(join(tmpdir(), 'mano-load-'));
const site = await Site.start('load', join(folder, 'site'), { version: 1, drivers: ['wasmvm'] });
const load = new Load(site);
try {
  const vnfd = await descriptor();
  const beginMs = performance.now();
  let begun = 0;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      while (begun++ < vnfCount!) await load.instantiate(vnfd);
    }),
  );
  const instantiationS = (performance.now() - beginMs) / 1000;
  const untilMs = performance.now() + minutes! * 60_000;
  const sampling = setInterval(() => void load.sample(), 1000);
  await Promise.all(
    Array.from({ length: workerCount! }, async () => {
      while (performance.now() < untilMs) await load.turn();
    }),
  );
  clearInterval(sampling);
  const faults = await load.faults();
  const turns = load.vnfs.map(({ done }) => done);
  const result = {
    vnfs: load.vnfs.length,
    instantiationS: Math.round(instantiationS),
    minutes,
    workers: workerCount,
    seed: Number(values.seed),
    operations: load.started,
    stuck: load.stuck,
    failed: Object.fromEntries(load.failed),
    tookMs: Object.fromEntries(
      [...load.tookMs].map(([kind, ms]) => [
        kind,
        {
          count: ms.length,
          median: percentile(ms, 0.5),
          p95: percentile(ms, 0.95),
          max: percentile(ms, 1),
        },
      ]),
    ),
    turnsOfAVnf: { least: Math.min(...turns), most: Math.max(...turns) },
    peaksOfHalfMinutesMib: load.peaksMib.filter((peak) => peak !== undefined),
    faults,
  };
  process.stdout.write(`${JSON.stringify(result, null, 1)}\n`);
  const isGood = load.stuck === 0 && load.failed.size === 0 && faults.length === 0;
  process.exitCode = isGood ? 0 : 1;
} finally {
  await site.stop();
  await rm(folder, { recursive: true, force: true });
}
