import { create } from '@bufbuild/protobuf';
import { timestampFromDate, timestampMs } from '@bufbuild/protobuf/wkt';
import { OperationType } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import {
  SnapshotAvailability,
  type VnfSnapshotInfo,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  type CreateVnfSnapshotPackageRequest,
  CreateVnfSnapshotPackageRequestSchema,
  type ExtractVnfSnapshotPackageRequest,
  ExtractVnfSnapshotPackageRequestSchema,
  PackageState,
  type VnfSnapshotPackageService,
  type VnfSnapshotPkgInfo,
  VnfSnapshotPkgInfoSchema,
} from '../../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import type { IdempotentRequest } from '../../../sdk/request-ids.ts';
import type { Handlers } from '../../../sdk/server.ts';
import { newIdentifier } from '../identifiers.ts';
import { notAvailable } from '../procedures/availability.ts';
import { type CreatePackageInput, createPackageName } from '../procedures/create-package.ts';
import { type ExtractPackageInput, extractPackageName } from '../procedures/extract-package.ts';
import {
  requireRecord,
  unknownSnapshot,
  unknownVnf,
  vnfInstances,
  vnfPackages,
  vnfSnapshots,
} from '../records.ts';
import type { VnfmServices } from '../vnfm.ts';
import { idempotent, paramsOf, startedBefore, startOperation } from './accepting.ts';
import { withPresentState } from './availability.ts';
import { readAll, select } from './listing.ts';
import { availablePackage, packageUse, requireAvailable } from './package-state.ts';
import { mark, snapshotUse } from './snapshot-operations.ts';
import { emptySnapshot } from './vnf-snapshots.ts';

/** Left out of lists unless asked for. */
const excludedByDefault = ['images', 'user_defined_data'];

type PackageHandlers = Handlers<typeof VnfSnapshotPackageService>;

/** The VNF snapshot package repository of the VNFM (Vnfm.009): packing, extracting and reading. */
export function packageHandlers(vnfm: VnfmServices): PackageHandlers {
  return {
    createVnfSnapshotPackage: async (request, context) => {
      const known = idempotent(CreateVnfSnapshotPackageRequestSchema, request, context);
      const id = (await startedBefore(vnfm, known)) ?? (await pack(vnfm, request, known));
      const { vnfSnapshotPkgId } = await vnfm.engine.get(id);
      return { vnfSnapshotPkgId, lifecycleOperationOccurrenceId: id };
    },
    extractVnfSnapshotPackage: async (request, context) => {
      const known = idempotent(ExtractVnfSnapshotPackageRequestSchema, request, context);
      const id =
        (await startedBefore(vnfm, known)) ?? (await extract(vnfm, request, known, context.signal));
      const { vnfSnapshotInfoId } = await vnfm.engine.get(id);
      return { vnfSnapshotInfoId, lifecycleOperationOccurrenceId: id };
    },
    // 6.7.5: steps 2 and 3 are the grant, step 4 is the answer of the repository.
    queryVnfSnapshotPackageInfo: async (request, { signal }) => {
      await vnfm.peers.granting.grantVnfLifecycleOperation(
        { grantRequest: { operation: OperationType.QUERY_PACKAGE } },
        { signal },
      );
      const all = await withPresentState(vnfm, await readAll(vnfm.store, vnfPackages), signal);
      const selected = select(VnfSnapshotPkgInfoSchema, all, request, excludedByDefault);
      return { vnfSnapshotPkgInfos: selected.items, nextPageToken: selected.nextPageToken };
    },
  };
}

async function pack(
  vnfm: VnfmServices,
  request: CreateVnfSnapshotPackageRequest,
  repeatable: IdempotentRequest,
): Promise<string> {
  const { vnfSnapshotInfoId, name } = request;
  const stored = await requireRecord(vnfm.store, vnfSnapshots, vnfSnapshotInfoId, unknownSnapshot);
  const info = stored.value;
  const snapshot = info.vnfSnapshot;
  if (!snapshot || info.availability !== SnapshotAvailability.AVAILABLE) {
    throw notAvailable(vnfSnapshotInfoId, `it is ${SnapshotAvailability[info.availability]}`);
  }
  const vnfSnapshotPkgId = newIdentifier('pkg', vnfm.random);
  const parentPkgId = await parentOf(vnfm, request.parentPkgId, snapshot.vnfInstanceId);
  const building = create(VnfSnapshotPkgInfoSchema, {
    id: vnfSnapshotPkgId,
    name,
    createdAt: timestampFromDate(vnfm.clock.now()),
    vnfSnapshotId: snapshot.id,
    vnfInstanceId: snapshot.vnfInstanceId,
    vnfdId: snapshot.vnfdId,
    state: PackageState.BUILDING,
    parentPkgId,
    userDefinedData: request.userDefinedData,
  });
  return startOperation<CreatePackageInput>(vnfm, {
    definition: createPackageName,
    input: {
      uses: [
        snapshotUse(vnfSnapshotInfoId, 'shared'),
        packageUse(vnfSnapshotPkgId, 'exclusive'),
        ...(parentPkgId === '' ? [] : [packageUse(parentPkgId, 'shared')]),
      ],
      vnfInstanceId: snapshot.vnfInstanceId,
      vnfdId: snapshot.vnfdId,
      vnfSnapshotInfoId,
      vnfSnapshotPkgId,
      parentPkgId,
      name,
      userDefinedData: request.userDefinedData,
      parts: partsOf(info),
    },
    vnfInstanceId: snapshot.vnfInstanceId,
    vnfSnapshotInfoId,
    vnfSnapshotPkgId,
    request: repeatable,
    params: paramsOf(CreateVnfSnapshotPackageRequestSchema, request),
    record: async (tx) => {
      const { AVAILABLE } = SnapshotAvailability;
      await mark(tx, vnfSnapshotInfoId, AVAILABLE, AVAILABLE);
      await tx.collection(vnfPackages).insert(vnfSnapshotPkgId, building);
    },
  });
}

async function extract(
  vnfm: VnfmServices,
  request: ExtractVnfSnapshotPackageRequest,
  repeatable: IdempotentRequest,
  signal: AbortSignal,
): Promise<string> {
  const { vnfSnapshotPkgId, vnfInstanceId } = request;
  const info = await availablePackage(vnfm, vnfSnapshotPkgId);
  const { vim, environments, hosts } = await placeOf(vnfm, vnfInstanceId, signal);
  const vnfSnapshotInfoId = newIdentifier('snap', vnfm.random);
  const { FILLING } = SnapshotAvailability;
  return startOperation<ExtractPackageInput>(vnfm, {
    definition: extractPackageName,
    input: {
      uses: [packageUse(vnfSnapshotPkgId, 'shared'), snapshotUse(vnfSnapshotInfoId, 'exclusive')],
      vnfSnapshotPkgId,
      vnfSnapshotInfoId,
      vim,
      vnfInstanceId,
      environments,
      hosts,
      force: request.force,
    },
    vnfInstanceId: vnfInstanceId || info.vnfInstanceId,
    vnfSnapshotInfoId,
    vnfSnapshotPkgId,
    request: repeatable,
    params: paramsOf(ExtractVnfSnapshotPackageRequestSchema, request),
    record: async (tx) => {
      await requireAvailable(tx, vnfSnapshotPkgId);
      await tx
        .collection(vnfSnapshots)
        .insert(vnfSnapshotInfoId, emptySnapshot(vnfSnapshotInfoId, FILLING, vnfSnapshotPkgId));
    },
  });
}

/**
 * Where the extracted snapshot is to be held: at the VIM and the drivers of a VNF, when one is
 * named.
 */
async function placeOf(vnfm: VnfmServices, vnfInstanceId: string, signal: AbortSignal) {
  const environments: { [vnfc: string]: string } = {};
  const hosts: { [vnfc: string]: string } = {};
  if (vnfInstanceId === '') return { vim: vnfm.config.vim, environments, hosts };
  const { value } = await requireRecord(vnfm.store, vnfInstances, vnfInstanceId, unknownVnf);
  const info = value.instantiatedVnfInfo;
  const vim = info?.vimConnectionId || vnfm.config.vim;
  const vnfcs = info?.vnfcResourceInfo ?? [];
  const computeIds = vnfcs.map((vnfc) => vnfc.computeResource?.resourceId ?? '');
  if (computeIds.length === 0) return { vim, environments, hosts };
  const { compute } = vnfm.peers.vim(vim);
  const { queryResult } = await compute.queryVirtualisedComputeResource({ computeIds }, { signal });
  for (const { id, computeResource } of vnfcs) {
    environments[id] = computeResource?.vimLevelResourceType ?? '';
    const found = queryResult.find((item) => item.computeId === computeResource?.resourceId);
    hosts[id] = found?.driver ?? '';
  }
  return { vim, environments, hosts };
}

/**
 * The package to share blocks with: the one that is named, else the newest of the same VNF
 * instance.
 */
async function parentOf(vnfm: VnfmServices, named: string, vnfInstanceId: string): Promise<string> {
  if (named !== '') return (await availablePackage(vnfm, named)).id;
  const all = await readAll(vnfm.store, vnfPackages);
  const candidates = all.filter(
    (info) => info.vnfInstanceId === vnfInstanceId && info.state === PackageState.AVAILABLE,
  );
  const age = (info: VnfSnapshotPkgInfo) => (info.createdAt ? timestampMs(info.createdAt) : 0);
  const newest = candidates.reduce<VnfSnapshotPkgInfo | undefined>(
    (best, info) => (best && age(best) >= age(info) ? best : info),
    undefined,
  );
  return newest?.id ?? '';
}

function partsOf(info: VnfSnapshotInfo): CreatePackageInput['parts'] {
  return (info.vnfSnapshot?.vnfcSnapshots ?? []).map((part) => {
    const images = part.instanceSnapshot?.images ?? [];
    return {
      vnfcInstanceId: part.vnfcInstanceId,
      snapshotId: part.instanceSnapshot?.snapshotId ?? '',
      vim: part.vimConnectionId,
      sizeBytes: String(images.reduce((sum, image) => sum + image.sizeBytes, 0n)),
    };
  });
}
