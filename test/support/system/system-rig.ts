import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { SiteConfiguration } from '../../../app/configuration.ts';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import type { VnfAgent } from '../../../app/demo/vnf-agent.ts';
import { NsLcmService } from '../../../gen/nfv/ns_lcm/v1/ns_lcm_service_pb.js';
import {
  type LifecycleOperationOccurrence,
  OperationState,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { OperationOccurrenceService } from '../../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { type VnfInstance, VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { HealAction } from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { ConsistencyPolicy, SnapshotType, type Vnfd } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { tempFolder } from '../temp-folder.ts';

/** The longest wait for a process to die at its failpoint, and for an operation to end. */
const dieMsMax = 60_000;
const endMsMax = 120_000;

/** As the launcher has it: a start takes half the time. */
const compileCache = join(import.meta.dirname, '../../../build/compile-cache');

const nothing = () => {};

/**
 * A real `mano serve` with the demo VNF on it, which is killed and started again over the same
 * folder.
 */
export class SystemRig {
  readonly driver: string;
  /** The data folder of the site. */
  readonly folder: string;
  /** Where archives are written and read. */
  readonly archives: string;
  private readonly hitsFile: string;
  private readonly configuration: SiteConfiguration;
  private running: { site: Site; lab: Lab; agent?: VnfAgent } | undefined;
  /** The drivers of the site, each of which stands for a host. */
  readonly hosts: readonly string[];
  /** What snapshots are asked to be; the descriptor may have settled it otherwise. */
  snapshotType = SnapshotType.WARM;
  private vnfInstanceId = '';
  /** Snapshots that are to be replaced, by the request. */
  private readonly replaced = new Map<string, string>();
  /** Other VNFs, by the request that they were made for. */
  private readonly others = new Map<string, string>();

  private constructor(driver: string, root: string, configuration: Partial<SiteConfiguration>) {
    this.driver = driver;
    this.configuration = { version: 1, drivers: [driver], ...configuration };
    this.hosts = [driver, ...(configuration.hosts ?? []).map(({ name }) => name)];
    this.folder = join(root, 'site');
    this.archives = join(root, 'archives');
    this.hitsFile = join(root, 'hits');
  }

  /** A started site without a VNF. */
  static async open(
    t: ExecutionContext,
    driver: string,
    configuration: Partial<SiteConfiguration> = {},
  ): Promise<SystemRig> {
    const rig = new SystemRig(driver, await tempFolder(t), configuration);
    await mkdir(rig.archives);
    t.teardown(() => rig.kill());
    await rig.start();
    return rig;
  }

  get site(): Site {
    return this.now.site;
  }

  get lab(): Lab {
    return this.now.lab;
  }

  /** The VNF's side of the present site. */
  get agent(): VnfAgent {
    if (!this.now.agent) throw new Error('the VNF has no agent yet');
    return this.now.agent;
  }

  get vnfId(): string {
    return this.vnfInstanceId;
  }

  /** The process of the present site, while there is one. */
  get pid(): number | undefined {
    return this.running?.site.pid;
  }

  archive(name: string): string {
    return join(this.archives, `${name}.zip`);
  }

  /** Starts the site. It counts failpoints from its start, and dies where `failpoints` says. */
  async start(failpoints = ''): Promise<void> {
    await rm(this.hitsFile, { force: true });
    const environment = {
      NFV_FAILPOINTS: failpoints,
      NFV_FAILPOINTS_LOG: this.hitsFile,
      NODE_COMPILE_CACHE: compileCache,
    };
    const site = await Site.start('A', this.folder, this.configuration, environment);
    const lab = new Lab(site, nothing);
    this.running = { site, lab };
    if (this.vnfInstanceId !== '') this.running.agent = await lab.agent(await this.vnf());
  }

  async stop(): Promise<void> {
    await this.end('stop');
  }

  async kill(): Promise<void> {
    await this.end('kill');
  }

  /** Waits until the site has died at its failpoint. */
  async died(): Promise<void> {
    const { site } = this.now;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, dieMsMax, 'late');
    });
    const outcome = await Promise.race([site.ended, late]);
    clearTimeout(timer);
    if (outcome === 'late') throw new Error('the site did not die at its failpoint');
    await this.end('kill');
  }

  /** The names of the failpoints that the present process has hit, in order. */
  async hits(): Promise<string[]> {
    const text = await readFile(this.hitsFile, 'utf8').catch(() => '');
    return text.split('\n').filter((line) => line !== '');
  }

  /** Makes the demo VNF and lets it run. */
  async instantiate(adapt?: (vnfd: Vnfd) => void): Promise<void> {
    const vnf = await this.lab.instantiate(this.driver, false, adapt);
    this.vnfInstanceId = vnf.id;
    this.now.agent = await this.lab.agent(vnf);
  }

  vnf(): Promise<VnfInstance> {
    return this.lab.vnf(this.vnfInstanceId);
  }

  /** All operations, newest first. */
  operations() {
    const client = this.site.client(OperationOccurrenceService, 'em');
    return client.listLifecycleOperationOccurrences({});
  }

  /** Follows an operation to its end, whatever that is. */
  async ended(id: string): Promise<LifecycleOperationOccurrence> {
    const operations = this.site.client(OperationOccurrenceService, 'em');
    const request = { lifecycleOperationOccurrenceId: id };
    const options = { deadlineMs: endMsMax };
    let last: LifecycleOperationOccurrence | undefined;
    const events = operations.watchLifecycleOperationOccurrence(request, options);
    for await (const { occurrence } of events) last = occurrence;
    if (!last) throw new Error(`operation ${id} cannot be watched`);
    return last;
  }

  /**
   * The same; one that waits for a person is rolled back once more, as a person would: on a busy
   * machine a driver may not answer in time, and then FAILED_TEMP is what has to come.
   */
  async rolledBackOrDone(id: string): Promise<LifecycleOperationOccurrence> {
    const occurrence = await this.ended(id);
    if (occurrence.operationState !== OperationState.FAILED_TEMP) return occurrence;
    const operations = this.site.client(OperationOccurrenceService, 'em');
    await operations.rollbackLifecycleOperation({ lifecycleOperationOccurrenceId: id });
    return await this.ended(id);
  }

  /** Follows an operation that has to complete. */
  async completed(id: string): Promise<void> {
    const { operationState, error } = await this.ended(id);
    if (operationState === OperationState.COMPLETED) return;
    const state = OperationState[operationState];
    throw new Error(`operation ${id} ended as ${state}: ${error?.reason} ${error?.detail}`);
  }

  createSnapshot(requestId = '') {
    return this.lab.lcm.createVnfSnapshot({
      vnfInstanceId: this.vnfInstanceId,
      type: this.snapshotType,
      consistency: ConsistencyPolicy.REQUIRED,
      requestId,
    });
  }

  createPackage(vnfSnapshotInfoId: string, requestId = '') {
    return this.lab.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId, requestId });
  }

  extractPackage(vnfSnapshotPkgId: string, requestId = '') {
    const vnfInstanceId = this.vnfInstanceId;
    const request = { vnfSnapshotPkgId, vnfInstanceId, requestId };
    return this.lab.packages.extractVnfSnapshotPackage(request);
  }

  revert(vnfSnapshotInfoId: string, requestId = '') {
    const vnfInstanceId = this.vnfInstanceId;
    return this.lab.lcm.revertToVnfSnapshot({ vnfInstanceId, vnfSnapshotInfoId, requestId });
  }

  /** A snapshot, asked for at the NFVO. */
  async createSnapshotOfNs(requestId: string) {
    const { vnfInstanceId } = this;
    const { nsLcm, nsInstanceId } = await this.networkService();
    const value = { vnfInstanceId, type: SnapshotType.WARM, requestId };
    const update = { case: 'createVnfSnapshot' as const, value };
    return await nsLcm.updateNs({ nsInstanceId, update });
  }

  /** A reversion, asked for at the NFVO. */
  async revertNs(vnfSnapshotInfoId: string, requestId: string) {
    const { vnfInstanceId } = this;
    const { nsLcm, nsInstanceId } = await this.networkService();
    const value = { vnfInstanceId, vnfSnapshotInfoId, requestId };
    const update = { case: 'revertToVnfSnapshot' as const, value };
    return await nsLcm.updateNs({ nsInstanceId, update });
  }

  /** One network service of the VNF, however often it is asked for. */
  private async networkService() {
    const nsLcm = this.site.client(NsLcmService, 'oss');
    const request = { vnfInstanceIds: [this.vnfInstanceId], requestId: 'the-ns' };
    const { nsInstance } = await nsLcm.createNsIdentifier(request);
    return { nsLcm, nsInstanceId: nsInstance!.id };
  }

  /** Takes a snapshot, and another one that takes its place; the answer is that of the second. */
  async replaceSnapshot(requestId: string) {
    const first = await this.createSnapshot(`${requestId}-first`);
    this.replaced.set(requestId, first.vnfSnapshotInfoId);
    await this.completed(first.lifecycleOperationOccurrenceId);
    return await this.lab.lcm.createVnfSnapshot({
      ...{ vnfInstanceId: this.vnfInstanceId, type: SnapshotType.WARM, requestId },
      replacesVnfSnapshotInfoId: first.vnfSnapshotInfoId,
    });
  }

  /** What a request of `replaceSnapshot` is to replace. */
  replacedBy(requestId: string): string {
    return this.replaced.get(requestId) ?? '?';
  }

  /** Takes a snapshot and deletes it; the answer is that of the deletion. */
  async takeAndDelete(requestId: string) {
    const { vnfSnapshotInfoId, lifecycleOperationOccurrenceId: id } = await this.createSnapshot(
      `${requestId}-first`,
    );
    await this.completed(id);
    return await this.lab.lcm.deleteVnfSnapshotInfo({ vnfSnapshotInfoId, requestId });
  }

  /** Packs a snapshot and deletes the package; the answer is that of the deletion. */
  async packAndDelete(snapshot: string, requestId: string) {
    const { vnfSnapshotPkgId, lifecycleOperationOccurrenceId: id } = await this.createPackage(
      snapshot,
      `${requestId}-first`,
    );
    await this.completed(id);
    return await this.lab.packages.deleteVnfSnapshotPackage({ vnfSnapshotPkgId, requestId });
  }

  /** Back to a snapshot, on a host. */
  revertOn(targetHost: string, vnfSnapshotInfoId: string, requestId = '') {
    const { vnfInstanceId } = this;
    const request = { vnfInstanceId, vnfSnapshotInfoId, targetHost, requestId };
    return this.lab.lcm.revertToVnfSnapshot(request);
  }

  exportPackage(vnfSnapshotPkgId: string, name: string, requestId = '') {
    const location = this.archive(name);
    const request = { vnfSnapshotPkgId, location, requestId };
    return this.lab.packages.exportVnfSnapshotPackage(request);
  }

  importPackage(name: string, requestId = '') {
    return this.lab.packages.importVnfSnapshotPackage({ location: this.archive(name), requestId });
  }

  /** Powers the VNF on, which has to be recorded as off. */
  async powerOn() {
    const { vnfState } = (await this.vnf()).instantiatedVnfInfo!;
    if (vnfState !== VnfState.STOPPED) throw new Error('the VNF is not recorded as stopped');
    const changeStateTo = VnfState.STARTED;
    return await this.lab.lcm.operateVnf({ vnfInstanceId: this.vnfInstanceId, changeStateTo });
  }

  /** Powers the VNF off, and then on; the answer is that of powering on. */
  async powerCycle(requestId: string) {
    const { vnfInstanceId, lab } = this;
    const off = await lab.lcm.operateVnf({
      ...{ vnfInstanceId, changeStateTo: VnfState.STOPPED, requestId: `${requestId}-off` },
    });
    await this.completed(off.lifecycleOperationOccurrenceId);
    const changeStateTo = VnfState.STARTED;
    return await lab.lcm.operateVnf({ vnfInstanceId, changeStateTo, requestId });
  }

  /** Instantiates another VNF and terminates it; the answer is that of what came last. */
  async comeAndGo(requestId: string) {
    const { lab, driver } = this;
    const vnfInstanceId = this.others.get(requestId) ?? (await this.identifier());
    this.others.set(requestId, vnfInstanceId);
    const instantiating = await lab.lcm.instantiateVnf({
      ...{ vnfInstanceId, virtualisationEnvironment: driver, requestId: `${requestId}-on` },
    });
    const { operationState } = await this.ended(instantiating.lifecycleOperationOccurrenceId);
    if (operationState !== OperationState.COMPLETED) return instantiating;
    return await lab.lcm.terminateVnf({ vnfInstanceId, requestId });
  }

  private async identifier(): Promise<string> {
    const { vnfd } = await this.vnf();
    return (await this.lab.lcm.createVnfIdentifier({ vnfd: vnfd! })).vnfInstance!.id;
  }

  /** Heals the VNF by a restart, without a snapshot before. */
  heal(requestId: string) {
    const { vnfInstanceId, lab } = this;
    return lab.lcm.healVnf({ vnfInstanceId, action: HealAction.RESTART, requestId });
  }

  async deleteSnapshot(vnfSnapshotInfoId: string): Promise<void> {
    const { lifecycleOperationOccurrenceId: id } = await this.lab.lcm.deleteVnfSnapshotInfo({
      vnfSnapshotInfoId,
    });
    await this.completed(id);
  }

  async deletePackage(vnfSnapshotPkgId: string): Promise<void> {
    const { lifecycleOperationOccurrenceId: id } = await this.lab.packages.deleteVnfSnapshotPackage(
      { vnfSnapshotPkgId },
    );
    await this.completed(id);
  }

  async deleteArchive(fileName: string): Promise<void> {
    await rm(join(this.archives, fileName));
  }

  private get now() {
    if (!this.running) throw new Error('the site does not run');
    return this.running;
  }

  private async end(how: 'stop' | 'kill'): Promise<void> {
    const { running } = this;
    if (!running) return;
    this.running = undefined;
    await running.lab.stopAgents();
    await running.site[how]();
  }
}
