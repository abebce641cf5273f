/**
 * Create VNF snapshot: GR NFV-TST 005 clause 6.5.1, by its step numbers, with 6.4.1 for each VNFC
 * inside, in phases.
 */
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { SnapshotAvailability, VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import {
  type OperationDefinition,
  type PlanItem,
  type Step,
  sequence,
} from '../../../sdk/operations/engine.ts';
import type { Transaction } from '../../../sdk/records/record-store.ts';
import { deleteSnapshotRecord } from '../em-data.ts';
import { isAlive } from '../plan/situation.ts';
import type { SnapshotPlan, VnfcSnapshotPlan } from '../plan/snapshot-plan.ts';
import { changeRecord, vnfInstances, vnfSnapshots } from '../records.ts';
import type { Vnfm } from '../vnfm.ts';
import {
  captureStep,
  freezeMs,
  holdStep,
  quiesceStep,
  releaseStep,
  saveStep,
  unquiesceStep,
  type VnfcCapture,
} from './create-vnfc-snapshot.ts';
import { defineProcedure } from './define.ts';
import { grantStep } from './grant.ts';
import { creation, type NotificationPlan, notifyEnd, notifyStart } from './notify.ts';
import { computeJson, wantsInformation } from './operational-information.ts';
import { phase } from './phases.ts';
import { startAfterStep, stopAfterStep, stopBeforeStep } from './power.ts';
import { deleteReplacedStep } from './replace-vnf-snapshot.ts';
import { type CreateVnfSnapshotInput, saveSnapshot } from './save-vnf-snapshot.ts';
import { attachStep, detachStep } from './volumes.ts';

export const createVnfSnapshotName = 'create-vnf-snapshot';

type Input = CreateVnfSnapshotInput;
type Item = PlanItem<Input>;

/**
 * The procedure. Either there is a whole snapshot after it, or none; no component stays held, and
 * the VNF hears of the end.
 */
export function createVnfSnapshot(vnfm: Vnfm): OperationDefinition<Input> {
  return defineProcedure<Input>({
    name: createVnfSnapshotName,
    operation: OperationType.CREATE_SNAPSHOT,
    onFailure: 'rollback',
    plan: (input) => [
      check(vnfm, input),
      grantStep(vnfm, { clause: '6.5.1', clauseStep: '3' }, grantRequest),
      ...(input.plan.consistency === 'none' ? separately(vnfm, input) : together(vnfm, input)),
      ...(input.replaced ? [deleteReplacedStep<Input>(vnfm, input.replaced)] : []),
    ],
    ended: async (tx, { to, input }) => {
      if (to === OperationState.COMPLETED) return complete(tx, input);
      return discard(tx, input);
    },
  });
}

/** prepare → hold → capture → release → resume, each for all components before the next begins. */
function together(vnfm: Vnfm, input: CreateVnfSnapshotInput): Item[] {
  const { plan } = input;
  const work = captureWork(vnfm, input);
  const running = plan.vnfcs.filter((vnfc) => vnfc.running);
  const freezing = plan.vnfcs.filter((vnfc) => vnfc.freeze);
  const told = notification(input);
  return [
    notifyStart(vnfm, creation, told),
    ...phase(which(plan, 'stopBefore'), plan.ordered, (vnfc) =>
      stopBeforeStep<Input>(work.vim, vnfc),
    ),
    ...phase(plan.vnfcs, plan.ordered, (vnfc) => detachBefore(work, vnfc)),
    ...phase(freezing, plan.ordered, (vnfc) => quiesceStep<Input>(work, vnfc)),
    ...phase(running, plan.ordered, (vnfc) => holdStep<Input>(work, vnfc)),
    ...phase(plan.vnfcs, plan.ordered, (vnfc) => captureStep<Input>(work, vnfc)),
    ...phase(running, plan.ordered, (vnfc) => releaseStep<Input>(work, vnfc)),
    ...phase(freezing, plan.ordered, (vnfc) => unquiesceStep<Input>(work, vnfc)),
    ...phase(plan.vnfcs, plan.ordered, (vnfc) => attachAfter(work, vnfc)),
    ...phase(which(plan, 'startAfter'), plan.ordered, (vnfc) =>
      startAfterStep<Input>(work.vim, vnfc),
    ),
    ...phase(which(plan, 'stopAfter'), plan.ordered, (vnfc) =>
      stopAfterStep<Input>(work.vim, vnfc),
    ),
    ...phase(plan.vnfcs, true, (vnfc) => saveStep<Input>(vnfc)),
    saveSnapshot(vnfm),
    notifyEnd(vnfm, creation, told),
  ];
}

/** Without consistency every component is captured on its own, one after the other. */
function separately(vnfm: Vnfm, input: CreateVnfSnapshotInput): Item[] {
  const work = captureWork(vnfm, input);
  const steps = input.plan.vnfcs.flatMap((vnfc): Step<Input>[] => [
    ...(vnfc.stopBefore ? [stopBeforeStep<Input>(work.vim, vnfc)] : []),
    ...detachBefore(work, vnfc),
    captureStep(work, vnfc),
    ...attachAfter(work, vnfc),
    ...(vnfc.startAfter ? [startAfterStep<Input>(work.vim, vnfc)] : []),
    ...(vnfc.stopAfter ? [stopAfterStep<Input>(work.vim, vnfc)] : []),
    saveStep(vnfc),
  ]);
  return [sequence(steps), saveSnapshot(vnfm)];
}

/** 6.4.1 step 9. */
function detachBefore(work: VnfcCapture, vnfc: VnfcSnapshotPlan): Step<Input>[] {
  const place = { clause: '6.4.1', clauseStep: '9', phase: 'prepare' } as const;
  return vnfc.detach.length > 0 ? [detachStep<Input>(work.vim, vnfc, place)] : [];
}

/** 6.4.1 step 30. */
function attachAfter(work: VnfcCapture, vnfc: VnfcSnapshotPlan): Step<Input>[] {
  const place = { clause: '6.4.1', clauseStep: '30', phase: 'resume' } as const;
  return vnfc.attach.length > 0 ? [attachStep<Input>(work.vim, vnfc, place)] : [];
}

function which(plan: SnapshotPlan, what: 'stopBefore' | 'startAfter' | 'stopAfter') {
  return plan.vnfcs.filter((vnfc) => vnfc[what]);
}

function captureWork(vnfm: Vnfm, input: CreateVnfSnapshotInput): VnfcCapture {
  const { vnfSnapshotInfoId: snapshotId, name, plan } = input;
  return { vnfm, vim: vnfm.peers.vim(input.vim), snapshotId, name, plan };
}

function notification({ vnfInstanceId, plan }: CreateVnfSnapshotInput): NotificationPlan {
  return {
    vnfInstanceId,
    vnfcInstanceIds: plan.vnfcs.map((vnfc) => vnfc.vnfcInstanceId),
    answerMs: plan.prepareTimeoutMs,
    promiseMs: freezeMs(plan),
    required: plan.consistency === 'required',
  };
}

/** 6.5.1 step 2: the run-time information of the VNF still is what the plan was made for. */
function check(vnfm: Vnfm, input: CreateVnfSnapshotInput): Step<Input> {
  return {
    name: 'check',
    clause: '6.5.1',
    clauseStep: '2',
    caller: 'vnfm',
    callee: 'vim',
    starting: true,
    retryable: true,
    deadlineMs: 60_000,
    run: async (context) => {
      const { vnfcs, excluded } = input.plan;
      const computeIds = vnfcs.map((vnfc) => vnfc.computeId);
      const { queryResult } = await vnfm.peers
        .vim(input.vim)
        .compute.queryVirtualisedComputeResource({ computeIds }, { signal: context.signal });
      for (const { vnfcInstanceId, computeId, running: captured, stopBefore } of vnfcs) {
        const running = captured || stopBefore;
        const found = queryResult.find((compute) => compute.computeId === computeId);
        if (found && isAlive(found.state) === running) continue;
        const state = found ? ComputeState[found.state] : 'gone';
        const text = `${vnfcInstanceId} is ${state} now, it was ${running ? 'running' : 'not running'} before`;
        throw failedPrecondition('COMPONENT_CHANGED', text, { vnfc_instance_id: vnfcInstanceId });
      }
      for (const text of excluded) context.note(text);
      return wantsInformation(input.purpose) ? queryResult.map(computeJson) : undefined;
    },
  };
}

function grantRequest(input: CreateVnfSnapshotInput) {
  const { vnfInstanceId, vnfdId, plan, vnfSnapshotInfoId } = input;
  return {
    vnfInstanceId,
    vnfdId,
    operation: OperationType.CREATE_SNAPSHOT,
    addResources: plan.vnfcs.map((vnfc) => ({
      id: vnfc.vnfcInstanceId,
      type: 'SNAPSHOT',
      vduId: vnfc.vduId,
      resourceTemplateId: vnfSnapshotInfoId,
    })),
  };
}

async function complete(tx: Transaction, input: CreateVnfSnapshotInput): Promise<void> {
  await recordPower(tx, input);
  await changeRecord(tx, vnfSnapshots, input.vnfSnapshotInfoId, (info) => {
    info.availability = SnapshotAvailability.AVAILABLE;
  });
}

/** The VNF is STARTED when a component was booted, STOPPED when none of it runs any more. */
async function recordPower(tx: Transaction, { plan, vnfInstanceId }: Input): Promise<void> {
  const { vnfcs } = plan;
  const starts = vnfcs.some((vnfc) => vnfc.startAfter);
  const stops = vnfcs.some((vnfc) => vnfc.stopBefore || vnfc.stopAfter);
  if (!starts && !stops) return;
  await changeRecord(tx, vnfInstances, vnfInstanceId, ({ instantiatedVnfInfo: info }) => {
    if (!info) return;
    const runs = (vnfc: VnfcSnapshotPlan) => vnfc.startAfter || (vnfc.running && !vnfc.stopAfter);
    const others = info.vnfcResourceInfo.length > vnfcs.length;
    if (starts) info.vnfState = VnfState.STARTED;
    else if (!others && !vnfcs.some(runs)) info.vnfState = VnfState.STOPPED;
  });
}

/** Nothing is kept of what did not become whole. */
async function discard(tx: Transaction, input: CreateVnfSnapshotInput): Promise<void> {
  if (input.madeInfo) {
    await deleteSnapshotRecord(tx, input.vnfSnapshotInfoId);
    return;
  }
  await changeRecord(tx, vnfSnapshots, input.vnfSnapshotInfoId, (info) => {
    info.availability = SnapshotAvailability.EMPTY;
    delete info.vnfSnapshot;
  });
}
