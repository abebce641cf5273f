import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  InstantiationState,
  type VnfInstance,
  type VnfSnapshotInfo,
  VnfState,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  type InstantiateVnfRequest,
  InstantiateVnfRequestSchema,
  type OperateVnfRequest,
  OperateVnfRequestSchema,
  StopType,
  type TerminateVnfRequest,
  TerminateVnfRequestSchema,
  type VnfLcmService,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { failedPrecondition, invalidArgument } from '../../../sdk/errors.ts';
import type { IdempotentRequest } from '../../../sdk/request-ids.ts';
import type { Handlers } from '../../../sdk/server.ts';
import { newestSnapshot } from '../automation/diagnosis.ts';
import { hostView } from '../plan/capabilities.ts';
import { planInstantiation } from '../plan/instantiation-plan.ts';
import type { ChosenHost } from '../procedures/allocate.ts';
import { type InstantiateVnfInput, instantiateVnfName } from '../procedures/instantiate-vnf.ts';
import { type OperateVnfInput, operateVnfName } from '../procedures/operate-vnf.ts';
import { type TerminateVnfInput, terminateVnfName } from '../procedures/terminate-vnf.ts';
import type { Use } from '../usage.ts';
import type { VnfmServices } from '../vnfm.ts';
import { idempotent, paramsOf, startedBefore, startOperation } from './accepting.ts';
import { freeVnf, stillIn, vnfInput, vnfUse } from './vnf-state.ts';

/** How long guests may take to shut down when the request does not say. */
const gracefulTimeoutMsDefault = 30_000;

const { INSTANTIATED, NOT_INSTANTIATED } = InstantiationState;

/** The life cycle of VNF instances: instantiating, operating, terminating. */
export function vnfOperationHandlers(vnfm: VnfmServices) {
  const once = async (request: IdempotentRequest, start: () => Promise<string>) => {
    const id = (await startedBefore(vnfm, request)) ?? (await start());
    return { lifecycleOperationOccurrenceId: id };
  };
  return {
    instantiateVnf: (request, context) => {
      const known = idempotent(InstantiateVnfRequestSchema, request, context);
      return once(known, () => instantiate(vnfm, request, known, context.signal));
    },
    terminateVnf: (request, context) => {
      const known = idempotent(TerminateVnfRequestSchema, request, context);
      return once(known, () => terminate(vnfm, request, known));
    },
    operateVnf: (request, context) => {
      const known = idempotent(OperateVnfRequestSchema, request, context);
      return once(known, () => operate(vnfm, request, known));
    },
  } satisfies Handlers<typeof VnfLcmService>;
}

async function instantiate(
  vnfm: VnfmServices,
  request: InstantiateVnfRequest,
  repeatable: IdempotentRequest,
  signal: AbortSignal,
): Promise<string> {
  const { vnfInstanceId, virtualisationEnvironment, leaveStopped } = request;
  const vnf = await freeVnf(vnfm, vnfInstanceId, NOT_INSTANTIATED);
  const host = await hostOf(vnfm, request, signal);
  const environment = virtualisationEnvironment || (host?.kind ?? '');
  const plan = planInstantiation(vnfInstanceId, vnf.vnfd!, environment);
  if (host && !plan.vnfcs.some((vnfc) => vnfc.environment === host.kind)) {
    const text = `host "${host.name}" is of kind "${host.kind}"; the VNF has no component of that kind`;
    throw failedPrecondition('HOST_KIND', text, { host: host.name, kind: host.kind });
  }
  return startOperation<InstantiateVnfInput>(vnfm, {
    definition: instantiateVnfName,
    input: {
      uses: [vnfUse(vnfInstanceId)],
      vnfInstanceId,
      vnfdId: vnf.vnfdId,
      vim: vnfm.config.vim,
      leaveStopped,
      ...(host && { host }),
      plan,
    },
    vnfInstanceId,
    request: repeatable,
    params: paramsOf(InstantiateVnfRequestSchema, request),
    record: (tx) => stillIn(tx, vnfInstanceId, NOT_INSTANTIATED),
  });
}

/** The host that a request names, and its kind. NOT_FOUND with reason HOST_UNKNOWN. */
async function hostOf(
  vnfm: VnfmServices,
  { targetHost }: InstantiateVnfRequest,
  signal: AbortSignal,
): Promise<ChosenHost | undefined> {
  if (targetHost === '') return undefined;
  const { compute } = vnfm.peers.vim(vnfm.config.vim);
  const { drivers } = await compute.querySnapshotCapabilities({}, { signal });
  return { name: targetHost, kind: hostView(drivers, targetHost).kind };
}

async function terminate(
  vnfm: VnfmServices,
  request: TerminateVnfRequest,
  repeatable: IdempotentRequest,
): Promise<string> {
  const { vnfInstanceId } = request;
  const vnf = await freeVnf(vnfm, vnfInstanceId, INSTANTIATED);
  const info = vnf.instantiatedVnfInfo!;
  return startOperation<TerminateVnfInput>(vnfm, {
    definition: terminateVnfName,
    input: {
      ...vnfInput(vnf),
      graceful: request.terminationType === StopType.GRACEFUL,
      gracefulTimeoutMs: timeoutMs(request.gracefulTerminationTimeout),
      vnfcs: vnfcsOf(vnf),
      storageIds: resourceIds(info.virtualStorageResourceInfo.map((item) => item.storageResource)),
      networkIds: resourceIds(info.vnfVirtualLinkResourceInfo.map((item) => item.networkResource)),
    },
    vnfInstanceId,
    request: repeatable,
    params: paramsOf(TerminateVnfRequestSchema, request),
    record: (tx) => stillIn(tx, vnfInstanceId, INSTANTIATED),
  });
}

async function operate(
  vnfm: VnfmServices,
  request: OperateVnfRequest,
  repeatable: IdempotentRequest,
): Promise<string> {
  const { vnfInstanceId } = request;
  const vnf = await freeVnf(vnfm, vnfInstanceId, INSTANTIATED);
  const chosen = choose(vnf, request.vnfcInstanceIds);
  const isStart = request.changeStateTo === VnfState.STARTED;
  const wants = (flag: 'snapshotAtPowerOff' | 'revertAtPowerOn') => wanting(vnf, chosen, flag);
  const reverted = isStart ? wants('revertAtPowerOn') : [];
  const source = reverted.length > 0 ? await newestSnapshot(vnfm, vnfInstanceId) : undefined;
  const common = vnfInput(vnf);
  return startOperation<OperateVnfInput>(vnfm, {
    definition: operateVnfName,
    input: {
      ...common,
      uses: [...common.uses, ...(source ? [snapshotUse(source.id)] : [])],
      start: isStart,
      graceful: request.stopType === StopType.GRACEFUL,
      gracefulTimeoutMs: timeoutMs(request.gracefulStopTimeout),
      whole: chosen.length === vnfcsOf(vnf).length,
      vnfcs: chosen.map((vnfc) => ({
        ...vnfc,
        revertTo: reverted.includes(vnfc.vnfcInstanceId) ? partOf(source, vnfc.vnfcInstanceId) : '',
      })),
      snapshotAfter: isStart ? [] : wants('snapshotAtPowerOff'),
    },
    vnfInstanceId,
    request: repeatable,
    params: paramsOf(OperateVnfRequestSchema, request),
    record: (tx) => stillIn(tx, vnfInstanceId, INSTANTIATED),
  });
}

/** The chosen components whose descriptor wants something when they are powered off or on. */
function wanting(
  vnf: VnfInstance,
  chosen: readonly { vnfcInstanceId: string }[],
  flag: 'snapshotAtPowerOff' | 'revertAtPowerOn',
): string[] {
  const wanted = (vnf.vnfd?.snapshotDescriptor?.vnfc ?? []).filter((vnfc) => vnfc[flag]);
  const vdus = wanted.map(({ vduId }) => vduId);
  return (vnf.instantiatedVnfInfo?.vnfcResourceInfo ?? [])
    .filter(({ id, vduId }) => vdus.includes(vduId) && chosen.some((c) => c.vnfcInstanceId === id))
    .map(({ id }) => id);
}

/** The instance snapshot of a component within a VNF snapshot; empty when it has none. */
function partOf(info: VnfSnapshotInfo | undefined, vnfcInstanceId: string): string {
  const parts = info?.vnfSnapshot?.vnfcSnapshots ?? [];
  const part = parts.find((candidate) => candidate.vnfcInstanceId === vnfcInstanceId);
  return part?.instanceSnapshot?.snapshotId ?? '';
}

const snapshotUse = (id: string): Use => ({ kind: 'snapshot', id, mode: 'shared' });

function vnfcsOf(vnf: VnfInstance) {
  return (vnf.instantiatedVnfInfo?.vnfcResourceInfo ?? []).map((vnfc) => ({
    vnfcInstanceId: vnfc.id,
    computeId: vnfc.computeResource?.resourceId ?? '',
  }));
}

/** INVALID_ARGUMENT with reason VNFC_UNKNOWN when the VNF has not all of them. */
export function requireVnfcs(vnf: VnfInstance, wanted: readonly string[]): void {
  const all = vnfcsOf(vnf);
  wanted.forEach((id, index) => {
    if (all.some((vnfc) => vnfc.vnfcInstanceId === id)) return;
    const known = all.map((vnfc) => vnfc.vnfcInstanceId).join(', ');
    const text = `vnfc_instance_ids[${index}]: the VNF has no VNFC instance "${id}"; it has: ${known}`;
    throw invalidArgument('VNFC_UNKNOWN', text, { vnfc_instance_id: id, known });
  });
}

function choose(vnf: VnfInstance, wanted: readonly string[]) {
  requireVnfcs(vnf, wanted);
  const all = vnfcsOf(vnf);
  return wanted.length === 0 ? all : all.filter((vnfc) => wanted.includes(vnfc.vnfcInstanceId));
}

function resourceIds(handles: readonly ({ resourceId: string } | undefined)[]): string[] {
  return handles.flatMap((handle) => (handle ? [handle.resourceId] : []));
}

function timeoutMs(value: Parameters<typeof durationMs>[0] | undefined): number {
  return value ? Math.max(0, Math.round(durationMs(value))) : gracefulTimeoutMsDefault;
}
