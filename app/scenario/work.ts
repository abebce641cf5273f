/** What several use cases do. */
import {
  type LifecycleOperationOccurrence,
  OperationState,
  OperationType,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { OperationOccurrenceService } from '../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import type {
  SnapshotPurpose,
  VnfInstance,
  VnfSnapshot,
} from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { ConsistencyPolicy } from '../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { deadlineExceeded } from '../../sdk/errors.ts';
import { components } from '../demo/invariant.ts';
import type { Lab } from '../demo/lab.ts';
import type { Site } from '../demo/site.ts';
import type { VnfAgent } from '../demo/vnf-agent.ts';

const { COMPLETED, FAILED, ROLLED_BACK, FAILED_TEMP } = OperationState;
const trafficMsMax = 60_000;

/** Waits until the gateway has handed out some numbers more. */
export async function untilTraffic(agent: VnfAgent, more: number): Promise<void> {
  const first = components(await agent.states()).gateway.counter;
  await until(`${more} more numbers`, trafficMsMax, async () => {
    return components(await agent.states()).gateway.counter >= first + more;
  });
}

/** DEADLINE_EXCEEDED with reason SCENARIO_STUCK. */
export async function until(
  what: string,
  msMax: number,
  isSo: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + msMax;
  while (!(await isSo())) {
    if (performance.now() > deadline) {
      throw deadlineExceeded('SCENARIO_STUCK', `waited ${msMax / 1000} s in vain for: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Takes a snapshot as the element manager does; returns it when it is whole. */
export async function takeSnapshot(
  lab: Lab,
  vnf: VnfInstance,
  name: string,
  purpose: SnapshotPurpose,
  consistency = ConsistencyPolicy.REQUIRED,
): Promise<VnfSnapshot> {
  const started = await lab.lcm.createVnfSnapshot({
    ...{ vnfInstanceId: vnf.id, name, purpose, consistency },
  });
  await lab.follow(started.lifecycleOperationOccurrenceId);
  return readSnapshot(lab, started.vnfSnapshotInfoId);
}

export async function readSnapshot(lab: Lab, id: string): Promise<VnfSnapshot> {
  const filter = `(eq,id,${id})`;
  const { vnfSnapshotInfos } = await lab.lcm.queryVnfSnapshotInfo({ filter, allFields: true });
  return vnfSnapshotInfos[0]!.vnfSnapshot!;
}

/** Stores a snapshot as a package; returns its id. */
export async function store(lab: Lab, snapshotId: string, name: string): Promise<string> {
  const created = await lab.packages.createVnfSnapshotPackage({
    ...{ vnfSnapshotInfoId: snapshotId, name },
  });
  await lab.follow(created.lifecycleOperationOccurrenceId);
  return created.vnfSnapshotPkgId;
}

/** A new VNF instance that comes up in the state that a package holds. */
export async function startFromPackage(
  lab: Lab,
  driver: string,
  vnfSnapshotPkgId: string,
): Promise<{ vnf: VnfInstance; agent: VnfAgent }> {
  const vnf = await lab.instantiate(driver, true);
  const extracted = await lab.packages.extractVnfSnapshotPackage({
    ...{ vnfSnapshotPkgId, vnfInstanceId: vnf.id },
  });
  await lab.follow(extracted.lifecycleOperationOccurrenceId);
  const reverted = await lab.lcm.revertToVnfSnapshot({
    ...{ vnfInstanceId: vnf.id, vnfSnapshotInfoId: extracted.vnfSnapshotInfoId },
    // There is nothing on it yet that could be lost.
    skipSafetySnapshot: true,
  });
  await lab.follow(reverted.lifecycleOperationOccurrenceId);
  const agent = await lab.agent(vnf);
  // They were captured prepared, and nobody has told them since that the snapshot is over.
  await agent.askAll('resume');
  return { vnf: await lab.vnf(vnf.id), agent };
}

export async function terminate(lab: Lab, vnf: VnfInstance): Promise<void> {
  const { lifecycleOperationOccurrenceId } = await lab.lcm.terminateVnf({ vnfInstanceId: vnf.id });
  await lab.follow(lifecycleOperationOccurrenceId);
}

/** What a consumer of lifecycle management is told of all operations, from now on. */
export class Informed {
  readonly heard: LifecycleOperationOccurrence[] = [];
  private readonly stopping = new AbortController();
  private readonly following: Promise<void>;

  private constructor(site: Site, role: string, onStanding: () => void) {
    this.following = this.follow(site, role, onStanding);
  }

  /** Resolves when the watch stands. */
  static async start(site: Site, role: string): Promise<Informed> {
    const standing = Promise.withResolvers<void>();
    const informed = new Informed(site, role, standing.resolve);
    informed.following.catch(standing.reject);
    await standing.promise;
    return informed;
  }

  /** The end of an operation of this kind, once it has been told. */
  async end(operation: OperationType, msMax: number): Promise<LifecycleOperationOccurrence> {
    const ended = () =>
      this.heard.find(
        (told) =>
          told.operation === operation &&
          [COMPLETED, FAILED, ROLLED_BACK, FAILED_TEMP].includes(told.operationState),
      );
    await until(`the end of ${OperationType[operation]}`, msMax, () => ended() !== undefined);
    return ended()!;
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.following;
  }

  private async follow(site: Site, role: string, onStanding: () => void): Promise<void> {
    const { signal } = this.stopping;
    try {
      const operations = site.client(OperationOccurrenceService, role);
      for await (const { occurrence } of operations.watchLifecycleOperationOccurrences(
        {},
        { signal },
      )) {
        if (occurrence === undefined) onStanding();
        else this.heard.push(occurrence);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}
