/**
 * Create VNF snapshot package: GR NFV-TST 005 clause 6.7.1, by its step numbers, with 6.6.1 for
 * each VNFC inside.
 */
import { toJsonString } from '@bufbuild/protobuf';
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { PackageKind } from '../../../gen/nfv/repository/v1/repository_pb.js';
import {
  VnfInstanceSchema,
  type VnfSnapshot,
  type VnfSnapshotInfo,
  VnfSnapshotSchema,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { PackageState } from '../../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { VnfdSchema } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { type OperationDefinition, type Step, sequence } from '../../../sdk/operations/engine.ts';
import { packageFilesOf } from '../em-data.ts';
import { partId } from '../identifiers.ts';
import { packageInfoOf } from '../package-info.ts';
import {
  changeRecord,
  requireRecord,
  unknownSnapshot,
  vnfPackages,
  vnfSnapshots,
} from '../records.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import { notAvailable } from './availability.ts';
import { callOf, defineProcedure } from './define.ts';
import { grantPartStep, grantStep } from './grant.ts';
import { relay } from './progress.ts';

export const createPackageName = 'create-vnf-snapshot-package';
/** Reading, compressing and storing the largest disks takes hours, not days. */
const packDeadlineMs = 6 * 3_600_000;

export type CreatePackageInput = {
  uses: Use[];
  vnfInstanceId: string;
  vnfdId: string;
  vnfSnapshotInfoId: string;
  vnfSnapshotPkgId: string;
  parentPkgId: string;
  name: string;
  userDefinedData: { [key: string]: string };
  parts: PackagePart[];
};

/** One VNFC of the package. Sizes in bytes as text. */
export type PackagePart = {
  vnfcInstanceId: string;
  snapshotId: string;
  vim: string;
  sizeBytes: string;
};

type Input = CreatePackageInput;

/**
 * The procedure. Either the whole package is listed after it, or nothing is left of it but blocks
 * for the next collection.
 */
export function createPackage(vnfm: Vnfm): OperationDefinition<Input> {
  return defineProcedure<Input>({
    name: createPackageName,
    operation: OperationType.CREATE_PACKAGE,
    onFailure: 'rollback',
    plan: (input) => [
      identify(vnfm, input),
      grantStep(vnfm, { clause: '6.7.1', clauseStep: '3' }, grantRequest),
      sequence(input.parts.flatMap((part) => [...grantPart(vnfm, part), pack(vnfm, input, part)])),
      compose(vnfm, input),
      clean(vnfm, input),
    ],
    ended: async (tx, { to, input }) => {
      if (to === OperationState.COMPLETED) {
        await changeRecord(tx, vnfPackages, input.vnfSnapshotPkgId, (info) => {
          info.state = PackageState.AVAILABLE;
        });
        return;
      }
      await tx.collection(vnfPackages).delete(input.vnfSnapshotPkgId);
    },
  });
}

/** 6.7.1 step 2: what goes into the package, and that the VIM has it. */
function identify(vnfm: Vnfm, { parts, parentPkgId, vnfSnapshotInfoId }: Input): Step<Input> {
  return {
    name: 'identify',
    clause: '6.7.1',
    clauseStep: '2',
    caller: 'vnfm',
    callee: 'vim',
    starting: true,
    retryable: true,
    deadlineMs: 60_000,
    run: async (context) => {
      for (const vim of new Set(parts.map((part) => part.vim))) {
        const snapshotIds = parts.filter((part) => part.vim === vim).map((part) => part.snapshotId);
        const { snapshots } = await vnfm.peers
          .vim(vim)
          .compute.queryVirtualisedComputeResourceSnapshots(
            { snapshotIds },
            { signal: context.signal },
          );
        const lost = snapshotIds.find((id) => !snapshots.some((found) => found.snapshotId === id));
        if (lost) throw notAvailable(vnfSnapshotInfoId, `the VIM does not have "${lost}" any more`);
      }
      context.note(parentPkgId === '' ? 'there is no parent' : `the parent is ${parentPkgId}`);
    },
  };
}

/**
 * 6.6.1 steps 4 and 5 (6.7.1 step 5): the VIM reads the captured state of one VNFC into the
 * repository.
 */
function pack(vnfm: Vnfm, input: Input, part: PackagePart): Step<Input> {
  const { vnfcInstanceId } = part;
  const vnfcSnapshotPackageId = partId(input.vnfSnapshotPkgId, vnfcInstanceId);
  const { packages } = vnfm.peers.vim(part.vim);
  return {
    name: `pack ${vnfcInstanceId}`,
    clause: '6.6.1',
    clauseStep: '4',
    caller: 'vnfm',
    callee: 'vim',
    vnfcInstanceId,
    deadlineMs: packDeadlineMs,
    run: async (context) => {
      const events = packages.createVnfcSnapshotPackage(
        {
          vnfcSnapshotPackageId,
          snapshotId: part.snapshotId,
          parentPackageId: input.parentPkgId,
          imagePrefix: prefixOf(vnfcInstanceId),
          transport: vnfm.config.transport,
          labels: { vnfSnapshotId: input.vnfSnapshotInfoId, vnfcInstanceId },
          call: callOf(context),
        },
        { signal: context.signal, deadlineMs: packDeadlineMs },
      );
      const stored = await relay(events, 'package', context, BigInt(part.sizeBytes));
      return { images: stored.images.map((image) => image.name) };
    },
    compensate: async (context) => {
      await packages.deleteVnfcSnapshotPackage(
        { vnfcSnapshotPackageId, call: callOf(context, 'undo') },
        { signal: context.signal },
      );
    },
  };
}

/**
 * 6.7.1 steps 6 and 7: the VNF snapshot package of the images and the files that describe them; it
 * is durable after this.
 */
function compose(vnfm: Vnfm, input: Input): Step<Input> {
  const { vnfSnapshotPkgId: packageId } = input;
  return {
    name: 'compose',
    clause: '6.7.1',
    clauseStep: '6, 7',
    caller: 'vnfm',
    callee: 'repository',
    deadlineMs: packDeadlineMs,
    run: async (context) => {
      const info = await snapshotOf(vnfm, input.vnfSnapshotInfoId);
      const snapshot = info.vnfSnapshot!;
      const { package: composed } = await vnfm.peers.repository.composePackage(
        {
          packageId,
          kind: PackageKind.VNF,
          name: input.name,
          images: input.parts.flatMap(({ vnfcInstanceId }) =>
            context
              .output<{ images: string[] }>(`pack ${vnfcInstanceId}`)
              .images.map((imageName) => ({
                packageId: partId(packageId, vnfcInstanceId),
                imageName,
                name: withPrefix(imageName, vnfcInstanceId),
              })),
          ),
          files: [...filesOf(snapshot), ...(await packageFilesOf(vnfm.store, info))],
          parentPackageId: input.parentPkgId,
          labels: labelsOf(input, snapshot),
          call: callOf(context),
        },
        { signal: context.signal, deadlineMs: packDeadlineMs },
      );
      if (!composed) return;
      const listed = packageInfoOf(composed, snapshot, input.userDefinedData);
      context.result('vnfSnapshotPkgId', packageId);
      context.result('storedBytes', String(listed.storedBytes));
      context.result('logicalBytes', String(listed.logicalBytes));
      context.withEnd((tx) =>
        changeRecord(tx, vnfPackages, packageId, (record) => {
          const { state, operationInProgress } = record;
          Object.assign(record, listed, { state, operationInProgress });
        }),
      );
    },
    compensate: async (context) => {
      await vnfm.peers.repository.deletePackage(
        { packageId, call: callOf(context, 'undo') },
        { signal: context.signal },
      );
    },
  };
}

/**
 * The VNF snapshot package shares everything with the VNFC packages, so they go: nothing is left
 * but the whole.
 */
function clean(vnfm: Vnfm, input: Input): Step<Input> {
  return {
    name: 'clean up',
    clause: 'Micromano',
    caller: 'vnfm',
    callee: 'vim',
    retryable: true,
    run: async (context) => {
      for (const { vnfcInstanceId, vim } of input.parts) {
        const vnfcSnapshotPackageId = partId(input.vnfSnapshotPkgId, vnfcInstanceId);
        await vnfm.peers
          .vim(vim)
          .packages.deleteVnfcSnapshotPackage(
            { vnfcSnapshotPackageId, call: callOf(context, vnfcInstanceId) },
            { signal: context.signal },
          );
      }
      context.note(
        'the VNFC packages are deleted: the VNF snapshot package shares all their blocks',
      );
    },
  };
}

/** The names of the images of one VNFC in a VNF snapshot package begin with this. */
export const prefixOf = (vnfc: string) => `${vnfc}/`;

function withPrefix(imageName: string, vnfc: string): string {
  return imageName.startsWith(prefixOf(vnfc)) ? imageName : prefixOf(vnfc) + imageName;
}

async function snapshotOf(vnfm: Vnfm, id: string): Promise<VnfSnapshotInfo> {
  const { value } = await requireRecord(vnfm.store, vnfSnapshots, id, unknownSnapshot);
  if (value.vnfSnapshot) return value;
  throw notAvailable(id, 'it has no content');
}

/** The descriptor, the VnfInfo and the snapshot record, as proto3 JSON. */
function filesOf(snapshot: VnfSnapshot) {
  const { vnfd, vnfInstance } = snapshot;
  const file = (name: string, text: string) => ({ name, content: new TextEncoder().encode(text) });
  const pretty = { prettySpaces: 2 };
  return [
    ...(vnfd ? [file('vnfd.json', toJsonString(VnfdSchema, vnfd, pretty))] : []),
    ...(vnfInstance
      ? [file('vnf-instance.json', toJsonString(VnfInstanceSchema, vnfInstance, pretty))]
      : []),
    file('vnf-snapshot.json', toJsonString(VnfSnapshotSchema, snapshot, pretty)),
  ];
}

function labelsOf(input: Input, snapshot: VnfSnapshot) {
  return {
    vnfSnapshotId: snapshot.id,
    vnfInstanceId: snapshot.vnfInstanceId,
    vnfdId: snapshot.vnfdId,
    vnfSnapshotInfoId: input.vnfSnapshotInfoId,
  };
}

/** 6.6.1 steps 2 and 3, where they are wanted. */
function grantPart(vnfm: Vnfm, { vnfcInstanceId, sizeBytes }: PackagePart): Step<Input>[] {
  if (!vnfm.config.grantEachVnfcPackage) return [];
  const at = { clause: '6.6.1', clauseStep: '2' };
  return [
    grantPartStep<Input>(vnfm, at, vnfcInstanceId, (input) => ({
      ...grantRequest(input),
      addResources: [{ id: vnfcInstanceId, type: 'SNAPSHOT' }],
      expectedBytes: BigInt(sizeBytes),
    })),
  ];
}

function grantRequest(input: Input) {
  const { vnfInstanceId, vnfdId, vnfSnapshotPkgId, parts } = input;
  const expectedBytes = parts.reduce((sum, part) => sum + BigInt(part.sizeBytes), 0n);
  return {
    vnfInstanceId,
    vnfdId,
    vnfSnapshotPkgId,
    operation: OperationType.CREATE_PACKAGE,
    expectedBytes,
  };
}
