import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  InstantiationState,
  SnapshotAvailability,
  type VnfInstance,
  type VnfSnapshotInfo,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  type CreateVnfSnapshotRequest,
  CreateVnfSnapshotRequestSchema,
  DeleteVnfSnapshotInfoRequestSchema,
  type RevertToVnfSnapshotRequest,
  RevertToVnfSnapshotRequestSchema,
  type VnfLcmService,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { failedPrecondition, invalidArgument } from '../../../sdk/errors.ts';
import type { Transaction } from '../../../sdk/records/record-store.ts';
import type { IdempotentRequest } from '../../../sdk/request-ids.ts';
import type { HandlerContext, Handlers } from '../../../sdk/server.ts';
import { deleteSnapshotRecord } from '../em-data.ts';
import { newIdentifier } from '../identifiers.ts';
import { hostView } from '../plan/capabilities.ts';
import { explainRevert, explainSnapshot } from '../plan/explain.ts';
import { planHosts } from '../plan/host-plan.ts';
import { planRevert } from '../plan/revert-plan.ts';
import type { Situation } from '../plan/situation.ts';
import { planSnapshot, snapshotTimes } from '../plan/snapshot-plan.ts';
import { notAvailable } from '../procedures/availability.ts';
import { createVnfSnapshotName } from '../procedures/create-vnf-snapshot.ts';
import {
  type DeleteVnfSnapshotInput,
  deleteVnfSnapshotName,
} from '../procedures/delete-vnf-snapshot.ts';
import { partsOf, type ReplacedSnapshot } from '../procedures/replace-vnf-snapshot.ts';
import {
  type RevertToVnfSnapshotInput,
  revertToVnfSnapshotName,
} from '../procedures/revert-to-vnf-snapshot.ts';
import type { CreateVnfSnapshotInput } from '../procedures/save-vnf-snapshot.ts';
import { changeRecord, requireRecord, unknownSnapshot, vnfSnapshots } from '../records.ts';
import { checkFree, type Use } from '../usage.ts';
import type { VnfmServices } from '../vnfm.ts';
import { idempotent, paramsOf, startedBefore, startOperation } from './accepting.ts';
import { readSituation } from './situation.ts';
import { emptySnapshot } from './vnf-snapshots.ts';
import { freeVnf, stillIn, vnfInput } from './vnf-state.ts';

/** Drivers keep no longer holds. */
const holdAfterMsMax = 10 * 60_000;

const { INSTANTIATED } = InstantiationState;
const { AVAILABLE, EMPTY, FILLING, DELETING } = SnapshotAvailability;

/** Taking, reverting to and deleting VNF snapshots. */
export function snapshotOperationHandlers(vnfm: VnfmServices) {
  return {
    createVnfSnapshot: async (request, context) => {
      if (request.validateOnly) return { plan: await explainTake(vnfm, request, context.signal) };
      const known = idempotent(CreateVnfSnapshotRequestSchema, request, context);
      const id = (await startedBefore(vnfm, known)) ?? (await take(vnfm, request, known, context));
      const { vnfSnapshotInfoId } = await vnfm.engine.get(id);
      return { vnfSnapshotInfoId, lifecycleOperationOccurrenceId: id };
    },
    revertToVnfSnapshot: async (request, context) => {
      if (request.validateOnly) return { plan: await explainTo(vnfm, request, context.signal) };
      const known = idempotent(RevertToVnfSnapshotRequestSchema, request, context);
      const id =
        (await startedBefore(vnfm, known)) ?? (await revert(vnfm, request, known, context));
      return { lifecycleOperationOccurrenceId: id };
    },
    deleteVnfSnapshotInfo: async (request, context) => {
      const known = idempotent(DeleteVnfSnapshotInfoRequestSchema, request, context);
      const before = await startedBefore(vnfm, known);
      if (before !== undefined) return { lifecycleOperationOccurrenceId: before };
      const id = request.vnfSnapshotInfoId;
      const { value } = await requireRecord(vnfm.store, vnfSnapshots, id, unknownSnapshot);
      if (value.availability === EMPTY) return deleteEmpty(vnfm, id);
      const started = await startOperation<DeleteVnfSnapshotInput>(vnfm, {
        definition: deleteVnfSnapshotName,
        input: deleteInput(value),
        vnfInstanceId: value.vnfSnapshot?.vnfInstanceId ?? '',
        vnfSnapshotInfoId: id,
        request: known,
        params: paramsOf(DeleteVnfSnapshotInfoRequestSchema, request),
        record: (tx) => mark(tx, id, AVAILABLE, DELETING),
      });
      return { lifecycleOperationOccurrenceId: started };
    },
  } satisfies Handlers<typeof VnfLcmService>;
}

/** What a creation is about to do: checked against the descriptor, the VNF and the drivers as they are now. */
async function prepareTake(
  vnfm: VnfmServices,
  request: CreateVnfSnapshotRequest,
  signal: AbortSignal,
): Promise<{ situation: Situation; input: CreateVnfSnapshotInput }> {
  const { vnfInstanceId, vnfSnapshotInfoId: given, type, consistency } = request;
  const { vnfcInstanceIds, folder } = request;
  const vnf = await freeVnf(vnfm, vnfInstanceId, INSTANTIATED);
  if (given !== '') await checkEmpty(vnfm, given);
  const replaced = await replacedOf(vnfm, request);
  const situation = await readSituation(vnfm, vnf, signal);
  const plan = planSnapshot(situation, { type, consistency, vnfcInstanceIds, folder });
  const vnfSnapshotInfoId = given || newIdentifier('snap', vnfm.random);
  const common = vnfInput(vnf);
  const input = {
    ...common,
    uses: [
      ...common.uses,
      snapshotUse(vnfSnapshotInfoId, 'exclusive'),
      ...(replaced ? [snapshotUse(replaced.vnfSnapshotInfoId, 'exclusive')] : []),
    ],
    vnfSnapshotInfoId,
    madeInfo: given === '',
    name: request.name,
    userDefinedData: request.userDefinedData,
    purpose: request.purpose,
    plan,
    ...(replaced && { replaced }),
  };
  return { situation, input };
}

/** The snapshot that the new one takes the place of. FAILED_PRECONDITION, SNAPSHOT_MISMATCH. */
async function replacedOf(
  vnfm: VnfmServices,
  { vnfInstanceId, replacesVnfSnapshotInfoId: id }: CreateVnfSnapshotRequest,
): Promise<ReplacedSnapshot | undefined> {
  if (id === '') return undefined;
  const { value } = await requireRecord(vnfm.store, vnfSnapshots, id, unknownSnapshot);
  await checkFree(vnfm.store, snapshotUse(id, 'exclusive'));
  if (value.vnfSnapshot?.vnfInstanceId === vnfInstanceId) {
    return { vnfSnapshotInfoId: id, parts: partsOf(value) };
  }
  const text = `VNF snapshot "${id}" is not one of VNF "${vnfInstanceId}": it cannot be replaced by one`;
  throw failedPrecondition('SNAPSHOT_MISMATCH', text, { vnf_snapshot_id: id });
}

async function explainTake(
  vnfm: VnfmServices,
  request: CreateVnfSnapshotRequest,
  signal: AbortSignal,
) {
  const { situation, input } = await prepareTake(vnfm, request, signal);
  const isReachable = vnfm.hub.isReachable(request.vnfInstanceId);
  const steps = vnfm.engine.preview({ definition: createVnfSnapshotName, input });
  return { ...explainSnapshot(situation, input.plan, isReachable), steps };
}

async function take(
  vnfm: VnfmServices,
  request: CreateVnfSnapshotRequest,
  repeatable: IdempotentRequest,
  { signal }: HandlerContext,
): Promise<string> {
  const { vnfInstanceId, vnfSnapshotInfoId: given } = request;
  const { input } = await prepareTake(vnfm, request, signal);
  const { vnfSnapshotInfoId } = input;
  return startOperation<CreateVnfSnapshotInput>(vnfm, {
    definition: createVnfSnapshotName,
    input,
    vnfInstanceId,
    vnfSnapshotInfoId,
    request: repeatable,
    params: paramsOf(CreateVnfSnapshotRequestSchema, request),
    record: async (tx) => {
      await stillIn(tx, vnfInstanceId, INSTANTIATED);
      if (given !== '') return mark(tx, given, EMPTY, FILLING);
      await tx
        .collection(vnfSnapshots)
        .insert(vnfSnapshotInfoId, emptySnapshot(vnfSnapshotInfoId, FILLING));
    },
  });
}

/** What a reversion is about to do, checked in the same way. */
async function prepareRevert(
  vnfm: VnfmServices,
  request: RevertToVnfSnapshotRequest,
  signal: AbortSignal,
): Promise<{ situation: Situation; input: RevertToVnfSnapshotInput }> {
  const { vnfInstanceId, vnfSnapshotInfoId, skipSafetySnapshot, force, targetHost } = request;
  const holdAfterMs = holdAfterOf(request);
  const vnf = await freeVnf(vnfm, vnfInstanceId, INSTANTIATED);
  const stored = await requireRecord(vnfm.store, vnfSnapshots, vnfSnapshotInfoId, unknownSnapshot);
  const snapshot = stored.value.vnfSnapshot;
  if (!snapshot || stored.value.availability !== AVAILABLE) {
    throw notAvailable(
      vnfSnapshotInfoId,
      `it is ${SnapshotAvailability[stored.value.availability]}`,
    );
  }
  const situation = await readSituation(vnfm, vnf, signal);
  const target = targetHost === '' ? undefined : hostView(situation.drivers, targetHost);
  const reversion = planRevert(situation, snapshot, { skipSafetySnapshot, force, target });
  const hosts = planHosts(situation, snapshot, reversion, {
    ...{ target, skipSafetySnapshot, networkIds: networkIdsOf(vnf) },
    moveId: newIdentifier('move', vnfm.random),
  });
  const plan = { ...reversion, hosts };
  const common = vnfInput(vnf);
  const input = {
    ...common,
    uses: [...common.uses, snapshotUse(vnfSnapshotInfoId, 'shared')],
    vnfSnapshotInfoId,
    safetyId: newIdentifier('safe', vnfm.random),
    withoutSafety: skipSafetySnapshot,
    holdAfterMs,
    ...snapshotTimes(situation.vnfd),
    plan,
  };
  return { situation, input };
}

function networkIdsOf({ instantiatedVnfInfo: info }: VnfInstance): Map<string, string> {
  const links = info?.vnfVirtualLinkResourceInfo ?? [];
  return new Map(links.map(({ id, networkResource }) => [id, networkResource?.resourceId ?? '']));
}

async function explainTo(
  vnfm: VnfmServices,
  request: RevertToVnfSnapshotRequest,
  signal: AbortSignal,
) {
  const { situation, input } = await prepareRevert(vnfm, request, signal);
  const isReachable = vnfm.hub.isReachable(request.vnfInstanceId);
  const steps = vnfm.engine.preview({ definition: revertToVnfSnapshotName, input });
  return { ...explainRevert(situation, input.plan, isReachable), steps };
}

async function revert(
  vnfm: VnfmServices,
  request: RevertToVnfSnapshotRequest,
  repeatable: IdempotentRequest,
  { signal }: HandlerContext,
): Promise<string> {
  const { vnfInstanceId, vnfSnapshotInfoId } = request;
  const { input } = await prepareRevert(vnfm, request, signal);
  return startOperation<RevertToVnfSnapshotInput>(vnfm, {
    definition: revertToVnfSnapshotName,
    input,
    vnfInstanceId,
    vnfSnapshotInfoId,
    request: repeatable,
    params: paramsOf(RevertToVnfSnapshotRequestSchema, request),
    record: async (tx) => {
      await stillIn(tx, vnfInstanceId, INSTANTIATED);
      await mark(tx, vnfSnapshotInfoId, AVAILABLE, AVAILABLE);
    },
  });
}

/** How long components stay held after they are loaded; 0: they run. INVALID_ARGUMENT, HOLD_AFTER_INVALID. */
function holdAfterOf({ holdAfter }: RevertToVnfSnapshotRequest): number {
  if (!holdAfter) return 0;
  const ms = Math.round(durationMs(holdAfter));
  if (ms >= 1 && ms <= holdAfterMsMax) return ms;
  const text = `hold_after must be 1 ms to ${holdAfterMsMax} ms, not ${ms} ms`;
  throw invalidArgument('HOLD_AFTER_INVALID', text, { hold_after_ms: String(ms) }, [
    { field: 'hold_after', description: `must be 0.001s to ${holdAfterMsMax / 1000}s` },
  ]);
}

export const snapshotUse = (id: string, mode: Use['mode']): Use => ({ kind: 'snapshot', id, mode });

/**
 * Moves a snapshot from one state to the next, in the transaction that accepts the operation which
 * needs it.
 */
export async function mark(
  tx: Transaction,
  id: string,
  from: SnapshotAvailability,
  to: SnapshotAvailability,
): Promise<void> {
  const { value } = await requireRecord(tx, vnfSnapshots, id, unknownSnapshot);
  if (value.availability !== from) {
    if (from === EMPTY) throw notEmpty(id);
    throw notAvailable(id, `it is ${SnapshotAvailability[value.availability]}`);
  }
  if (from === to) return;
  await changeRecord(tx, vnfSnapshots, id, (info) => {
    info.availability = to;
  });
}

async function checkEmpty(vnfm: VnfmServices, id: string): Promise<void> {
  const { value } = await requireRecord(vnfm.store, vnfSnapshots, id, unknownSnapshot);
  await checkFree(vnfm.store, snapshotUse(id, 'exclusive'));
  if (value.availability !== EMPTY) throw notEmpty(id);
}

function notEmpty(id: string) {
  const text = `VNF snapshot "${id}" has content already; make another resource, or none`;
  return failedPrecondition('SNAPSHOT_NOT_EMPTY', text, { vnf_snapshot_info_id: id });
}

function deleteInput(info: VnfSnapshotInfo): DeleteVnfSnapshotInput {
  const snapshot = info.vnfSnapshot;
  return {
    uses: [snapshotUse(info.id, 'exclusive')],
    vnfInstanceId: snapshot?.vnfInstanceId ?? '',
    vnfdId: snapshot?.vnfdId ?? '',
    vnfSnapshotInfoId: info.id,
    parts: partsOf(info),
  };
}

async function deleteEmpty(vnfm: VnfmServices, id: string) {
  await vnfm.store.transaction(async (tx) => {
    await checkFree(tx, snapshotUse(id, 'exclusive'));
    const { value } = await requireRecord(tx, vnfSnapshots, id, unknownSnapshot);
    if (value.availability !== EMPTY) throw notEmpty(id);
    await deleteSnapshotRecord(tx, id);
  });
  return { lifecycleOperationOccurrenceId: '' };
}
