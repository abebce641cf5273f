import { readdir } from 'node:fs/promises';
import { components } from '../../../app/demo/invariant.ts';
import { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { OperationState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { OperationOccurrenceService } from '../../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { RepositoryService } from '../../../gen/nfv/repository/v1/repository_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { SnapshotAvailability, VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { PackageState } from '../../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { eventually } from '../eventually.ts';
import { difference } from './difference.ts';
import { leftovers } from './leftovers.ts';
import type { Expected } from './procedures.ts';
import type { SystemRig } from './system-rig.ts';

/**
 * How long guests may stand still: the longest freeze or promise of the demo VNF, in milliseconds.
 */
const standMsMax = 45_000;

/**
 * The judge of a whole system after bad luck: what is wrong with it, in words; nothing when all
 * operations have ended, all that is listed is whole and is exactly what is expected, the VNF runs,
 * and nothing is left over.
 */
export async function problems(rig: SystemRig, expected: Expected): Promise<string[]> {
  const checks = [operations, snapshots, packages, archives, guests];
  const found = await Promise.all(checks.map((check) => check(rig, expected)));
  // Last: while packages are verified, the repository has a lease on them.
  return [...found.flat(), ...(await leftovers(rig))];
}

/** What the interfaces list. */
export async function listed(rig: SystemRig): Promise<Expected> {
  const { vnfSnapshotInfos } = await rig.lab.lcm.queryVnfSnapshotInfo({});
  const { vnfSnapshotPkgInfos } = await rig.lab.packages.queryVnfSnapshotPackageInfo({});
  return {
    snapshots: vnfSnapshotInfos.map(({ id }) => id),
    packages: vnfSnapshotPkgInfos.map(({ id }) => id),
    archives: await readdir(rig.archives),
  };
}

async function operations({ site }: SystemRig): Promise<string[]> {
  const client = site.client(OperationOccurrenceService, 'em');
  const { occurrences } = await client.listLifecycleOperationOccurrences({});
  const { COMPLETED, ROLLED_BACK } = OperationState;
  return occurrences
    .filter(({ operationState: state }) => state !== COMPLETED && state !== ROLLED_BACK)
    .map(({ id, operationState }) => `operation ${id} is ${OperationState[operationState]}`);
}

async function snapshots(rig: SystemRig, expected: Expected): Promise<string[]> {
  const { vnfSnapshotInfos: infos } = await rig.lab.lcm.queryVnfSnapshotInfo({ allFields: true });
  const { snapshots: held } = await onAllHosts(rig);
  const named = infos.flatMap((info) =>
    (info.vnfSnapshot?.vnfcSnapshots ?? []).map((part) => part.instanceSnapshot?.snapshotId ?? '?'),
  );
  return [
    ...difference(
      'VNF snapshots',
      infos.map(({ id }) => id),
      expected.snapshots,
    ),
    ...difference(
      'instance snapshots',
      held.map(({ snapshotId }) => snapshotId),
      named,
    ),
    ...infos
      .filter((info) => info.availability !== SnapshotAvailability.AVAILABLE)
      .map((info) => `snapshot ${info.id} is ${SnapshotAvailability[info.availability]}`),
    ...infos.filter((info) => info.operationInProgress !== '').map(({ id }) => `${id} is busy`),
  ];
}

async function packages(rig: SystemRig, expected: Expected): Promise<string[]> {
  const { vnfSnapshotPkgInfos: infos } = await rig.lab.packages.queryVnfSnapshotPackageInfo({});
  const repository = rig.site.client(RepositoryService, 'vnfm');
  const { packages: stored } = await repository.listPackages({});
  const damages: string[] = [];
  for await (const { event } of repository.verifyPackages({})) {
    if (event.case === 'damage') damages.push(`${event.value.object}: ${event.value.detail}`);
  }
  return [
    ...difference(
      'listed packages',
      infos.map(({ id }) => id),
      expected.packages,
    ),
    ...difference(
      'stored packages',
      stored.map(({ packageId }) => packageId),
      expected.packages,
    ),
    ...damages,
    ...infos
      .filter((info) => info.state !== PackageState.AVAILABLE)
      .map((info) => `package ${info.id} is ${PackageState[info.state]}`),
    ...infos.filter((info) => info.operationInProgress !== '').map(({ id }) => `${id} is busy`),
  ];
}

async function archives(rig: SystemRig, expected: Expected): Promise<string[]> {
  return difference('archives', await readdir(rig.archives), expected.archives);
}

/** The VNF runs, and its components speak to each other. */
async function guests(rig: SystemRig): Promise<string[]> {
  const vnf = await rig.vnf();
  const info = vnf.instantiatedVnfInfo;
  const found: string[] = [];
  if (vnf.operationInProgress !== '') found.push(`VNF ${vnf.id} is busy`);
  if (info?.vnfState !== VnfState.STARTED) found.push('the VNF is not recorded as started');
  found.push(...(await traffic(rig)));
  const { computes, volumes, networks } = await onAllHosts(rig);
  if (computes.length !== info?.vnfcResourceInfo.length) found.push('computes are missing or over');
  for (const { computeId, state, stateReason, hold, quiesced } of computes) {
    if (state !== ComputeState.RUNNING) {
      found.push(`${computeId} is ${ComputeState[state]} ${stateReason}`);
    }
    if (hold) found.push(`${computeId} is held`);
    if (quiesced) found.push(`${computeId} is frozen`);
  }
  const attached = computes.flatMap(({ spec }) => spec?.volumes.map((item) => item.volumeId) ?? []);
  const ids = volumes.map(({ storageId }) => storageId);
  const links = info?.vnfVirtualLinkResourceInfo ?? [];
  return [
    ...found,
    ...difference('volumes', ids, attached),
    ...difference(
      'networks',
      networks.map(({ networkId }) => networkId),
      links.map(({ networkResource }) => networkResource!.resourceId),
    ),
  ];
}

/** What all drivers of the site have. */
export async function onAllHosts({ site, hosts }: SystemRig) {
  const driver = site.client(DriverService, 'vim');
  const lists = await Promise.all(
    hosts.map(async (target) => ({
      ...(await driver.listComputes({}, { target })),
      ...(await driver.listVolumes({}, { target })),
      ...(await driver.listNetworks({}, { target })),
      ...(await driver.listInstanceSnapshots({}, { target })),
    })),
  );
  return {
    computes: lists.flatMap(({ computes }) => computes),
    volumes: lists.flatMap(({ volumes }) => volumes),
    networks: lists.flatMap(({ networks }) => networks),
    snapshots: lists.flatMap(({ snapshots }) => snapshots),
  };
}

/** Numbers go on, and no component noticed anything. */
async function traffic({ agent }: SystemRig): Promise<string[]> {
  try {
    // What was powered on a moment ago may not answer yet.
    const answers = () => agent.states().catch(() => undefined);
    const first = components(
      await eventually('the components answer', answers, standMsMax),
    ).gateway;
    const later = await eventually(
      'the gateway issues numbers',
      async () => {
        const states = await agent.states();
        const { gateway } = components(states);
        const anew = gateway.generation !== first.generation;
        return anew || gateway.counter > first.counter + 1 ? states : undefined;
      },
      standMsMax,
    );
    return Object.values(later)
      .filter((state) => state.fault || state.prepared)
      .map((state) => `the ${state.role} says ${JSON.stringify(state)}`);
  } catch (error) {
    const states = await agent.states().catch((silence: Error) => silence.message);
    return [`${(error as Error).message}: ${JSON.stringify(states)}`];
  }
}
