import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { ConsistencyLevel } from '../../gen/nfv/common/v1/common_pb.js';
import type { VnfInstance, VnfSnapshot } from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { VnfState } from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import type { VnfSnapshotPkgInfo } from '../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { ConsistencyPolicy, SnapshotType } from '../../gen/nfv/vnfd/v1/vnfd_pb.js';
import type { SiteConfiguration } from '../configuration.ts';
import { type DiskDigests, presentDigests, snapshotDigests } from './digests.ts';
import { broken, components, describe, faultOf, standStill } from './invariant.ts';
import { Lab, type Print } from './lab.ts';
import { Site } from './site.ts';
import type { VnfAgent } from './vnf-agent.ts';
import type { ComponentStates } from './vnf-channel.ts';

/** How many numbers the traffic has to hand out before something is done, and after the revert. */
const warmUpCount = 20;
const trafficCount = 20;
const laterCount = 5;
const trafficMsMax = 60_000;
/** How long the reverted components stay held while their disks are hashed. */
const holdSeconds = 60n;

export type DemoOptions = {
  driver: string;
  /** Leaves out the consistency steps when NONE, to show what happens then. */
  consistency?: ConsistencyPolicy;
  /** Settings of both sites. */
  configuration?: Partial<SiteConfiguration>;
  print: Print;
};

export type DemoResult = {
  ok: boolean;
  /** What was checked and found wrong. */
  failures: string[];
  driver: string;
  snapshots: string[];
  packages: string[];
  memory: { atSnapshot: number; afterRevert: number; later: number };
  disks: { name: string; sha256AtSnapshot: string; sha256AfterRevert: string }[];
  sizes: {
    logicalBytes: number;
    storedBytes: number;
    incrementalLogicalBytes: number;
    incrementalStoredBytes: number;
  };
  consistency: { level: string; skewMs: number };
  seconds: number;
};

/** One snapshot with all that is known of the moment it shows. */
type Moment = { snapshot: VnfSnapshot; id: string; states: ComponentStates; disks: DiskDigests };
type Packed = { info: VnfSnapshotPkgInfo; archive: string };

/**
 * The main job, end to end: a running VNF is snapshotted twice, packed, exported, wrecked, imported
 * into an empty repository on a second site, extracted and reverted; then memory, disks and the
 * invariant across its components are compared with what they were at the snapshot.
 */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const startMs = performance.now();
  const folder = await mkdtemp(join(tmpdir(), 'mano-'));
  try {
    const { moments, packed } = await firstSite(options, folder);
    const reverted = await secondSite(options, folder, packed, moments.at(-1)!);
    const result = judge(options, moments, packed, reverted);
    return { ...result, seconds: Math.round(performance.now() - startMs) / 1000 };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function withLab<T>(
  name: string,
  options: DemoOptions,
  folder: string,
  work: (lab: Lab) => Promise<T>,
): Promise<T> {
  const configuration = {
    version: 1 as const,
    drivers: [options.driver],
    ...options.configuration,
  };
  const site = await Site.start(name, join(folder, name), configuration);
  const lab = new Lab(site, options.print);
  try {
    return await work(lab);
  } finally {
    try {
      await lab.clean();
    } finally {
      await lab.stopAgents();
      await site.stop();
    }
  }
}

/** Site A: traffic, two snapshots, two packages, two archives; then the VNF is wrecked. */
function firstSite(options: DemoOptions, folder: string) {
  return withLab('A', options, folder, async (lab) => {
    const { print } = options;
    const vnf = await lab.instantiate(options.driver, false);
    const agent = await lab.agent(vnf);
    await untilCounter(agent, warmUpCount);
    const moments: Moment[] = [];
    const packed: Packed[] = [];
    for (const name of ['first', 'second']) {
      moments.push(await takeSnapshot(lab, vnf, agent, name, options));
      packed.push(await pack(lab, moments.at(-1)!.id, name, folder));
      const { gateway } = components(await agent.states());
      await untilCounter(agent, gateway.counter + trafficCount);
    }
    const wrecked = await agent.askAll('wreck');
    print(`\nwrecked on purpose: ${describe(wrecked)}`);
    if (broken(wrecked) === undefined) throw new Error('wrecking the VNF broke nothing');
    const { lifecycleOperationOccurrenceId } = await lab.lcm.operateVnf({
      vnfInstanceId: vnf.id,
      changeStateTo: VnfState.STOPPED,
    });
    await lab.follow(lifecycleOperationOccurrenceId);
    return { moments, packed };
  });
}

async function takeSnapshot(
  lab: Lab,
  vnf: VnfInstance,
  agent: VnfAgent,
  name: string,
  options: DemoOptions,
): Promise<Moment> {
  const handledBefore = agent.handled.length;
  const { vnfSnapshotInfoId: id, lifecycleOperationOccurrenceId } = await lab.lcm.createVnfSnapshot(
    {
      vnfInstanceId: vnf.id,
      name,
      type: SnapshotType.WARM,
      consistency: options.consistency ?? ConsistencyPolicy.REQUIRED,
    },
  );
  await lab.follow(lifecycleOperationOccurrenceId);
  const { vnfSnapshotInfos } = await lab.lcm.queryVnfSnapshotInfo({
    filter: `(eq,id,${id})`,
    allFields: true,
  });
  const snapshot = vnfSnapshotInfos[0]!.vnfSnapshot!;
  // What the components answered once they stood still is what the memory image holds.
  const states = agent.handled[handledBefore]?.states ?? (await agent.states());
  return { snapshot, id, states, disks: await snapshotDigests(lab.site, snapshot) };
}

async function pack(lab: Lab, snapshotId: string, name: string, folder: string): Promise<Packed> {
  const created = await lab.packages.createVnfSnapshotPackage({
    vnfSnapshotInfoId: snapshotId,
    name,
  });
  await lab.follow(created.lifecycleOperationOccurrenceId);
  const id = created.vnfSnapshotPkgId;
  const archive = join(folder, `${name}.zip`);
  const exported = await lab.packages.exportVnfSnapshotPackage({
    vnfSnapshotPkgId: id,
    location: archive,
  });
  await lab.follow(exported.lifecycleOperationOccurrenceId);
  const { vnfSnapshotPkgInfos } = await lab.packages.queryVnfSnapshotPackageInfo({
    filter: `(eq,id,${id})`,
    allFields: true,
  });
  return { info: vnfSnapshotPkgInfos[0]!, archive };
}

type Reverted = { disks: DiskDigests; states: ComponentStates; later: ComponentStates };

/** Site B: imports into an empty repository, extracts, reverts a fresh VNF, looks, lets it run. */
function secondSite(options: DemoOptions, folder: string, packed: Packed[], moment: Moment) {
  return withLab('B', options, folder, async (lab): Promise<Reverted> => {
    for (const { archive } of packed) {
      const imported = await lab.packages.importVnfSnapshotPackage({ location: archive });
      await lab.follow(imported.lifecycleOperationOccurrenceId);
    }
    const vnf = await lab.instantiate(options.driver, true);
    const extracted = await lab.packages.extractVnfSnapshotPackage({
      vnfSnapshotPkgId: packed.at(-1)!.info.id,
      vnfInstanceId: vnf.id,
    });
    await lab.follow(extracted.lifecycleOperationOccurrenceId);
    const reverted = await lab.lcm.revertToVnfSnapshot({
      vnfInstanceId: vnf.id,
      vnfSnapshotInfoId: extracted.vnfSnapshotInfoId,
      holdAfter: { seconds: holdSeconds },
    });
    await lab.follow(reverted.lifecycleOperationOccurrenceId);
    const held = await lab.vnf(vnf.id);
    const disks = only(await presentDigests(lab.site, held), moment.disks);
    const agent = await lab.agent(held);
    const started = await lab.lcm.operateVnf({
      vnfInstanceId: vnf.id,
      changeStateTo: VnfState.STARTED,
    });
    await lab.follow(started.lifecycleOperationOccurrenceId);
    // Captured prepared they stand still, and what they say is what was in memory.
    const states = await agent.states();
    options.print(`\nafter the revert: ${describe(states)}`);
    await agent.askAll('resume');
    const { gateway } = components(states);
    const later = await untilCounter(agent, gateway.counter + laterCount);
    return { disks, states, later };
  });
}

/** The disks that the snapshot has; others are not part of the comparison. */
function only(all: DiskDigests, wanted: DiskDigests): DiskDigests {
  return Object.fromEntries(Object.entries(all).filter(([name]) => name in wanted));
}

/**
 * Waits until the gateway has issued a number, or until a component reports a fault: then it may
 * never.
 */
async function untilCounter(agent: VnfAgent, counter: number): Promise<ComponentStates> {
  const deadline = performance.now() + trafficMsMax;
  for (;;) {
    const states = await agent.states();
    if (faultOf(states) || components(states).gateway.counter >= counter) return states;
    if (performance.now() > deadline) {
      const shown = JSON.stringify(states);
      throw new Error(`the traffic stands still before number ${counter}: ${shown}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function judge(
  options: DemoOptions,
  moments: Moment[],
  packed: Packed[],
  reverted: Reverted,
): Omit<DemoResult, 'seconds'> {
  const moment = moments.at(-1)!;
  const memory = {
    atSnapshot: components(moment.states).gateway.counter,
    afterRevert: components(reverted.states).gateway.counter,
    later: components(reverted.later).gateway.counter,
  };
  const disks = Object.entries(moment.disks).map(([name, sha256AtSnapshot]) => ({
    name,
    sha256AtSnapshot,
    sha256AfterRevert: reverted.disks[name] ?? '',
  }));
  const failures = findFailures(moment, reverted, memory, disks);
  const { level = ConsistencyLevel.UNSPECIFIED, skew } = moment.snapshot.consistency ?? {};
  const [full, incremental] = packed.map(({ info }) => info);
  return {
    ok: failures.length === 0,
    failures,
    driver: options.driver,
    snapshots: moments.map(({ id }) => id),
    packages: packed.map(({ info }) => info.id),
    memory,
    disks,
    sizes: {
      logicalBytes: Number(full!.logicalBytes),
      storedBytes: Number(full!.storedBytes),
      incrementalLogicalBytes: Number(incremental!.logicalBytes),
      incrementalStoredBytes: Number(incremental!.storedBytes),
    },
    consistency: { level: ConsistencyLevel[level], skewMs: skew ? durationMs(skew) : 0 },
  };
}

function findFailures(
  moment: Moment,
  reverted: Reverted,
  memory: DemoResult['memory'],
  disks: DemoResult['disks'],
): string[] {
  const failures: string[] = [];
  if (!standStill(moment.states)) {
    failures.push('the components did not stand still: what was in memory is not known');
  } else if (memory.afterRevert !== memory.atSnapshot) {
    failures.push(
      `the gateway's number in memory was ${memory.atSnapshot}, after the revert ${memory.afterRevert}`,
    );
  }
  if (memory.later <= memory.afterRevert) failures.push('the traffic did not go on');
  for (const [when, states] of [
    ['at the snapshot', moment.states],
    ['after the revert', reverted.states],
    ['later', reverted.later],
  ] as const) {
    // Components that run cannot be asked at one moment: only what they noticed themselves counts.
    const why = standStill(states) ? broken(states) : faultOf(states);
    if (why) failures.push(`${when}: ${why}`);
  }
  const generations = (states: ComponentStates) =>
    Object.values(states).map((state) => state.generation);
  if (`${generations(moment.states)}` !== `${generations(reverted.states)}`) {
    failures.push('the components were booted anew instead of reverted');
  }
  if (disks.length === 0) failures.push('the snapshot has no disks');
  for (const disk of disks) {
    if (disk.sha256AtSnapshot === disk.sha256AfterRevert) continue;
    failures.push(`disk ${disk.name} is not what it was at the snapshot`);
  }
  return failures;
}
