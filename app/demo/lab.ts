import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromJsonString } from '@bufbuild/protobuf';
import { sequenceLines } from '../../cli/steps.ts';
import {
  type LifecycleOperationOccurrence,
  OperationState,
  OperationType,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { OperationOccurrenceService } from '../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import type { VnfInstance } from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { VnfLcmService } from '../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { VnfSnapshotPackageService } from '../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { type Vnfd, VnfdSchema } from '../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { aborted } from '../../sdk/errors.ts';
import type { Site } from './site.ts';
import { VnfAgent } from './vnf-agent.ts';

export type Print = (line: string) => void;

/** One site with the demo VNF on it, driven as an element manager and an OSS/BSS drive it. */
export class Lab {
  readonly site: Site;
  private readonly print: Print;
  private readonly started: VnfAgent[] = [];

  constructor(site: Site, print: Print) {
    this.site = site;
    this.print = print;
  }

  get lcm() {
    return this.site.client(VnfLcmService, 'em');
  }

  get packages() {
    return this.site.client(VnfSnapshotPackageService, 'oss');
  }

  /**
   * Follows an operation to its end and prints its sequence of calls. ABORTED unless it completed.
   */
  async follow(id: string): Promise<LifecycleOperationOccurrence> {
    const operations = this.site.client(OperationOccurrenceService, 'em');
    const request = { lifecycleOperationOccurrenceId: id };
    let last: LifecycleOperationOccurrence | undefined;
    for await (const { occurrence } of operations.watchLifecycleOperationOccurrence(request)) {
      last = occurrence;
    }
    const { operation, operationState, error } = last!;
    this.print(`\n${OperationType[operation]} on site ${this.site.name}`);
    for (const line of sequenceLines(last!)) this.print(line);
    if (operationState === OperationState.COMPLETED) return last!;
    const text = `${OperationType[operation]} ended as ${OperationState[operationState]}: ${error?.detail}`;
    throw aborted(error?.reason ?? 'OPERATION_FAILED', text, { operation: id });
  }

  /**
   * Makes the demo VNF on a driver, running unless `leaveStopped`; `adapt` may change its
   * descriptor.
   */
  async instantiate(
    driver: string,
    leaveStopped: boolean,
    adapt: (vnfd: Vnfd) => void = () => {},
  ): Promise<VnfInstance> {
    const path = join(import.meta.dirname, `vnfd-${driver}.json`);
    const vnfd = fromJsonString(VnfdSchema, await readFile(path, 'utf8'));
    adapt(vnfd);
    const { vnfInstance } = await this.lcm.createVnfIdentifier({ vnfd });
    const { lifecycleOperationOccurrenceId: id } = await this.lcm.instantiateVnf({
      vnfInstanceId: vnfInstance!.id,
      virtualisationEnvironment: driver,
      leaveStopped,
    });
    await this.follow(id);
    return this.vnf(vnfInstance!.id);
  }

  async vnf(id: string): Promise<VnfInstance> {
    const { vnfInstances } = await this.lcm.queryVnf({ filter: `(eq,id,${id})`, allFields: true });
    return vnfInstances[0]!;
  }

  /** Starts the VNF's own side: an agent that hears notifications and speaks to the components. */
  async agent(vnf: VnfInstance): Promise<VnfAgent> {
    const agent = new VnfAgent(this.site.transport('vnf'), vnf.id, this.print);
    await agent.start();
    this.started.push(agent);
    return agent;
  }

  /** Ends the agents, and the VNFs that are instantiated: nothing outlives the demo. */
  async clean(): Promise<void> {
    const { vnfInstances } = await this.lcm.queryVnf({ allFields: true });
    for (const { id, instantiatedVnfInfo } of vnfInstances) {
      if (!instantiatedVnfInfo) continue;
      const { lifecycleOperationOccurrenceId } = await this.lcm.terminateVnf({ vnfInstanceId: id });
      await this.follow(lifecycleOperationOccurrenceId);
    }
    await this.stopAgents();
  }

  async stopAgents(): Promise<void> {
    for (const agent of this.started.splice(0)) await agent.stop();
  }
}
