/**
 * Create VNF snapshot: GR NFV-TST 005 clause 6.5.1, by its step numbers, with 6.4.1 for each VNFC
 * inside, in phases.
 */
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { SnapshotAvailability } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import {
  type OperationDefinition,
  type PlanItem,
  type Step,
  sequence,
} from '../../../sdk/operations/engine.ts';
import type { Transaction } from '../../../sdk/records/record-store.ts';
import { isAlive } from '../plan/situation.ts';
import { changeRecord, vnfSnapshots } from '../records.ts';
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
import { phase } from './phases.ts';
import { type CreateVnfSnapshotInput, saveSnapshot } from './save-vnf-snapshot.ts';

export const createVnfSnapshotName = 'create-vnf-snapshot';

type Item = PlanItem<CreateVnfSnapshotInput>;

/**
 * The procedure. Either there is a whole snapshot after it, or none; no component stays held, and
 * the VNF hears of the end.
 */
export function createVnfSnapshot(vnfm: Vnfm): OperationDefinition<CreateVnfSnapshotInput> {
  return defineProcedure<CreateVnfSnapshotInput>({
    name: createVnfSnapshotName,
    operation: OperationType.CREATE_SNAPSHOT,
    onFailure: 'rollback',
    plan: (input) => [
      check(vnfm, input),
      grantStep(vnfm, { clause: '6.5.1', clauseStep: '3' }, grantRequest),
      ...(input.plan.consistency === 'none' ? separately(vnfm, input) : together(vnfm, input)),
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
    ...phase(freezing, plan.ordered, (vnfc) => quiesceStep<CreateVnfSnapshotInput>(work, vnfc)),
    ...phase(running, plan.ordered, (vnfc) => holdStep<CreateVnfSnapshotInput>(work, vnfc)),
    ...phase(plan.vnfcs, plan.ordered, (vnfc) => captureStep<CreateVnfSnapshotInput>(work, vnfc)),
    ...phase(running, plan.ordered, (vnfc) => releaseStep<CreateVnfSnapshotInput>(work, vnfc)),
    ...phase(freezing, plan.ordered, (vnfc) => unquiesceStep<CreateVnfSnapshotInput>(work, vnfc)),
    ...phase(plan.vnfcs, true, (vnfc) => saveStep<CreateVnfSnapshotInput>(vnfc)),
    saveSnapshot(vnfm),
    notifyEnd(vnfm, creation, told),
  ];
}

/** Without consistency every component is captured on its own, one after the other. */
function separately(vnfm: Vnfm, input: CreateVnfSnapshotInput): Item[] {
  const work = captureWork(vnfm, input);
  const steps = input.plan.vnfcs.flatMap((vnfc): Step<CreateVnfSnapshotInput>[] => [
    captureStep(work, vnfc),
    saveStep(vnfc),
  ]);
  return [sequence(steps), saveSnapshot(vnfm)];
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
function check(vnfm: Vnfm, input: CreateVnfSnapshotInput): Step<CreateVnfSnapshotInput> {
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
      for (const { vnfcInstanceId, computeId, running } of vnfcs) {
        const found = queryResult.find((compute) => compute.computeId === computeId);
        if (found && isAlive(found.state) === running) continue;
        const state = found ? ComputeState[found.state] : 'gone';
        const text = `${vnfcInstanceId} is ${state} now, it was ${running ? 'running' : 'not running'} before`;
        throw failedPrecondition('COMPONENT_CHANGED', text, { vnfc_instance_id: vnfcInstanceId });
      }
      for (const text of excluded) context.note(text);
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
  await changeRecord(tx, vnfSnapshots, input.vnfSnapshotInfoId, (info) => {
    info.availability = SnapshotAvailability.AVAILABLE;
  });
}

/** Nothing is kept of what did not become whole. */
async function discard(tx: Transaction, input: CreateVnfSnapshotInput): Promise<void> {
  if (input.madeInfo) {
    await tx.collection(vnfSnapshots).delete(input.vnfSnapshotInfoId);
    return;
  }
  await changeRecord(tx, vnfSnapshots, input.vnfSnapshotInfoId, (info) => {
    info.availability = SnapshotAvailability.EMPTY;
    delete info.vnfSnapshot;
  });
}
