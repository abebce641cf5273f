import type { GrantRequest } from '../../gen/nfv/grant/v1/grant_pb.js';
import {
  OperationState,
  OperationType,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import type { OperationOccurrenceService } from '../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import type { VnfLcmService } from '../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import type { VnfSnapshotPackageService } from '../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import type { Client } from '../../sdk/client.ts';
import type { Clock } from '../../sdk/ports/clock.ts';
import { countedOperations, type Quota, type Usage } from './conditions.ts';
import type { Grants } from './grants.ts';
import type { Facts, Policy } from './policy.ts';

/** Where the NFVO looks things up: at the VNFM, and in what it has granted. */
export type FactSources = {
  lcm: Client<typeof VnfLcmService>;
  packages: Client<typeof VnfSnapshotPackageService>;
  operations: Client<typeof OperationOccurrenceService>;
  grants: Grants;
  clock: Clock;
};

const pageSize = 1000;

/** Gathers what the rules of a policy look at for a request, and no more. */
export async function gatherFacts(
  policy: Policy,
  request: GrantRequest,
  sources: FactSources,
  signal: AbortSignal,
): Promise<Facts> {
  const { vnfInstanceId, operation } = request;
  const rules = policy.rules.filter(({ resourceCalls }) => resourceCalls === undefined);
  const counts = rules.some(({ quota }) => quota) && countedOperations.includes(operation);
  const needsVnfs = counts || rules.some(({ vnfMetadata }) => vnfMetadata);
  const vnfs = new Map<string, Record<string, string>>();
  // Queries of packages come without a VNF: looking them up would ask for a grant in turn.
  if (needsVnfs && vnfInstanceId !== '') {
    for await (const { vnfInstances } of pages((page) => sources.lcm.queryVnf(page, { signal }))) {
      for (const { id, metadata } of vnfInstances) vnfs.set(id, metadata);
    }
  }
  const owners = counts
    ? await ownersOf(request, sources, signal)
    : { snapshots: [], packages: [] };
  const vnfMetadata = vnfs.get(vnfInstanceId) ?? {};
  const inScope = (quota: Quota, id: string) => {
    const key = quota.perMetadata;
    if (key === undefined) return id === vnfInstanceId;
    // What has no such key is a scope of its own.
    return vnfMetadata[key] === undefined
      ? id === vnfInstanceId
      : vnfs.get(id)?.[key] === vnfMetadata[key];
  };
  return {
    now: sources.clock.now(),
    vnfMetadata,
    usage: (quota): Usage => ({
      snapshots: owners.snapshots.filter((id) => inScope(quota, id)).length,
      storedBytes: owners.packages
        .filter(({ id }) => inScope(quota, id))
        .reduce((sum, { bytes }) => sum + bytes, 0),
    }),
  };
}

/** The VNF of each snapshot, those that are being taken included, and of each package. */
async function ownersOf(
  { vnfLcmOpOccId }: GrantRequest,
  { lcm, packages, operations, grants }: FactSources,
  signal: AbortSignal,
) {
  const snapshots: string[] = [];
  for await (const { vnfSnapshotInfos } of pages((page) =>
    lcm.queryVnfSnapshotInfo(page, { signal }),
  )) {
    for (const { vnfSnapshot } of vnfSnapshotInfos) {
      if (vnfSnapshot) snapshots.push(vnfSnapshot.vnfInstanceId);
    }
  }
  const { STARTING, PROCESSING } = OperationState;
  for await (const { occurrences } of pages((page) =>
    operations.listLifecycleOperationOccurrences(page, { signal }),
  )) {
    for (const { id, operation, operationState, vnfInstanceId } of occurrences) {
      if (operation !== OperationType.CREATE_SNAPSHOT || id === vnfLcmOpOccId) continue;
      if (operationState !== STARTING && operationState !== PROCESSING) continue;
      if (await grants.ofOperation(id)) snapshots.push(vnfInstanceId);
    }
  }
  const owned: { id: string; bytes: number }[] = [];
  for await (const { vnfSnapshotPkgInfos } of pages((page) =>
    packages.queryVnfSnapshotPackageInfo(page, { signal }),
  )) {
    for (const { vnfInstanceId, storedBytes } of vnfSnapshotPkgInfos) {
      owned.push({ id: vnfInstanceId, bytes: Number(storedBytes) });
    }
  }
  return { snapshots, packages: owned };
}

type Page = { pageSize: number; pageToken: string };

/** All pages of a list. */
async function* pages<T extends { nextPageToken: string }>(
  read: (page: Page) => Promise<T>,
): AsyncIterable<T> {
  let pageToken = '';
  do {
    const page = await read({ pageSize, pageToken });
    yield page;
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
}
