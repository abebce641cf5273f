/**
 * Extract VNF snapshot package: GR NFV-TST 005 clause 6.7.2, by its step numbers, with 6.6.3 for
 * each VNFC inside.
 */
import { create } from '@bufbuild/protobuf';
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import {
  SnapshotAvailability,
  type VnfcSnapshotInfo,
  type VnfSnapshot,
  VnfSnapshotSchema,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { failedPrecondition, internal } from '../../../sdk/errors.ts';
import {
  type OperationDefinition,
  type Step,
  type StepContext,
  sequence,
} from '../../../sdk/operations/engine.ts';
import { placesOf, withoutPlaces } from '../capture-report.ts';
import { deleteSnapshotRecord, keepContents, readEmContents } from '../em-data.ts';
import { partId } from '../identifiers.ts';
import { readSnapshotRecord } from '../package-files.ts';
import { DriverView } from '../plan/capabilities.ts';
import { changeRecord, requireRecord, unknownSnapshot, vnfSnapshots } from '../records.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import { prefixOf } from './create-package.ts';
import { callOf, defineProcedure } from './define.ts';
import { grantPartStep, grantStep } from './grant.ts';
import { relay } from './progress.ts';

export const extractPackageName = 'extract-vnf-snapshot-package';
const extractDeadlineMs = 6 * 3_600_000;

export type ExtractPackageInput = {
  uses: Use[];
  vnfSnapshotPkgId: string;
  vnfSnapshotInfoId: string;
  vim: string;
  /** The VNF whose drivers shall hold the snapshot; empty: by the kind that took it. */
  vnfInstanceId: string;
  /** The kind of driver of each of its VNFCs. */
  environments: { [vnfc: string]: string };
  /** The driver instance of each of its VNFCs; absent in what was begun by an earlier version. */
  hosts?: { [vnfc: string]: string };
  /** Memory of another kind of machine too. */
  force: boolean;
};

type Input = ExtractPackageInput;
/** `host`: empty lets the VIM choose. */
type Found = { parts: { vnfcInstanceId: string; environment: string; host: string }[] };

/** The procedure. Either there is a whole VNF snapshot after it, or none. */
export function extractPackage(vnfm: Vnfm): OperationDefinition<Input> {
  return defineProcedure<Input>({
    name: extractPackageName,
    operation: OperationType.EXTRACT_PACKAGE,
    onFailure: 'rollback',
    plan: () => [
      grantStep(vnfm, { clause: '6.7.2', clauseStep: '2' }, grantRequest),
      download(vnfm),
    ],
    ended: async (tx, { to, input }) => {
      const { vnfSnapshotInfoId } = input;
      if (to !== OperationState.COMPLETED) {
        await deleteSnapshotRecord(tx, vnfSnapshotInfoId);
        return;
      }
      await changeRecord(tx, vnfSnapshots, vnfSnapshotInfoId, (info) => {
        info.availability = SnapshotAvailability.AVAILABLE;
      });
    },
  });
}

/**
 * 6.7.2 steps 4 and 5: reads the record of the snapshot and stores it; the VNFCs are known after
 * this.
 */
function download(vnfm: Vnfm): Step<Input> {
  return {
    name: 'download',
    clause: '6.7.2',
    clauseStep: '4',
    caller: 'vnfm',
    callee: 'repository',
    deadlineMs: 60_000,
    retryable: true,
    run: async (context): Promise<Found> => {
      const { vnfSnapshotPkgId, vnfSnapshotInfoId, environments, hosts, force } = context.input;
      const { repository } = vnfm.peers;
      const snapshot = await readSnapshotRecord(repository, vnfSnapshotPkgId, context.signal);
      const parts = snapshot.vnfcSnapshots.map((part) => ({
        vnfcInstanceId: part.vnfcInstanceId,
        environment: environments[part.vnfcInstanceId] ?? kindOf(snapshot, part),
        host: hosts?.[part.vnfcInstanceId] ?? '',
      }));
      if (!force) await requireStamps(vnfm, context, snapshot, parts);
      const { signal } = context;
      const contents = await readEmContents(repository, vnfSnapshotPkgId, snapshot, signal);
      context.withEnd(async (tx) => {
        await keepContents(tx, vnfSnapshotInfoId, contents);
        await changeRecord(tx, vnfSnapshots, vnfSnapshotInfoId, (info) => {
          info.vnfSnapshot = snapshot;
        });
      });
      return { parts };
    },
    extend: (output) => [
      sequence(
        (output as Found).parts.flatMap((part) => [
          ...grantPart(vnfm, part.vnfcInstanceId),
          extract(vnfm, part),
        ]),
      ),
      store(vnfm, (output as Found).parts),
    ],
  };
}

/**
 * Memory is not moved to a driver whose machines it does not fit. A driver that is not there is
 * refused by the VIM.
 */
async function requireStamps(
  vnfm: Vnfm,
  { input, signal }: StepContext<Input>,
  snapshot: VnfSnapshot,
  parts: Found['parts'],
): Promise<void> {
  const { compute } = vnfm.peers.vim(input.vim);
  const { drivers } = await compute.querySnapshotCapabilities({}, { signal });
  for (const { vnfcInstanceId, environment, host } of parts) {
    const part = snapshot.vnfcSnapshots.find((item) => item.vnfcInstanceId === vnfcInstanceId);
    const driver = drivers.find((item) =>
      host === '' ? item.virtualisationEnvironment === environment : item.driver === host,
    );
    const content = part?.instanceSnapshot;
    if (!driver || !content?.memory) continue;
    new DriverView(driver).requireStamp(content.compatibility, vnfcInstanceId);
  }
}

function grantRequest({ vnfInstanceId, vnfSnapshotPkgId }: Input) {
  return { vnfInstanceId, vnfSnapshotPkgId, operation: OperationType.EXTRACT_PACKAGE };
}

/** 6.6.3 steps 2 and 3, where they are wanted. */
function grantPart(vnfm: Vnfm, vnfcInstanceId: string): Step<Input>[] {
  if (!vnfm.config.grantEachVnfcPackage) return [];
  const at = { clause: '6.6.3', clauseStep: '2' };
  return [
    grantPartStep<Input>(vnfm, at, vnfcInstanceId, (input) => ({
      ...grantRequest(input),
      addResources: [{ id: vnfcInstanceId, type: 'SNAPSHOT' }],
    })),
  ];
}

/**
 * 6.6.3 steps 4 and 5 (6.7.2 step 6): the VIM writes the captured state of one VNFC to a driver, as
 * a snapshot.
 */
function extract(vnfm: Vnfm, part: Found['parts'][number]): Step<Input> {
  const { vnfcInstanceId, environment, host: targetHost } = part;
  const idOf = (context: StepContext<Input>) =>
    partId(context.input.vnfSnapshotInfoId, vnfcInstanceId);
  return {
    name: `extract ${vnfcInstanceId}`,
    clause: '6.6.3',
    clauseStep: '4',
    caller: 'vnfm',
    callee: 'vim',
    vnfcInstanceId,
    deadlineMs: extractDeadlineMs,
    run: async (context) => {
      const { vim, vnfSnapshotPkgId, vnfSnapshotInfoId } = context.input;
      const recorded = await recordOf(vnfm, vnfSnapshotInfoId);
      const found = recorded.vnfcSnapshots.find((item) => item.vnfcInstanceId === vnfcInstanceId);
      if (!found?.instanceSnapshot) throw internal('SNAPSHOT_RECORD', `no part ${vnfcInstanceId}`);
      const sizeBytes = found.instanceSnapshot.images.reduce(
        (sum, image) => sum + image.sizeBytes,
        0n,
      );
      const events = vnfm.peers.vim(vim).packages.extractVnfcSnapshotPackage(
        {
          vnfcSnapshotPackageId: vnfSnapshotPkgId,
          snapshotId: idOf(context),
          virtualisationEnvironment: environment,
          targetHost,
          imagePrefix: prefixOf(vnfcInstanceId),
          snapshot: found.instanceSnapshot,
          call: callOf(context),
        },
        { signal: context.signal, deadlineMs: extractDeadlineMs },
      );
      const whole = await relay(events, 'snapshot', context, sizeBytes);
      context.withEnd((tx) =>
        changeRecord(tx, vnfSnapshots, vnfSnapshotInfoId, (info) => {
          const target = info.vnfSnapshot?.vnfcSnapshots.find(
            (item) => item.vnfcInstanceId === vnfcInstanceId,
          );
          if (!target) return;
          target.instanceSnapshot = withoutPlaces(whole);
          target.vimConnectionId = vim;
        }),
      );
    },
    compensate: async (context) => {
      await vnfm.peers
        .vim(context.input.vim)
        .compute.deleteVirtualisedComputeResourceSnapshot(
          { snapshotId: idOf(context), call: callOf(context, 'undo') },
          { signal: context.signal, deadlineMs: extractDeadlineMs },
        );
    },
  };
}

/** The whole is checked before it is called available. */
function store(vnfm: Vnfm, parts: Found['parts']): Step<Input> {
  return {
    name: 'store',
    clause: '6.7.2',
    clauseStep: '5',
    caller: 'vnfm',
    callee: 'vim',
    retryable: true,
    deadlineMs: 60_000,
    run: async (context) => {
      const { vim, vnfSnapshotInfoId } = context.input;
      const snapshotIds = parts.map((part) => partId(vnfSnapshotInfoId, part.vnfcInstanceId));
      const { snapshots } = await vnfm.peers
        .vim(vim)
        .compute.queryVirtualisedComputeResourceSnapshots(
          { snapshotIds },
          { signal: context.signal },
        );
      const lost = snapshotIds.find((id) => !snapshots.some((found) => found.snapshotId === id));
      if (lost)
        throw internal('SNAPSHOT_LOST', `the VIM does not have "${lost}" after extracting it`);
      context.result('vnfSnapshotInfoId', vnfSnapshotInfoId);
      for (const { vnfcInstanceId } of parts) {
        const id = partId(vnfSnapshotInfoId, vnfcInstanceId);
        const found = snapshots.find(({ snapshotId }) => snapshotId === id)!;
        for (const [key, value] of placesOf(vnfcInstanceId, vim, found)) context.result(key, value);
      }
    },
  };
}

async function recordOf(vnfm: Vnfm, id: string): Promise<VnfSnapshot> {
  const { value } = await requireRecord(vnfm.store, vnfSnapshots, id, unknownSnapshot);
  return value.vnfSnapshot ?? create(VnfSnapshotSchema);
}

/** The kind of driver that took it: by its stamp, else as the VNF instance had it. */
function kindOf(snapshot: VnfSnapshot, part: VnfcSnapshotInfo): string {
  const resources = snapshot.vnfInstance?.instantiatedVnfInfo?.vnfcResourceInfo ?? [];
  const vnfc = resources.find((candidate) => candidate.id === part.vnfcInstanceId);
  const kind =
    vnfc?.computeResource?.vimLevelResourceType ||
    part.instanceSnapshot?.compatibility?.hypervisor ||
    '';
  if (kind !== '') return kind;
  throw failedPrecondition(
    'ENVIRONMENT_MISSING',
    `the package does not say what took ${part.vnfcInstanceId}; name a VNF instance whose drivers shall hold it`,
    { vnfc_instance_id: part.vnfcInstanceId },
  );
}
